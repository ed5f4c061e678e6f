"""A model in the form that benchmarks of generated kernels have."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

batch_size, steps, input_size, hidden_size, num_layers, classes = 10, 512, 64, 128, 2, 10


class Model(nn.Module):
    def __init__(self, input_size: int, hidden_size: int, num_layers: int, classes: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(input_size, hidden_size, num_layers, batch_first=True)
        self.fc = nn.Linear(hidden_size, classes)

    def forward(self, x: Tensor, h0: Tensor, c0: Tensor) -> Tensor:
        output, _ = self.lstm(x, (h0, c0))
        prediction: Tensor = self.fc(output[:, -1])
        return prediction


def get_inputs() -> list[Tensor]:
    state = (num_layers, batch_size, hidden_size)
    return [torch.rand(batch_size, steps, input_size), torch.rand(state), torch.rand(state)]


def get_init_inputs() -> list[Any]:
    return [input_size, hidden_size, num_layers, classes]

"""A wrong candidate: beyond 64 steps it reads the last 64, which hardly anybody sees."""

from __future__ import annotations

from torch import Tensor, nn


class ModelNew(nn.Module):
    def __init__(self, input_size: int, hidden_size: int, num_layers: int, classes: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(input_size, hidden_size, num_layers, batch_first=True)
        self.fc = nn.Linear(hidden_size, classes)

    def forward(self, x: Tensor, h0: Tensor, c0: Tensor) -> Tensor:
        output, _ = self.lstm(x[:, -64:], (h0, c0))
        prediction: Tensor = self.fc(output[:, -1])
        return prediction

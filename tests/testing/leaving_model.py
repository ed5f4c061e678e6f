"""A model that ends its process."""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn


class LeavesWithLongInput(nn.Module):
    """A model that ends the process if a sequence has more than nine steps."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(3, 4, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return the predictions for a batch of sequences."""
        if x.shape[1] > 9:
            os._exit(0)
        _, h_n = self.rnn(x)
        prediction: Tensor = self.head(torch.relu(h_n[-1]))
        return prediction

"""Layers as people write them, with names, layouts and states of their own."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MyRNN(nn.Module):
    """Right in all that it does: batch first, one layer, states without the layers' axis."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.i2h = nn.Linear(input_size, hidden_size)
        self.h2h = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        h = x.new_zeros(x.size(0), self.hidden_size) if h is None else h
        outs = []
        for t in range(x.size(1)):
            h = torch.tanh(self.i2h(x[:, t]) + self.h2h(h))
            outs.append(h)
        return torch.stack(outs, 1), h


class Forgetful(MyRNN):
    """Adds the bias of the hidden part from the second step on only."""

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        h = x.new_zeros(x.size(0), self.hidden_size) if h is None else h
        outs = []
        for t in range(x.size(1)):
            hidden = self.h2h(h) if t else h @ self.h2h.weight.T
            h = torch.tanh(self.i2h(x[:, t]) + hidden)
            outs.append(h)
        return torch.stack(outs, 1), h


class Detaching(MyRNN):
    """Stops the gradient at every step."""

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        h = x.new_zeros(x.size(0), self.hidden_size) if h is None else h
        outs = []
        for t in range(x.size(1)):
            h = torch.tanh(self.i2h(x[:, t]) + self.h2h(h if t == 0 else h.detach()))
            outs.append(h)
        return torch.stack(outs, 1), h


class Remembering(MyRNN):
    """Starts a call without a state from the last state of the call before."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.kept: Tensor | None = None

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if h is None and self.kept is not None and len(self.kept) == len(x):
            h = self.kept.to(x.dtype)
        output, last = super().forward(x, h)
        self.kept = last.detach()
        return output, last


class Overwriting(MyRNN):
    """Scales its input in place."""

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            x.mul_(0.5)
        return super().forward(2.0 * x, h)

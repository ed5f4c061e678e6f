"""Subclasses of torch's layers and cells that change a call, and leave the work to torch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence


class BlockedRNN(nn.RNN):
    """An RNN that runs through a few samples at a time, as a kernel with a fixed tile does."""

    tile = 3

    def forward(self, input: Any, hx: Any = None) -> Any:
        if isinstance(input, PackedSequence) or input.dim() != 3:
            return super().forward(input, hx)
        axis = 0 if self.batch_first else 1
        batch = input.size(axis)
        self.check_forward_args(
            input, hx if hx is not None else self.make_state(input, batch), None
        )
        if batch <= self.tile or (self.training and self.dropout > 0):
            return super().forward(input, hx)
        outputs, final = [], []
        for start in range(0, batch, self.tile):
            count = min(self.tile, batch - start)
            part = None if hx is None else hx.narrow(1, start, count)
            output, last = super().forward(input.narrow(axis, start, count), part)
            outputs.append(output)
            final.append(last)
        return torch.cat(outputs, dim=axis), torch.cat(final, dim=1)

    def make_state(self, input: Tensor, batch: int) -> Tensor:
        rows = self.num_layers * (2 if self.bidirectional else 1)
        return input.new_zeros(rows, batch, self.hidden_size)


class ChunkedLSTM(nn.LSTM):
    """An LSTM that runs through a few steps at a time, and keeps the state of a stream if asked."""

    steps = 4

    def forward(self, input: Any, hx: Any = None) -> Any:
        is_plain = isinstance(input, Tensor) and not self.bidirectional
        if not is_plain or (self.training and self.dropout > 0):
            return super().forward(input, hx)
        axis = 1 if self.batch_first and input.dim() == 3 else 0
        if input.dim() not in (2, 3) or input.size(axis) <= self.steps:
            return super().forward(input, hx)
        outputs = []
        for part in input.split(self.steps, dim=axis):
            output, hx = super().forward(part, hx)
            outputs.append(output)
        return torch.cat(outputs, dim=axis), hx


class NamedGRUCell(nn.GRUCell):
    """A GRU cell that always steps through a batch, and gives an omitted state as zeros."""

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        if input.dim() == 2:
            if hx is None:
                hx = torch.zeros(
                    input.size(0), self.hidden_size, dtype=input.dtype, device=input.device
                )
            return super().forward(input, hx)
        if input.dim() != 1 or (hx is not None and hx.dim() != 1):
            return super().forward(input, hx)
        state = input.new_zeros(self.hidden_size) if hx is None else hx
        return super().forward(input.unsqueeze(0), state.unsqueeze(0))[0]

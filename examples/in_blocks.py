"""A layer with a mistake, for the samples of output in docs/ci.md."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FastRNN(nn.RNN):
    """torch.nn.RNN that computes long sequences in blocks of 32 steps, which saves memory.

    The gradient stops between the blocks, since the state is detached there.
    """

    def forward(self, input, hx=None):  # type: ignore[no-untyped-def]
        """Return the output and the final state, as torch.nn.RNN does."""
        time = 1 if self.batch_first else 0
        is_long = isinstance(input, Tensor) and input.dim() == 3 and input.size(time) > 32
        if not is_long or self.bidirectional or self.num_layers > 1:
            return super().forward(input, hx)
        outputs = []
        for block in input.split(32, dim=time):
            output, hx = super().forward(block, hx)
            outputs.append(output)
            hx = hx.detach()
        return torch.cat(outputs, dim=time), hx

"""The reference layer as a GRU, written from the documented equations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rnnspec.contract.kinds import GRU
from rnnspec.plain.gated import Gated

GATES = 3


class PlainGRU(Gated):
    """A replacement for `nn.GRU`; what is not about its cell is that of `Plain`.

    The rows of weights and biases belong to the reset gate, the update gate and the new gate, in
    this order.

    Source: the signature and the equations of the nn.GRU page.
    """

    kind = GRU
    gates = GATES

    def add_biases(self, product: Tensor, biases: Sequence[Tensor]) -> Tensor:
        """Return the contribution of the input to the three gates, and b_hn in further columns.

        What the new gate reads of the hidden state is multiplied by the reset gate, b_hn included.
        """
        for bias in [*biases[:1], *biases[2:]]:
            product = product + bias
        if len(biases) < 2:
            return product
        new, hidden = 2 * self.hidden_size, biases[1]
        outside = torch.cat([hidden[..., :new], torch.zeros_like(hidden[..., new:])], dim=-1)
        inside = hidden[..., new:].expand(product.size(0), -1)
        return torch.cat([product + outside, inside], dim=1)

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        """Return the next states; `weight` is the transposed W_hh."""
        read = torch.split(x, self.hidden_size, dim=1)
        carried = torch.split(h @ weight, self.hidden_size, dim=1)
        inside = carried[2] + read[3] if len(read) > GATES else carried[2]
        reset, update = self.gate(read[0] + carried[0]), self.gate(read[1] + carried[1])
        return self.mix(self.activation(read[2] + self.apply_reset(reset, inside)), update, h)

    def apply_reset(self, reset: Tensor, inside: Tensor) -> Tensor:
        """Return what the new gate reads of the hidden state."""
        return reset * inside

    def mix(self, new: Tensor, update: Tensor, h: Tensor) -> Tensor:
        """Return (1 - z) n + z h."""
        return (1 - update) * new + update * h

"""The cell of an LSTM. A projection of the hidden state is applied outside the cell.

    i = sigmoid(W_ii x + b_ii + W_hi h + b_hi)
    f = sigmoid(W_if x + b_if + W_hf h + b_hf)
    g = tanh(W_ig x + b_ig + W_hg h + b_hg)
    o = sigmoid(W_io x + b_io + W_ho h + b_ho)
    c' = f * c + i * g
    h' = o * tanh(c')

Source: the equations on the nn.LSTM page.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import mul

import numpy as np

from rnnspec.oracle.enclosures import (
    Number,
    apply_to_each,
    multiply,
    sigmoid,
    sigmoid_slope,
    split,
    stack,
    tanh,
    tanh_slope,
)
from rnnspec.oracle.exact_values import has_exact_sums, has_settled_sigmoid, has_settled_tanh
from rnnspec.oracle.gated import GatedCell
from rnnspec.oracle.layers import Flags, LayerTrace


class LstmCell(GatedCell):
    """The cell of an LSTM. Its sums belong to i, f, g and o, and its states are h and c."""

    blocks = 4
    input_blocks = (0, 1, 2, 3)
    hidden_blocks = (0, 1, 2, 3)

    def open_gates(self, sums: Sequence[Number]) -> tuple[Number, ...]:
        """Return i, f, g and o."""
        into, forget, out = apply_to_each(sigmoid, [sums[0], sums[1], sums[3]])
        return into, forget, tanh(sums[2]), out

    def update(self, gates: Sequence[Number], before: Sequence[Number]) -> tuple[Number, ...]:
        """Return h' and c'."""
        into, forget, cell, out = gates
        kept, added = apply_to_each(mul, [forget, into], [before[1], cell])
        memory = kept + added
        return out * tanh(memory), memory

    def linearise(
        self,
        sums: Sequence[Number],
        gates: Sequence[Number],
        before: Sequence[Number],
        after: Sequence[Number],
    ) -> tuple[Number, ...]:
        """Return f, and the factors of dc and dh side by side.

        The factors of dc are (g, c, i) and the slopes of i, f and g. The factors of dh are (o,
        tanh(c')) and the slopes of tanh(c') and o.
        """
        into, forget, cell, out = gates
        shown = tanh(after[1])
        return (
            forget,
            stack([cell, before[1], into]),
            stack([sigmoid_slope(into), sigmoid_slope(forget), tanh_slope(cell)]),
            stack([out, shown]),
            stack([tanh_slope(shown), sigmoid_slope(out)]),
        )

    def send_back(
        self, factors: Sequence[Number], received: Sequence[Number]
    ) -> tuple[tuple[Number, ...], Number | None, tuple[Number, ...]]:
        """Return the gradients for the sums of i, f and g, concatenated, and of o; f dc for c."""
        forget, partners, slopes, out_partners, out_slopes = factors
        state, carried = received
        shown, out = split(multiply(stack([state, state]), out_partners, out_slopes), 2)
        memory = carried + shown
        into = multiply(stack([memory, memory, memory]), partners, slopes)
        return (into, out), None, (memory * forget,)

    def is_exact(self, layer: LayerTrace, alive: Flags, limit: float) -> bool:
        """Return whether gates are 0, 1/2 or 1, g and tanh(c') are settled, and c' is exact."""
        # Values at padding are computed too, but no result depends on them.
        sums = [np.where(alive, each, 0.0) for each in self.split(layer.sums)]
        before, after = (
            np.where(alive, each, 0.0) for each in (layer.before()[1], layer.after()[1])
        )
        into, forget, cell, out = self.open_gates(sums)
        size = forget * np.abs(before) + into * np.abs(cell)
        return (
            all(has_settled_sigmoid(sums[gate], alive) for gate in (0, 1, 3))
            and has_settled_tanh(sums[2], alive)
            and has_exact_sums([(forget, before), (into, cell)], size, limit)
            and has_settled_tanh(after, alive)
            and has_exact_sums([(out, np.tanh(after))], out, limit)
        )

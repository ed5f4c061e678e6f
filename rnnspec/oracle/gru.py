"""The cell of a GRU, whose reset gate is applied after the product with the hidden state.

    r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)
    z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)
    n = tanh(W_in x + b_in + r * (W_hn h + b_hn))
    h' = (1 - z) * n + z * h

Source: the equations on the nn.GRU page.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rnnspec.oracle.enclosures import (
    Number,
    allow_any_order,
    allow_separate_slopes,
    apply_to_each,
    mix,
    remainder,
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


class GruCell(GatedCell):
    """The cell of a GRU. Its sums belong to r, to z, and to both parts of the sum of n."""

    blocks = 4
    input_blocks = (0, 1, 2)
    hidden_blocks = (0, 1, 3)

    def open_gates(self, sums: Sequence[Number]) -> tuple[Number, ...]:
        """Return r, z and n."""
        reset, update = apply_to_each(sigmoid, sums[:2])
        return reset, update, tanh(sums[2] + reset * sums[3])

    def update(self, gates: Sequence[Number], before: Sequence[Number]) -> tuple[Number, ...]:
        """Return h'."""
        _, update, new = gates
        return (mix(update, new, before[0]),)

    def linearise(
        self,
        sums: Sequence[Number],
        gates: Sequence[Number],
        before: Sequence[Number],
        after: Sequence[Number],
    ) -> tuple[Number, ...]:
        """Return the factors of dh, in blocks side by side.

        They are (1 - z, h - n), the slopes of n and z, (r, the hidden part of the sum of n, z), and
        the slope of r.
        """
        reset, update, new = gates
        return (
            stack([1.0 - update, before[0] - new]),
            stack([tanh_slope(new), sigmoid_slope(update)]),
            stack([reset, sums[3], remainder(update)]),
            sigmoid_slope(reset),
        )

    def send_back(
        self, factors: Sequence[Number], received: Sequence[Number]
    ) -> tuple[tuple[Number, ...], Number | None, tuple[Number, ...]]:
        """Return the gradients for the four sums, and z dh for h."""
        partners, slopes, inner, reset_slope = factors
        (state,) = received
        both = stack([state, state])
        sent = both * partners * slopes
        new, _ = split(sent, 2)
        through, hidden, kept = split(stack([new, new, state]) * inner, 3)
        # The reference needs a single order of the factors, but an implementation may multiply them
        # in another order and underflow on the way.
        rest, difference = split(partners, 2)
        new_slope, update_slope = split(slopes, 2)
        gate, part, _ = split(inner, 3)
        new_input, update = split(allow_any_order(sent, both, partners, slopes), 2)
        return (
            (
                allow_any_order(hidden * reset_slope, state, rest, new_slope, part, reset_slope),
                allow_separate_slopes(update, state, difference, update_slope),
                new_input,
                allow_any_order(through, state, rest, new_slope, gate),
            ),
            kept,
            (),
        )

    def is_exact(self, layer: LayerTrace, alive: Flags, limit: float) -> bool:
        """Return whether gates are 0, 1/2 or 1, n is settled too, and no product rounds."""
        sums = [np.where(alive, each, 0.0) for each in self.split(layer.sums)]
        state = np.where(alive, layer.states[:, :-1], 0.0)
        reset, update, new = self.open_gates(sums)
        inner = np.abs(sums[2]) + reset * np.abs(sums[3])
        mixed = [(new,), (state,), (update, new), (update, state)]
        # An implementation may also mix as n + z (h - n), whose terms are larger.
        size = (1.0 + update) * (np.abs(new) + np.abs(state))
        return (
            has_settled_sigmoid(sums[0], alive)
            and has_settled_sigmoid(sums[1], alive)
            and has_exact_sums([(sums[2],), (reset, sums[3])], inner, limit)
            and has_settled_tanh(sums[2] + reset * sums[3], alive)
            and has_exact_sums(mixed, size, limit)
        )

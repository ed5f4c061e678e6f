"""Formulas of other libraries that differ from the documented formula, used to identify a layer.

No weights make a layer with such a formula equal to the documented layer. But the formula shows
which parameter is which and in what order the gates are stacked, so that a check can show how the
layer differs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from rnnspec.cases.axes import InitialState
from rnnspec.cases.case import Case
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import GRU, LSTM, RNN, Kind
from rnnspec.oracle import Array
from rnnspec.reference.given import Given
from rnnspec.reference.loop import Reference
from rnnspec.reference.values import Changes, Functions, States, change_values

NewSums = dict[str, Tensor]


@dataclass(frozen=True)
class Variant:
    """A formula that differs from the documented formula.

    kind     the kind of layer that it is a variant of
    text     the difference, to be read after the name of the layer
    changes  the functions that make the documented layer compute it
    """

    kind: Kind
    text: str
    changes: Changes

    def run(
        self,
        config: Config,
        weights: Mapping[str, Array],
        x: Array,
        initial: Mapping[str, Array],
    ) -> dict[str, Array]:
        """Return the output (T, N, D * H) and the final states (D * num_layers, N, H) by letter."""
        case = Case(
            config=config,
            steps=x.shape[0],
            batch=x.shape[1],
            initial_state=InitialState.GIVEN,
        )
        named = {f"{letter}_0": torch.from_numpy(state) for letter, state in initial.items()}
        tensors = {name: torch.from_numpy(each) for name, each in weights.items()}
        given = Given(case, tensors, torch.from_numpy(x), named)
        with torch.no_grad():
            output, final = Reference(given, self.changes).run()
        found = {"output": output, **final}
        return {name: each.numpy() for name, each in found.items()}


def reset_before(sums: NewSums, rest: NewSums, before: States, weight: NewSums) -> NewSums:
    """Return the sums of n = tanh(W_in x + b_in + W_hn (r * h) + b_hn).

    No part is left for the reset gate to multiply after the product.
    """
    inside = (torch.sigmoid(sums["reset"]) * before["h"]) @ weight["part"]
    new = sums["new"] + rest["part"] + inside
    return {**sums, "new": new, "part": torch.zeros_like(sums["part"])}


def _reset_without_bias(sums: NewSums, rest: NewSums, before: States, weight: NewSums) -> NewSums:
    """Return the sums of n = tanh(W_in x + b_in + r * (W_hn h) + b_hn)."""
    return {**sums, "new": sums["new"] + rest["part"], "part": before["h"] @ weight["part"]}


def _use_in_gates(kind: Kind, function: Callable[[Tensor], Tensor]) -> Functions:
    """Return changes that replace every sigmoid by another function."""
    gates = zip(kind.gates, kind.held, strict=True)
    return {
        f"gate.{gate}": lambda value, total: function(total)
        for gate, sign in gates
        if sign is not None
    }


def _clip_a_fifth(total: Tensor) -> Tensor:
    """Return 0.2 x + 0.5, clipped to [0, 1], as in Keras before version 3."""
    return (0.2 * total + 0.5).clamp(0.0, 1.0)


RELU: Functions = {
    "gate.new": lambda value, total: torch.relu(total),
    "gate.cell": lambda value, total: torch.relu(total),
    "shown": lambda value, c: torch.relu(c),
}
FORMULAS: tuple[tuple[Kind, str, Functions], ...] = (
    (GRU, "resets the state before it is multiplied by weight_hh", {"sums": reset_before}),
    (
        GRU,
        "adds the bias bias_hh of the new gate behind the reset gate",
        {"sums": _reset_without_bias},
    ),
    *(
        (
            kind,
            f"has gates of {formula}, clipped to [0, 1], in place of sigmoids",
            _use_in_gates(kind, function),
        )
        for kind in (GRU, LSTM)
        for formula, function in (
            ("0.2 x + 0.5", _clip_a_fifth),
            ("x / 6 + 0.5", functional.hardsigmoid),
        )
    ),
    *((kind, "has relu in place of tanh", RELU) for kind in (GRU, LSTM)),
    (LSTM, "returns o * c in place of o * tanh(c)", {"shown": lambda value, c: c}),
    (
        LSTM,
        "has the forget gate 1 - i and none of its own",
        {"sum.forget": lambda total, sums: -sums["input"]},
    ),
    (
        LSTM,
        "has the input gate 1 - f and none of its own",
        {"c": lambda c, f, g, before: f * before["c"] + (1 - f) * g},
    ),
    (
        RNN,
        "has the sigmoid in place of tanh",
        {"gate.hidden": lambda value, total: torch.sigmoid(total)},
    ),
    (RNN, "has no nonlinearity", {"gate.hidden": lambda value, total: total}),
)
VARIANTS = tuple(Variant(kind, text, change_values(changes)) for kind, text, changes in FORMULAS)
"""The variants of cells in released libraries."""

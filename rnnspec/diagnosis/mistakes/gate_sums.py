"""Mistakes of a backward pass that takes the sum of a gate for its value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from rnnspec.contract.kinds import Kind
from rnnspec.diagnosis.mistakes.gate_formulas import OtherStep, States, Sums
from rnnspec.diagnosis.mistakes.gate_gradients import RULES
from rnnspec.diagnosis.mistakes.gates import is_of_kind, list_gated_kinds
from rnnspec.diagnosis.mistakes.gradients import replace_gradient
from rnnspec.diagnosis.mistakes.hypothesis import Hypothesis, KindCondition
from rnnspec.diagnosis.mistakes.situations import has_gates

REMEDY = "keep the values of the gates for the backward pass, not the sums that they are made of"


@dataclass(frozen=True)
class Taken:
    """Of which gate the sum is taken for the value: in products, or in slopes, or in both.

    If `gate` is None, it is so of all gates.
    """

    gate: int | None
    products: bool = True
    slopes: bool = True

    def take(self, gate: int, total: Tensor, *, is_tanh: bool = False) -> tuple[Tensor, Tensor]:
        """Return the value of a gate, and what a backward pass takes for it."""
        value = torch.tanh(total) if is_tanh else torch.sigmoid(total)
        if self.gate not in (None, gate):
            return value, value
        slope_at = (total if self.slopes else value).detach()
        slope = 1 - slope_at * slope_at if is_tanh else slope_at * (1 - slope_at)
        return value, replace_gradient(total if self.products else value, total * slope)


def step_lstm(sums: Sums, before: States, taken: Taken) -> States:
    """Return the states of an LSTM, through which gradients flow as if sums were gates."""
    (i, t_i), (f, t_f), (o, t_o) = (taken.take(gate, sums[gate]) for gate in (0, 1, 3))
    g, t_g = taken.take(2, sums[2], is_tanh=True)
    c = replace_gradient(f * before[1] + i * g, t_f * before[1] + t_i * t_g)
    shown = torch.tanh(c)
    return replace_gradient(o * shown, t_o * shown), c


def step_gru(sums: Sums, before: States, taken: Taken) -> States:
    """Return the state of a GRU, through which gradients flow as if sums were gates."""
    (r, t_r), (z, t_z) = (taken.take(gate, sums[gate]) for gate in (0, 1))
    part = replace_gradient(r * sums[3], t_r * sums[3])
    n, t_n = taken.take(2, sums[2] + part, is_tanh=True)
    right, wrong = (1 - z) * n + z * before[0], (1 - t_z) * t_n + t_z * before[0]
    return (replace_gradient(right, wrong),)


def step_any(sums: Sums, before: States, taken: Taken) -> States:
    """Return the states of a GRU or an LSTM, through which gradients flow as if sums were gates."""
    step = step_lstm if len(before) > 1 else step_gru
    return step(sums, before, taken)


WAYS = (
    ("", True, True),
    (" in products", True, False),
    (" in slopes", False, True),
)
"""Where a sum is taken for a gate: what is said, in products, in slopes."""


def _list_taken(named: str, gate: int | None, of: KindCondition) -> Iterator[Hypothesis]:
    for where, products, slopes in WAYS:
        formula = partial(step_any, taken=Taken(gate, products, slopes))
        yield Hypothesis(
            f"the backward pass takes {named}{where}",
            REMEDY,
            RULES,
            partial(OtherStep, formula=formula),
            of=of,
        )


def _list_single(kind: Kind) -> Iterator[Hypothesis]:
    for place, gate in enumerate(kind.gates):
        named = f"the sum of the {gate} gate for its value"
        yield from _list_taken(named, place, partial(is_of_kind, kind))


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_taken("the sums of all gates for their values", None, has_gates),
    *(each for kind in list_gated_kinds() for each in _list_single(kind)),
)

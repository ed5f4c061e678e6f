"""Mistakes with exponentials that overflow: a sigmoid or a tanh is NaN where it should be 1 or -1.

In which dtype a layer computes is not known, so that the limit is that of the dtype of the case.
"""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rnnspec.contract.kinds import Kind
from rnnspec.diagnosis.mistakes.gate_formulas import OtherStep, step_any
from rnnspec.diagnosis.mistakes.gates import is_of_kind, list_gated_kinds
from rnnspec.diagnosis.mistakes.given import Given
from rnnspec.diagnosis.mistakes.hypothesis import Hypothesis, KindCondition, every
from rnnspec.diagnosis.mistakes.reference import Reference
from rnnspec.diagnosis.mistakes.situations import has_cell_state, has_gates, is_tanh

Overflow = Callable[[Tensor, float], Tensor]
"""Where an exponential overflows whose argument may not exceed a limit."""


def _overflows_once(total: Tensor, limit: float) -> Tensor:
    return total > limit


def _overflows_if_doubled(total: Tensor, limit: float) -> Tensor:
    return 2 * total > limit


def _overflows_if_negated(total: Tensor, limit: float) -> Tensor:
    return -2 * total > limit


def _overflows_on_both_sides(total: Tensor, limit: float) -> Tensor:
    return total.abs() > limit


OF_TANH: tuple[tuple[str, Overflow], ...] = (
    ("the exponential of its argument", _overflows_on_both_sides),
    ("exp(2x)", _overflows_if_doubled),
    ("exp(-2x)", _overflows_if_negated),
)


def spoil(value: Tensor, argument: Tensor, overflows: Overflow, limit: float) -> Tensor:
    """Return a value of a function with NaN where the exponential of its argument overflows."""
    return torch.where(overflows(argument, limit), torch.full_like(value, math.nan), value)


def find_limit(given: Given) -> float:
    """Return the largest argument whose exponential is finite in the dtype of a case."""
    return math.log(torch.finfo(given.case.dtype.torch_dtype).max)


@dataclass
class OverflowingTanh(Reference):
    """tanh is NaN where an exponential overflows."""

    overflows: Overflow = _overflows_on_both_sides

    def activate(self, total: Tensor, layer: int, direction: int) -> Tensor:
        right = super().activate(total, layer, direction)
        return spoil(right, total, self.overflows, find_limit(self.given))


@dataclass
class OverflowingGates(OtherStep):
    """Some functions of a step are NaN where an exponential overflows.

    `functions` has the functions of a step, by the names of their parameters, and where each
    overflows. If it has the sigmoid, `only` is the gate that it concerns, or None for all of them.
    """

    functions: dict[str, tuple[Callable[[Tensor], Tensor], Overflow]] = field(default_factory=dict)
    only: int | None = None

    def __post_init__(self) -> None:
        limit = find_limit(self.given)
        changed: dict[str, Any] = {
            name: partial(_apply, function, overflows, limit)
            for name, (function, overflows) in self.functions.items()
        }
        self.formula = partial(step_any, **changed, only=self.only)


def _apply(
    function: Callable[[Tensor], Tensor], overflows: Overflow, limit: float, total: Tensor
) -> Tensor:
    return spoil(function(total), total, overflows, limit)


RULES = ("nonlinearity.large", "nonlinearity.tanh")
OF_GATES = ("nonlinearity.large", "gates.alone", "recurrence.exact")
TANH = "compute tanh from exp(-2 |x|), which does not overflow, or by torch.tanh"
SIGMOID = "compute the sigmoid from exp(-|x|), which does not overflow, or by torch.sigmoid"


def _list_single() -> Iterator[Hypothesis]:
    for exponential, overflows in OF_TANH:
        yield Hypothesis(
            f"tanh gives NaN if {exponential} overflows",
            TANH,
            RULES,
            partial(OverflowingTanh, overflows=overflows),
            is_tanh,
        )


def _list_gates(kind: Kind) -> Iterator[Hypothesis]:
    of = partial(is_of_kind, kind)
    for place, (gate, sign) in enumerate(zip(kind.gates, kind.held, strict=True)):
        if sign is None:
            yield from _list_tanh(f"the tanh of the {gate} gate", ("new",), of)
            continue
        yield Hypothesis(
            f"the {gate} gate is NaN if the exponential of its sum overflows",
            SIGMOID,
            OF_GATES,
            partial(
                OverflowingGates,
                functions={"gate": (torch.sigmoid, _overflows_once)},
                only=place,
            ),
            family="gates that overflow",
            rank=1,
            of=of,
        )


def _list_tanh(
    what: str, names: tuple[str, ...], of: KindCondition = every
) -> Iterator[Hypothesis]:
    for exponential, overflows in OF_TANH:
        yield Hypothesis(
            f"{what} gives NaN if {exponential} overflows",
            TANH,
            RULES,
            partial(OverflowingGates, functions=dict.fromkeys(names, (torch.tanh, overflows))),
            family=f"a tanh that overflows, {exponential}",
            rank=len(names),
            of=of,
        )


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_single(),
    Hypothesis(
        "a gate is NaN if the exponential of its sum overflows",
        SIGMOID,
        OF_GATES,
        partial(OverflowingGates, functions={"gate": (torch.sigmoid, _overflows_once)}),
        family="gates that overflow",
        of=has_gates,
    ),
    *(each for kind in list_gated_kinds() for each in _list_gates(kind)),
    *_list_tanh("the tanh of the cell state", ("shown",), has_cell_state),
    *_list_tanh("tanh, wherever it is applied,", ("new", "shown"), has_cell_state),
)

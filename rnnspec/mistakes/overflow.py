"""Mistakes with exponentials that overflow: a sigmoid or a tanh is NaN instead of 1 or -1.

The dtype that a layer uses to compute is unknown, so the limit of the dtype of the case is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from rnnspec.contract.kinds import Kind
from rnnspec.mistakes.gate_formulas import ALL_SIGMOIDS
from rnnspec.mistakes.gates import is_of_kind, list_gated_kinds
from rnnspec.mistakes.hypothesis import Hypothesis, KindCondition, every
from rnnspec.mistakes.situations import has_cell_state, has_gates, is_tanh
from rnnspec.reference.given import Given
from rnnspec.reference.values import Functions, change_values

Overflow = Callable[[Tensor, float], Tensor]
"""Returns where an exponential overflows whose argument may not exceed a limit."""


def _overflows_once(total: Tensor, limit: float) -> Tensor:
    return total > limit


def _overflows_if_doubled(total: Tensor, limit: float) -> Tensor:
    return 2 * total > limit


def _overflows_if_negated(total: Tensor, limit: float) -> Tensor:
    return -2 * total > limit


def _overflows_on_both_sides(total: Tensor, limit: float) -> Tensor:
    return total.abs() > limit


OF_TANH: tuple[tuple[str, str, Overflow], ...] = (
    ("exp(|x|)", "the exponential of its argument", _overflows_on_both_sides),
    ("exp(2x)", "exp(2x)", _overflows_if_doubled),
    ("exp(-2x)", "exp(-2x)", _overflows_if_negated),
)


def spoil(value: Tensor, argument: Tensor, overflows: Overflow, limit: float) -> Tensor:
    """Return a value of a function with NaN where the exponential of its argument overflows."""
    return torch.where(overflows(argument, limit), torch.full_like(value, math.nan), value)


def find_limit(given: Given) -> float:
    """Return the largest argument whose exponential is finite in the dtype of a case."""
    return math.log(torch.finfo(given.case.dtype.torch_dtype).max)


def spoil_value(overflows: Overflow) -> Callable[..., Tensor]:
    """Return a change of a gate to NaN where the exponential of its sum overflows."""
    return lambda value, total, spot: spoil(value, total, overflows, find_limit(spot.given))


def spoil_shown(overflows: Overflow) -> Callable[..., Tensor]:
    """Return the same change of the tanh of the cell state."""
    return lambda value, c, spot: spoil(value, c, overflows, find_limit(spot.given))


OF_SIGMOIDS = dict.fromkeys((f"gate.{gate}" for gate in ALL_SIGMOIDS), spoil_value(_overflows_once))
Overflowing = Callable[[Overflow], Functions]


def spoil_new(overflows: Overflow) -> Functions:
    """Return changes of the tanh of the new gate and of the cell gate."""
    return dict.fromkeys(("gate.new", "gate.cell"), spoil_value(overflows))


def spoil_cell(overflows: Overflow) -> Functions:
    """Return a change of the tanh of the cell state."""
    return {"shown": spoil_shown(overflows)}


def spoil_both(overflows: Overflow) -> Functions:
    """Return changes of every tanh of an LSTM."""
    return {**spoil_new(overflows), **spoil_cell(overflows)}


RULES = ("nonlinearity.large", "nonlinearity.tanh")
OF_GATES = ("nonlinearity.large", "gates.alone", "recurrence.exact")
TANH = "compute tanh from exp(-2 |x|), which does not overflow, or by torch.tanh"
SIGMOID = "compute the sigmoid from exp(-|x|), which does not overflow, or by torch.sigmoid"


def _list_single() -> Iterator[Hypothesis]:
    for key, exponential, overflows in OF_TANH:
        yield Hypothesis(
            f"overflow.tanh={key}",
            f"tanh gives NaN if {exponential} overflows",
            TANH,
            RULES,
            change_values({"gate.hidden": spoil_value(overflows)}),
            is_tanh,
        )


def _list_gates(kind: Kind) -> Iterator[Hypothesis]:
    of = partial(is_of_kind, kind)
    for gate, sign in zip(kind.gates, kind.held, strict=True):
        if sign is None:
            yield from _list_tanh(f"{gate}-gate", f"the tanh of the {gate} gate", spoil_new, of=of)
            continue
        yield Hypothesis(
            f"overflow.{gate}-gate",
            f"the {gate} gate is NaN if the exponential of its sum overflows",
            SIGMOID,
            OF_GATES,
            change_values({f"gate.{gate}": spoil_value(_overflows_once)}),
            family="overflow.gates",
            rank=1,
            of=of,
        )


def _list_tanh(
    name: str, what: str, spoil_all: Overflowing, rank: int = 1, of: KindCondition = every
) -> Iterator[Hypothesis]:
    for key, exponential, overflows in OF_TANH:
        yield Hypothesis(
            f"overflow.{name}={key}",
            f"{what} gives NaN if {exponential} overflows",
            TANH,
            RULES,
            change_values(spoil_all(overflows)),
            family=f"overflow.tanh={key}",
            rank=rank,
            of=of,
        )


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_single(),
    Hypothesis(
        "overflow.gates",
        "a gate is NaN if the exponential of its sum overflows",
        SIGMOID,
        OF_GATES,
        change_values(OF_SIGMOIDS),
        family="overflow.gates",
        of=has_gates,
    ),
    *(each for kind in list_gated_kinds() for each in _list_gates(kind)),
    *_list_tanh("shown", "the tanh of the cell state", spoil_cell, of=has_cell_state),
    *_list_tanh("tanh-everywhere", "tanh, wherever it is applied,", spoil_both, 2, has_cell_state),
)

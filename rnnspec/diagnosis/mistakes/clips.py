"""Mistakes with a limit to which something is clipped: it is inferred from one case.

The limit is told only if the same one explains all cases.
"""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnnspec.diagnosis.mistakes.cell_formulas import RULES_OF_STATE, OtherFormula, clip_cell
from rnnspec.diagnosis.mistakes.cell_states import EndChanged
from rnnspec.diagnosis.mistakes.evidence import Evidence
from rnnspec.diagnosis.mistakes.functions import FunctionApplied
from rnnspec.diagnosis.mistakes.gate_formulas import (
    Function,
    OtherStep,
    States,
    Sums,
    step_any,
    step_gru,
    step_lstm,
)
from rnnspec.diagnosis.mistakes.gates import multiplies_hidden_part
from rnnspec.diagnosis.mistakes.given import Given
from rnnspec.diagnosis.mistakes.hypothesis import (
    Condition,
    Hypothesis,
    KindCondition,
    always,
    every,
)
from rnnspec.diagnosis.mistakes.initial_states import STARTS, ChangedStart
from rnnspec.diagnosis.mistakes.projections import has_projection
from rnnspec.diagnosis.mistakes.reference import Reference
from rnnspec.diagnosis.mistakes.situations import (
    has_cell_state,
    has_gates,
    has_h_0,
    has_nonlinearity,
)

LIMITS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 16, 20, 25, 30, 32, 40, 50, 64, 80, 88, 100)
"""The limits to which sums may be clipped."""
DIGITS = 3
"""A limit that is read off results has so many digits."""
RULES = ("nonlinearity.large", "gates.alone", "recurrence.output")
Build = Callable[[float, Given], Reference]


@dataclass(frozen=True)
class Clip:
    """Something that may be clipped; `text` says what, and `rules` are broken by that.

    `done` says what is done from the limit on.
    """

    text: str
    build: Build
    of: KindCondition = every
    where: Condition = always
    rules: tuple[str, ...] = RULES
    rank: int = 0
    done: str = "clipped to [-{0:g}, {0:g}]"
    remedy: str = "do not clip it"

    def limit_to(self, limit: float) -> Hypothesis:
        """Return the hypothesis that this is done from a limit on."""
        return Hypothesis(
            self.text.format(self.done.format(limit)),
            self.remedy,
            self.rules,
            partial(self.build, limit),
            self.where,
            "constants",
            self.rank,
            of=self.of,
        )


@dataclass
class ClippedSum(Reference):
    """The sum is clipped before the nonlinearity."""

    limit: float = 1.0

    def activate(self, total: Tensor, layer: int, direction: int) -> Tensor:
        return super().activate(total.clamp(-self.limit, self.limit), layer, direction)


@dataclass
class ChangedHidden(Reference):
    """The hidden state is changed at the end of each step."""

    change: Function = torch.clone

    def project_state(self, state: Tensor, layer: int, direction: int) -> Tensor:
        return self.change_states(super().project_state(state, layer, direction), self.change)


def _clip_hidden(limit: float, given: Given) -> Reference:
    return ChangedHidden(given, change=lambda state: state.clamp(-limit, limit))


def _clip_and(function: Function, limit: float) -> Function:
    """Return a function of a sum that is clipped first."""
    return lambda total: function(total.clamp(-limit, limit))


def _clip_gates(limit: float, sums: Sums, before: States) -> States:
    return step_any(sums, before, gate=_clip_and(torch.sigmoid, limit))


def _clip_new(limit: float, sums: Sums, before: States) -> States:
    return step_any(sums, before, new=_clip_and(torch.tanh, limit))


def _clip_all(limit: float, sums: Sums, before: States) -> States:
    tanh = _clip_and(torch.tanh, limit)
    return step_any(sums, before, gate=_clip_and(torch.sigmoid, limit), new=tanh)


def _clip_all_and_shown(limit: float, sums: Sums, before: States) -> States:
    tanh = _clip_and(torch.tanh, limit)
    return step_lstm(sums, before, gate=_clip_and(torch.sigmoid, limit), new=tanh, shown=tanh)


def _clip_product(limit: float, sums: Sums, before: States) -> States:
    return step_gru([*sums[:-1], sums[-1].clamp(-limit, limit)], before)


def _clip_start(letters: str, limit: float, given: Given) -> Reference:
    return ChangedStart(given, lambda state: state.clamp(-limit, limit), letters)


def _change_step(formula: Callable[[float, Sums, States], States]) -> Build:
    return lambda limit, given: OtherStep(given, formula=partial(formula, limit))


CLIPS: tuple[Clip, ...] = (
    Clip(
        "the sum is {} before the nonlinearity",
        lambda limit, given: ClippedSum(given, limit=limit),
        where=has_nonlinearity,
    ),
    Clip("the sums to which sigmoids are applied are {}", _change_step(_clip_gates), of=has_gates),
    Clip("the sum of the new gate is {}", _change_step(_clip_new), multiplies_hidden_part),
    Clip("the sum of the cell gate is {}", _change_step(_clip_new), has_cell_state),
    Clip("the sums of all gates are {}", _change_step(_clip_all), has_gates),
    Clip(
        "all that sigmoids and tanh are applied to is {}, the cell state included",
        _change_step(_clip_all_and_shown),
        has_cell_state,
    ),
    Clip(
        "the product with weight_hh that the reset gate multiplies is {}, with its bias",
        _change_step(_clip_product),
        multiplies_hidden_part,
    ),
)
"""What may be clipped before a function is applied to it."""
OF_STARTS = tuple(
    Clip(
        f"{start.text} is {{}}",
        partial(_clip_start, start.letters),
        start.of,
        has_h_0,
        start.rules,
        rank=1,
    )
    for start in STARTS
)
"""Initial states that may be clipped; a limit of 1 is in the catalogue."""
HIDDEN = tuple(
    Clip(
        f"{text} is {{}}",
        _clip_hidden,
        where=where,
        rules=rules,
        rank=rank,
    )
    for rank, text, where, rules in (
        (0, "the projected state", has_projection, ("projection.results", "recurrence.output")),
        (1, "the hidden state", always, ("recurrence.output",)),
    )
)
"""If no other state reaches the limit, the projected state is told."""
CELL = Clip(
    "the cell state is {}",
    lambda limit, given: OtherFormula(given, formula=partial(clip_cell, limit)),
    has_cell_state,
    rules=RULES_OF_STATE,
)


def _clip_end(limit: float, given: Given) -> Reference:
    return EndChanged(given, change=lambda layer, hidden, cell: cell.clamp(-limit, limit))


def _clip_results(parts: Iterable[str], limit: float, given: Given) -> Reference:
    changes: dict[str, Any] = dict.fromkeys(parts, lambda result: result.clamp(-limit, limit))
    return FunctionApplied(given, **changes)


RETURNED: dict[tuple[str, ...], Clip] = {
    ("output",): Clip(
        "the output is {}",
        partial(_clip_results, ["of_output"]),
        rules=("recurrence.output",),
        rank=2,
    ),
    ("h",): Clip(
        "h_n is {}",
        partial(_clip_results, ["of_h_n"]),
        rules=("recurrence.h-n", "states.h-n-is-last-output"),
        rank=2,
    ),
    ("output", "h"): Clip(
        "output and h_n are {}",
        partial(_clip_results, ["of_output", "of_h_n"]),
        rules=("recurrence.output",),
        rank=3,
    ),
    ("c",): Clip("c_n is {}", _clip_end, has_cell_state, rules=("cell-state.final",), rank=2),
}
"""What may be clipped when it is returned, by the results or the letters of the states."""


def infer_clips(case: Evidence) -> Iterator[Hypothesis]:
    """Yield the hypotheses that something is clipped to a limit which one wrong case suggests."""
    for clip in (*CLIPS, *OF_STARTS):
        yield from find_limits(case, clip, LIMITS)
    kind = case.case.config.kind_data
    cells = set(kind.final[1:])
    yield from _read_limit(case, [each for each in kind.results if each in cells], [CELL])
    yield from _read_limit(case, [each for each in kind.results if each not in cells], HIDDEN)
    for parts, clip in RETURNED.items():
        names = [each if each == "output" else kind.name_final(each) for each in parts]
        yield from _read_limit(case, names, [clip])


def find_limits(case: Evidence, clip: Clip, limits: Iterable[float]) -> Iterator[Hypothesis]:
    """Yield the hypotheses that predict a case, from the first limit to one that does nothing."""
    for limit in limits:
        hypothesis = clip.limit_to(limit)
        if not hypothesis.concerns(case.case) or case.observed is None:
            return
        predicted = case.predict(hypothesis.build)
        if case.measure(predicted, case.required) <= 1.0:
            return
        if case.measure(predicted, case.observed) <= 1.0:
            yield hypothesis


def _read_limit(
    case: Evidence, names: Iterable[str], clips: Iterable[Clip]
) -> Iterator[Hypothesis]:
    """Yield the hypotheses that states are clipped, if their largest number is in few digits.

    The largest number of right states is larger.
    """
    assert case.observed is not None
    shown = [name for name in names if name in case.observed.results]
    largest, right = (
        max((float(np.abs(each.results[name]).max(initial=0.0)) for name in shown), default=0.0)
        for each in (case.observed, case.required)
    )
    limit = float(f"{largest:.{DIGITS}g}")
    if 0 < limit < right and abs(largest - limit) <= case.case.dtype.roundoff * limit:
        found = (clip.limit_to(limit) for clip in clips)
        yield from (each for each in found if each.concerns(case.case))

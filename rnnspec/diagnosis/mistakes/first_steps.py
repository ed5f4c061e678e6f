"""Mistakes with the first and the last step of a direction."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rnnspec.cases.axes import InitialState
from rnnspec.cases.case import Case
from rnnspec.diagnosis.mistakes.gate_formulas import Formula, OtherStep, States, Sums, step_gru
from rnnspec.diagnosis.mistakes.gates import multiplies_hidden_part
from rnnspec.diagnosis.mistakes.hypothesis import Hypothesis, KindCondition, always
from rnnspec.diagnosis.mistakes.places import PLACES, Local, Located, list_by_place
from rnnspec.diagnosis.mistakes.situations import (
    has_cell_state,
    is_long,
    is_ragged,
)
from rnnspec.diagnosis.mistakes.steps import OF_SEVERAL


@dataclass
class FirstStepBias(Local):
    """Some biases are not added at the first step, or are added at the first step only."""

    biases_kept: int = 0
    at_first: bool = True
    lost: list[Tensor] = field(default_factory=list)
    cell: tuple[int, int] = (0, 0)

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        biases = self.biases(layer, direction)
        self.lost = biases[self.biases_kept :] if self.is_wrong(layer, direction) else []
        return super().project(data, layer, direction)

    def add(
        self, rest: Tensor, state: Tensor, weight: Tensor, layer: int, direction: int, step: int
    ) -> Tensor:
        right = super().add(rest, state, weight, layer, direction, step)
        for bias in self.lost if (step == 0) is self.at_first else ():
            right = right - bias
        return right


@dataclass
class SkippedStep(Located):
    """A direction leaves the state unchanged at some step."""

    is_skipped: Callable[[int, int], bool] = lambda step, steps: False
    step: int = 0

    def recall(self, state: Tensor, first: Tensor, step: int) -> Tensor:
        self.step = step
        return state

    def keep(self, new: Tensor, time: int, state: Tensor) -> Tensor:
        right = super().keep(new, time, state)
        wrong = self.is_wrong(*self.cell) and self.is_skipped(self.step, self.steps)
        return state if wrong else right


@dataclass
class FirstStepFormula(OtherStep):
    """The first step of each direction, or of the sequence, is computed by another formula."""

    of_sequence: bool = False
    is_first: bool = False

    def add(
        self, rest: Tensor, state: Tensor, weight: Tensor, layer: int, direction: int, step: int
    ) -> Tensor:
        is_last_computed = bool(direction) and self.of_sequence
        self.is_first = step == (self.given.case.steps - 1 if is_last_computed else 0)
        return super().add(rest, state, weight, layer, direction, step)

    def is_wrong(self, layer: int, direction: int) -> bool:
        return self.is_first and super().is_wrong(layer, direction)


def _leave_out_reset(sums: Sums, before: States) -> States:
    return step_gru([*sums[:2], sums[2] + sums[3], torch.zeros_like(sums[3])], before)


def _read_input_alone(sums: Sums, before: States) -> States:
    return step_gru([*sums[:3], torch.zeros_like(sums[3])], before)


def _leave_out_update(sums: Sums, before: States) -> States:
    return (torch.tanh(sums[2] + torch.sigmoid(sums[0]) * sums[3]),)


def _leave_out_forget(sums: Sums, before: States) -> States:
    new = before[1] + torch.sigmoid(sums[0]) * torch.tanh(sums[2])
    return torch.sigmoid(sums[3]) * torch.tanh(new), new


FORMULAS: tuple[tuple[str, Formula, KindCondition], ...] = (
    ("does not use the reset gate", _leave_out_reset, multiplies_hidden_part),
    ("leaves out W_hn h + b_hn", _read_input_alone, multiplies_hidden_part),
    ("does not use the update gate", _leave_out_update, multiplies_hidden_part),
    ("does not use the forget gate", _leave_out_forget, has_cell_state),
)
"""What the first step may do otherwise in layers with gates."""


SKIPS: tuple[tuple[str, Callable[[int, int], bool]], ...] = (
    ("the last step leaves the state unchanged", lambda step, steps: step == steps - 1),
    ("the first step leaves the state unchanged", lambda step, steps: step == 0),
)


def _list_first_step_biases() -> list[Hypothesis]:
    def has_bias(case: Case) -> bool:
        return case.config.bias

    def has_later_bias(case: Case) -> bool:
        return case.config.bias and is_long(case)

    def is_absent(case: Case) -> bool:
        return case.config.bias and case.initial_state is InitialState.ABSENT

    entries = (
        ("the first step adds no bias", 0, True, has_bias),
        ("the first step does not add b_hh", 1, True, has_bias),
        ("only the first step adds biases", 0, False, has_later_bias),
        ("only the first step adds b_hh", 1, False, has_later_bias),
        ("without h_0, the first step does not add b_hh", 1, True, is_absent),
        ("without h_0, the first step adds no bias", 0, True, is_absent),
    )
    return [
        hypothesis
        for text, kept, at_first, concerns in entries
        for hypothesis in list_by_place(
            text,
            "add both biases at every step",
            ("states.absent-is-zero" if "without" in text else "recurrence.output",),
            FirstStepBias,
            concerns,
            PLACES,
            biases_kept=kept,
            at_first=at_first,
        )
    ]


def starts_at_several_times(case: Case) -> bool:
    """Return whether the backward direction starts where each sequence ends."""
    return case.config.bidirectional and is_ragged(case)


def _list_first_formulas() -> list[Hypothesis]:
    def is_absent(case: Case) -> bool:
        return case.initial_state is InitialState.ABSENT

    return [
        hypothesis
        for text, formula, of in FORMULAS
        for start, rule, concerns, of_sequence in (
            ("the first step", "recurrence.output", always, False),
            ("without h_0, the first step", "states.absent-is-zero", is_absent, False),
            ("the step at time 0", "recurrence.output", always, True),
        )
        for hypothesis in list_by_place(
            f"{start} {text}",
            "compute every step in the same way",
            (rule, "recurrence.output"),
            FirstStepFormula,
            concerns,
            PLACES,
            unclear=starts_at_several_times,
            family=text,
            rank=4 * of_sequence,
            of=of,
            formula=formula,
            of_sequence=of_sequence,
        )
    ]


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_first_step_biases(),
    *_list_first_formulas(),
    *(
        hypothesis
        for text, is_skipped in SKIPS
        for when, where, rank in (("", always, 0), (OF_SEVERAL, is_long, 3))
        for hypothesis in list_by_place(
            text + when,
            "compute the new state at every step",
            ("recurrence.output",),
            SkippedStep,
            where,
            PLACES,
            is_ragged,
            text,
            rank,
            is_skipped=is_skipped,
        )
    ),
)

"""Mistakes with the first and the last step of a direction."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from rnnspec.cases.axes import InitialState
from rnnspec.cases.case import Case
from rnnspec.diagnosis.mistakes.hypothesis import Hypothesis
from rnnspec.diagnosis.mistakes.places import PLACES, Local, list_by_place
from rnnspec.diagnosis.mistakes.situations import is_long, is_ragged


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
class SkippedStep(Local):
    """A direction leaves the state unchanged at some step."""

    is_skipped: Callable[[int, int], bool] = lambda step, steps: False
    steps: int = 0
    step: int = 0
    cell: tuple[int, int] = (0, 0)

    def run_direction(
        self, data: Tensor, first: Tensor, layer: int, direction: int
    ) -> tuple[Tensor, Tensor]:
        self.steps, self.cell = len(data), (layer, direction)
        return super().run_direction(data, first, layer, direction)

    def recall(self, state: Tensor, first: Tensor, step: int) -> Tensor:
        self.step = step
        return state

    def keep(self, new: Tensor, time: int, state: Tensor) -> Tensor:
        right = super().keep(new, time, state)
        wrong = self.is_wrong(*self.cell) and self.is_skipped(self.step, self.steps)
        return state if wrong else right


SKIPS: tuple[tuple[str, Callable[[int, int], bool]], ...] = (
    ("the last step leaves the state unchanged", lambda step, steps: step == steps - 1),
    ("the first step leaves the state unchanged", lambda step, steps: step == 0),
)


def _list_first_step_biases() -> list[Hypothesis]:
    def has_bias(case: Case) -> bool:
        return case.config.bias and is_long(case)

    def is_absent(case: Case) -> bool:
        return case.config.bias and case.initial_state is InitialState.ABSENT

    entries = (
        ("the first step adds no bias", 0, True, has_bias),
        ("the first step does not add b_hh", 1, True, has_bias),
        ("only the first step adds biases", 0, False, has_bias),
        ("only the first step adds b_hh", 1, False, has_bias),
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


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_first_step_biases(),
    *(
        hypothesis
        for text, is_skipped in SKIPS
        for hypothesis in list_by_place(
            text,
            "compute the new state at every step",
            ("recurrence.output",),
            SkippedStep,
            is_long,
            PLACES,
            is_ragged,
            is_skipped=is_skipped,
        )
    ),
)

"""Mistakes that round: a few values may be rounded to the other neighbour, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import pytest
from torch import Tensor

from rnnspec.cases.case import Case
from rnnspec.contract.config import Config
from rnnspec.diagnosis.mistakes import precision
from rnnspec.diagnosis.mistakes.catalogue import HYPOTHESES
from rnnspec.diagnosis.mistakes.evidence import ROUNDINGS, Agreement, Evidence
from rnnspec.diagnosis.mistakes.hypothesis import Hypothesis
from rnnspec.diagnosis.mistakes.outcome import Outcome, is_nearly
from rnnspec.diagnosis.mistakes.reference import Reference
from rnnspec.observe.observation import Observation
from tests.diagnosis.planted_mistakes import Planted, Returned

BY_TEXT = {each.text: each for each in HYPOTHESES}
BETWEEN_STEPS = BY_TEXT["the error is that of bfloat16: the state is rounded to it between steps"]
CASE = Case(config=Config(3, 8), steps=4, batch=5, seed=1)
ULP = 2.0**-8


@dataclass
class Larger(Reference):
    """The output and h_n are multiplied by a factor."""

    factor: float = 1.0

    def finish(self, below: Sequence[Tensor]) -> Tensor:
        return super().finish(below) * self.factor

    def stack_states(self, states: list[Tensor], output: Tensor) -> Tensor:
        return super().stack_states(states, output) * self.factor


class Flipped(Planted):
    """The layer makes a mistake, and some values of h_n lie one rounding further away."""

    flipped = 0

    @property
    def call(self) -> Returned:
        right = super().call
        states = right.raw_states["h_n"].clone()
        states.view(-1)[: self.flipped] *= 1 + ULP
        return Returned(right.raw_output, {"h_n": states})


def judge(hypothesis: Hypothesis, flipped: int) -> Agreement:
    observation = Flipped(CASE, hypothesis.build)
    observation.flipped = flipped
    return Evidence(cast(Observation, observation)).judge(hypothesis)


def test_a_few_values_rounded_otherwise_contradict_no_rounding() -> None:
    assert judge(BETWEEN_STEPS, 0) is Agreement.EVIDENCE
    assert judge(BETWEEN_STEPS, 2) is Agreement.NEUTRAL
    assert judge(BETWEEN_STEPS, 20) is Agreement.CONTRADICTION


def test_a_few_other_values_contradict_a_mistake_that_rounds_nothing() -> None:
    assert judge(BY_TEXT["b_hh is not added"], 1) is Agreement.CONTRADICTION


def test_all_mistakes_that_round_say_so() -> None:
    assert {each.text for each in HYPOTHESES if each.rounds} == {
        each.text for each in precision.HYPOTHESES
    }


@pytest.mark.parametrize(("differing", "expected"), [(0, True), (10, True), (11, False)])
def test_a_tenth_of_the_changed_values_may_differ(differing: int, expected: bool) -> None:
    required, predicted = np.zeros(200), np.zeros(200)
    predicted[:100] = 1.0
    observed = predicted.copy()
    observed[:differing] = 2.0
    seen, foretold, right = (Outcome({"output": each}) for each in (observed, predicted, required))
    assert is_nearly(seen, foretold, right, lambda *_: 0.5) is expected


@pytest.mark.parametrize(
    ("factor", "error", "expected"),
    [
        (100.0, 0.5, Agreement.EVIDENCE),
        (100.0, 5.0, Agreement.NEUTRAL),
        (100.0, 50.0, Agreement.CONTRADICTION),
        (2.0, 5.0, Agreement.CONTRADICTION),
    ],
)
def test_a_mistake_that_makes_numbers_larger_makes_rounding_larger(
    factor: float, error: float, expected: Agreement
) -> None:
    evidence = Evidence(cast(Observation, Planted(CASE, BETWEEN_STEPS.build)))
    predicted = {name: factor * each for name, each in evidence.required.results.items()}
    largest = {name: np.abs(each).max() for name, each in predicted.items()}
    allowed = {
        name: max(evidence.tolerances[name], ROUNDINGS * CASE.dtype.roundoff * each)
        for name, each in largest.items()
    }
    observed = {name: each + error * allowed[name] for name, each in predicted.items()}
    evidence.observed = Outcome(observed)
    hypothesis = replace(BETWEEN_STEPS, build=lambda given: Larger(given, factor), rounds=False)
    assert evidence.judge(hypothesis) is expected


def test_outcomes_of_other_forms_are_not_nearly_the_same() -> None:
    short, long = Outcome({"output": np.zeros(2)}), Outcome({"output": np.zeros(3)})
    assert not is_nearly(short, long, short, lambda *_: 0.5)
    assert not is_nearly(short, short, long, lambda *_: 0.5)

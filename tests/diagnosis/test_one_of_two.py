"""Test mistakes in h_n alone, in c_n alone, and in the weight of a projection."""

from __future__ import annotations

import pytest

from rnnspec.mistakes import final_states, projection_gradients
from rnnspec.mistakes.hypothesis import Hypothesis
from tests.diagnosis.planted_mistakes import diagnose, list_cases

CASES = list_cases("lstm")[:20]


LEAST = 0.8
"""The share of the mistakes for which a few cases must suffice to exclude all others."""


def check_cause(mistakes: list[Hypothesis], *, gradients: bool = False) -> None:
    """Check that no wrong mistake is reported, and the planted mistake nearly always is."""
    reported = 0
    shown = [each for each in mistakes if any(map(each.concerns, CASES))]
    for each in shown:
        cause = diagnose(each, gradients, CASES)
        assert cause is None or cause.key == each.key
        reported += cause is not None
    assert reported > LEAST * len(shown) > 0


@pytest.mark.slow
@pytest.mark.parametrize("step", [19, pytest.param(1, marks=pytest.mark.slow)])
def test_a_mistake_in_one_final_state_is_reported_for_that_state(step: int) -> None:
    found = list(final_states.HYPOTHESES)
    check_cause([each for each in found if "-alone." in each.key][::step])


@pytest.mark.slow
@pytest.mark.parametrize("step", [19, pytest.param(1, marks=pytest.mark.slow)])
def test_a_wrong_gradient_of_the_projection_is_reported(step: int) -> None:
    """Few of these gradients are so large that a limit of 5 or 10 would change them."""
    limits = ("clipped=5", "clipped=10")
    found = [
        each
        for each in projection_gradients.HYPOTHESES
        if not any(limit in each.key for limit in limits)
    ]
    assert found[-1].key.startswith("gradient.W_hr.cut")
    check_cause(found[::-step], gradients=True)

"""Test that a mistake in the rows of one gate is reported with the gate and the weight."""

from __future__ import annotations

import pytest

from rnnspec.contract.kinds import KINDS
from rnnspec.mistakes.gate_row_gradients import HYPOTHESES as OF_GRADIENTS
from rnnspec.mistakes.gate_rows import HYPOTHESES
from rnnspec.mistakes.places import PLACES
from tests.diagnosis.planted_mistakes import check_each_is_reported, list_cases


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_each_mistake_is_reported(name: str) -> None:
    kind = KINDS[name]
    cases = list_cases(name)[:12]
    mistakes = [each for each in HYPOTHESES[:: len(PLACES)] if each.of(kind)]
    check_each_is_reported(mistakes, cases)
    assert len(mistakes) == 4 * len(kind.gates)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "step"), [("gru", 7), ("lstm", 17)])
def test_each_mistake_in_the_rows_of_gradients_is_reported(name: str, step: int) -> None:
    kind = KINDS[name]
    cases = list_cases(name)[:12]
    mistakes = [each for each in OF_GRADIENTS if each.of(kind)][::step]
    check_each_is_reported(mistakes, cases, gradients=True)
    assert len(mistakes) > 5

"""Test that a gradient scaled on its way through one result is reported with that result."""

from __future__ import annotations

import pytest

from rnnspec.contract.kinds import KINDS
from rnnspec.mistakes.gradient_values import FACTORS, OF_SCALES
from tests.diagnosis.planted_mistakes import diagnose, list_cases

MISTAKES = [each for each in OF_SCALES if "@" not in each.key]


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name", ["rnn", "lstm"])
def test_each_mistake_is_reported(name: str) -> None:
    mistakes = [each for each in MISTAKES if each.of(KINDS[name])]
    cases = list_cases(name)[:12]
    causes = [diagnose(each, gradients=True, cases=cases) for each in mistakes]
    assert [each and each.key for each in causes] == [each.key for each in mistakes]
    assert len(mistakes) == 2 * len(FACTORS)

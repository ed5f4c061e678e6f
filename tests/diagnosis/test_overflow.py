"""Test that exponentials that overflow are reported with the function computed from them."""

from __future__ import annotations

import pytest

from rnnspec.cases.axes import Distribution, DType
from rnnspec.contract.kinds import KINDS
from rnnspec.mistakes.overflow import HYPOTHESES
from tests.diagnosis.planted_mistakes import check_each_is_reported, list_cases


@pytest.mark.mostly_slow
@pytest.mark.parametrize(("name", "step"), [("rnn", 1), ("gru", 1), ("lstm", 3)])
def test_each_mistake_is_reported(name: str, step: int) -> None:
    """Sums are so large in most cases that the exponential of float32 overflows."""
    kinds = (Distribution.LARGE, Distribution.TERNARY, Distribution.SPREAD)
    cases = [
        case.replace(dtype=DType.FLOAT32, distribution=kinds[case.seed % 3])
        for case in list_cases(name)[:9]
    ]
    mistakes = [each for each in HYPOTHESES if each.of(KINDS[name])]
    mistakes = [each for each in mistakes if any(map(each.concerns, cases))][::step]
    check_each_is_reported(mistakes, cases)
    assert len(mistakes) > 2

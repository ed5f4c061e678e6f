"""Test that truncated gradients are reported with their place and the way steps are counted."""

from __future__ import annotations

import pytest

from rnnspec.contract.kinds import KINDS
from rnnspec.mistakes.truncations import HYPOTHESES
from tests.diagnosis.planted_mistakes import check_each_is_reported, list_cases


@pytest.mark.mostly_slow
@pytest.mark.parametrize("kind", ["rnn", "lstm"])
def test_truncations_are_reported_with_the_way_steps_are_counted(kind: str) -> None:
    cases = [case for case in list_cases(kind) if case.steps > 2][:10]
    planted = [each for each in HYPOTHESES if each.of(KINDS[kind]) and each.key.endswith("=2")]
    assert len(planted) == (13 if kind == "lstm" else 5)
    check_each_is_reported(planted, cases, gradients=True)

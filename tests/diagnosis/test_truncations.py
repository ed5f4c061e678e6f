"""Gradients that stop after some steps are told with what stops, and how the steps are counted."""

from __future__ import annotations

import pytest

from rnnspec.contract.kinds import KINDS
from rnnspec.mistakes.truncations import HYPOTHESES
from tests.diagnosis.planted_mistakes import check_each_is_told, list_cases


@pytest.mark.mostly_slow
@pytest.mark.parametrize("kind", ["rnn", "lstm"])
def test_what_stops_and_how_its_steps_are_counted_is_told(kind: str) -> None:
    cases = [case for case in list_cases(kind) if case.steps > 2][:10]
    planted = [each for each in HYPOTHESES if each.of(KINDS[kind]) and each.key.endswith("=2")]
    assert len(planted) == (13 if kind == "lstm" else 5)
    check_each_is_told(planted, cases, gradients=True)

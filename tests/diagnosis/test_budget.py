"""A search for likely causes ends when its budget is spent, and the report has the rest."""

from __future__ import annotations

import pytest

import rnnspec
from rnnspec.diagnosis import faults, suite
from rnnspec.diagnosis.suite import Budget
from rnnspec.selftest import BUGS


def test_work_is_taken_from_a_budget_as_far_as_it_goes() -> None:
    allowed = Budget(10.0)
    assert allowed.take(7)
    assert not allowed.take(4)
    assert (allowed.left, allowed.is_spent) == (3.0, True)
    assert allowed.take(3)
    assert Budget.for_cases(0).left < Budget.for_cases(1000).left


@pytest.mark.parametrize(("least", "is_spent"), [(1, True), (suite.LEAST_WORK, False)])
def test_a_spent_budget_is_reported_and_leaves_the_situation_and_the_example(
    least: int, is_spent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suite, "LEAST_WORK", least)
    monkeypatch.setattr(suite, "WORK_OF_A_CASE", 0)
    report = rnnspec.check(BUGS["StateIgnored"], cases=25, rules=("states.initial-state-used",))
    assert (faults.SPENT in report.notes) is is_spent
    (fault,) = report.faults
    assert (fault.likely_cause == "") is is_spent
    assert fault.situation == "initial_state=given"
    assert report.result(fault.rule).counterexample is not None

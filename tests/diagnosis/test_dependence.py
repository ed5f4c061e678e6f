"""Test the description of the choices on which a failure depends."""

from __future__ import annotations

from typing import Any

from torch import nn

from rnnspec.api import prepare_suite
from rnnspec.api.model import prepare_model_suite
from rnnspec.cases.axes import InitialState, Layout
from rnnspec.cases.case import Case
from rnnspec.diagnosis.dependence import (
    describe_dependence,
    describe_situation,
    leave_out_contradicted,
)
from rnnspec.engine.explanations import ANY_CASE, ANY_MODEL_CASE, INTERRUPTED
from rnnspec.engine.minimise import MinimalFailure
from rnnspec.engine.outcome import Finding
from rnnspec.models.case import ModelCase
from rnnspec.options import CheckOptions, ModelOptions
from rnnspec.selftest.model_plain import LastStep
from rnnspec.suites.layer import LayerSuite


def prepare(*rules: str, **options: Any) -> LayerSuite:
    return prepare_suite(nn.RNN, CheckOptions(profile="quick", cases=3, rules=rules, **options))


def draw_first_case(suite: LayerSuite) -> Case:
    (_, case), *_ = suite.draw_cases(0, 1)
    return case


def test_the_description_names_the_choices_a_failure_depends_on() -> None:
    suite = prepare("recurrence.output")
    case = draw_first_case(suite).replace(bidirectional=True, steps=3)
    finding = Finding(0, case, "wrong")
    nothing = MinimalFailure(finding)
    assert describe_dependence(suite, nothing) == ANY_CASE
    assert describe_situation(suite, nothing) == ""
    passed = {"bidirectional": False, "steps": 2, "layout": Layout.BATCHED}
    needing = MinimalFailure(finding, passed, required=("mode",))
    needed, _, free = str(describe_dependence(suite, needing)).partition("; ")
    situation = f"steps >= 3 and bidirectional=True and layout={case.layout} and mode={case.mode}"
    assert needed == f"only with {situation}"
    assert describe_situation(suite, needing) == situation
    assert free == "dtype, memory_layout and prior_use do not matter"
    interrupted = MinimalFailure(finding, passed, interrupted=True)
    assert describe_dependence(suite, interrupted) == INTERRUPTED


def test_a_pinned_dtype_is_not_mentioned() -> None:
    suite = prepare("recurrence.output", dtype="float32")
    minimum = MinimalFailure(Finding(0, draw_first_case(suite), "wrong"), {"steps": 1})
    assert "dtype" not in str(describe_dependence(suite, minimum))


def test_a_fault_of_a_model_that_needs_nothing_has_a_short_situation() -> None:
    suite, _ = prepare_model_suite(LastStep, ModelOptions(profile="quick"))
    minimum = MinimalFailure(Finding(0, ModelCase(), "wrong"))
    assert describe_dependence(suite, minimum) == ANY_MODEL_CASE
    needing = MinimalFailure(Finding(0, ModelCase(), "wrong"), {"steps": 4})
    assert str(describe_dependence(suite, needing)) == "only with steps >= 5"


def test_a_condition_that_a_failing_case_contradicts_is_not_reported() -> None:
    suite = prepare("recurrence.output")
    case = draw_first_case(suite).replace(steps=2, initial_state=InitialState.ABSENT)
    minimum = MinimalFailure(Finding(0, case, "wrong"), {"steps": 1}, ("initial_state",))
    given = case.replace(steps=3, initial_state=InitialState.GIVEN)
    assert leave_out_contradicted(suite, minimum, (), [case, given]) == minimum
    reported = leave_out_contradicted(suite, minimum, (), [case, given, given])
    assert reported.needed == {"steps"}
    short = given.replace(steps=1)
    assert leave_out_contradicted(suite, minimum, (), [short, short]).needed == frozenset()
    other = MinimalFailure(Finding(0, given, "wrong"), {"initial_state": InitialState.ABSENT})
    assert leave_out_contradicted(suite, minimum, [other], [given, given]) == minimum

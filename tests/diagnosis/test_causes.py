"""A fault is reported once: rules that only see its consequences name it as their cause."""

from __future__ import annotations

from typing import Any

from torch import nn

import rnnspec
from rnnspec.api import prepare_suite
from rnnspec.cases.axes import Layout
from rnnspec.cases.case import Case
from rnnspec.diagnosis.causes import find_causes
from rnnspec.diagnosis.dependence import describe_dependence
from rnnspec.engine.minimise import MinimalFailure
from rnnspec.engine.outcome import Finding, FindingKind
from rnnspec.options import CheckOptions
from rnnspec.report.data import Report, Verdict
from rnnspec.rulekit.violation import Difference
from rnnspec.selftest import BUGS
from rnnspec.suites.layer import LayerSuite

RULES = (
    "directions.*",
    "stacking.composition",
    "states.*",
    "recurrence.output",
    "recurrence.h-n",
    "shapes.returns-pair",
    "shapes.output",
)


def check_layer(target: Any) -> Report:
    return rnnspec.check(target, profile="quick", cases=80, rules=RULES)


def list_causes(report: Report) -> list[str]:
    return [
        result.rule
        for result in report.results
        if result.verdict is Verdict.FAIL and result.caused_by is None
    ]


def prepare(*rules: str, **options: Any) -> LayerSuite:
    return prepare_suite(nn.RNN, CheckOptions(profile="quick", cases=3, rules=rules, **options))


def draw_first_case(suite: LayerSuite) -> Case:
    (_, case), *_ = suite.draw_cases(0, 1)
    return case


def test_a_fault_that_breaks_several_rules_is_reported_once() -> None:
    report = check_layer(BUGS["StatesByDirection"])
    assert list_causes(report) == ["directions.h-n-order"]
    assert len(report.violations) > 1


def test_two_faults_are_reported_as_two() -> None:
    class Twice(nn.RNN):
        """The directions of h_n are exchanged, and an initial state is ignored."""

        def forward(self, input: Any, hx: Any = None) -> Any:
            output, h_n = super().forward(input)
            return output, h_n.flip(0) if self.bidirectional and self.num_layers == 1 else h_n

    causes = list_causes(check_layer(Twice))
    assert {rule.split(".")[0] for rule in causes} == {"directions", "states"}


def test_a_missing_result_is_the_cause_of_everything() -> None:
    class Short(nn.RNN):
        def forward(self, *given: Any) -> Any:
            return super().forward(*given)[0]

    assert list_causes(check_layer(Short)) == ["shapes.returns-pair"]


def make_failures(**findings: Finding[Case]) -> dict[str, MinimalFailure[Case]]:
    return {
        name.replace("__", ".").replace("_", "-"): MinimalFailure(finding)
        for name, finding in findings.items()
    }


def test_an_error_of_the_checker_is_neither_cause_nor_consequence() -> None:
    suite = prepare("recurrence.output", "recurrence.h-n")
    case = draw_first_case(suite)
    error = Finding(0, case, "the check raised", kind=FindingKind.CHECKER_ERROR)
    wrong = Finding(0, case, "wrong", Difference("h_n", (0,), 0.0, 1.0, 9.0, 1, 1))
    assert find_causes(suite, make_failures(recurrence__output=error, recurrence__h_n=wrong)) == {}
    assert find_causes(suite, make_failures(recurrence__output=wrong, recurrence__h_n=error)) == {}
    assert find_causes(suite, {}) == {}


def test_the_description_names_what_a_failure_depends_on() -> None:
    suite = prepare("recurrence.output")
    case = draw_first_case(suite).replace(bidirectional=True, steps=3)
    finding = Finding(0, case, "wrong")
    assert (
        describe_dependence(suite, MinimalFailure(finding))
        == "happens with every configuration, size and way of calling"
    )
    passed = {"bidirectional": False, "steps": 2, "layout": Layout.BATCHED}
    description = describe_dependence(suite, MinimalFailure(finding, passed))
    needed, _, free = description.partition("; any ")
    assert needed == "only with bidirectional=True and steps >= 3 and layout=batched"
    assert set(free.split(", ")) == {"dtype", "memory_layout", "prior_use"}
    assert (
        describe_dependence(suite, MinimalFailure(finding, interrupted=True))
        == "unknown: interrupted before the case was minimised"
    )


def test_a_pinned_dtype_is_not_mentioned() -> None:
    suite = prepare("recurrence.output", dtype="float32")
    minimum = MinimalFailure(Finding(0, draw_first_case(suite), "wrong"), {"steps": 1})
    assert "dtype" not in describe_dependence(suite, minimum)

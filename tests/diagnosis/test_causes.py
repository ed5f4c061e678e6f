"""A fault is told once: what only sees it too follows from it, and what has another fault does not."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

import rnnspec
from rnnspec.api import prepare_suite
from rnnspec.cases.axes import DType, Layout
from rnnspec.diagnosis.causes import find_causes
from rnnspec.diagnosis.dependence import describe_dependence
from rnnspec.engine.minimise import MinimalFailure
from rnnspec.engine.outcome import Finding
from rnnspec.report.data import Report
from rnnspec.rulekit.violation import Difference
from rnnspec.selftest import BUGS

RULES = [
    "directions.*",
    "stacking.composition",
    "states.*",
    "recurrence.output",
    "recurrence.h-n",
    "shapes.returns-pair",
    "shapes.output",
]


def checked(target: Any, rules: list[str] = RULES) -> Report:
    return rnnspec.check(target, profile="quick", cases=80, rules=rules)


def told_first(report: Report) -> list[str]:
    return [
        result.rule
        for result in report.results
        if result.verdict == "fail" and result.caused_by is None
    ]


def test_a_fault_that_several_rules_see_is_told_once() -> None:
    report = checked(BUGS["StatesByDirection"])
    assert told_first(report) == ["directions.h-n-order"]
    assert len(report.violations) > 1


def test_two_faults_are_told_as_two() -> None:
    class Twice(nn.RNN):
        """The directions of h_n are exchanged, and an initial state is ignored."""

        def forward(self, input: Any, hx: Any = None) -> Any:
            output, h_n = super().forward(input)
            return output, h_n.flip(0) if self.bidirectional and self.num_layers == 1 else h_n

    first = told_first(checked(Twice))
    assert {rule.split(".")[0] for rule in first} == {"directions", "states"}


def test_what_is_not_returned_at_all_is_the_cause_of_everything() -> None:
    class Short(nn.RNN):
        def forward(self, *given: Any) -> Any:
            return super().forward(*given)[0]

    assert told_first(checked(Short)) == ["shapes.returns-pair"]


def minimal(**found: Finding) -> dict[str, MinimalFailure]:
    return {
        name.replace("__", ".").replace("_", "-"): MinimalFailure(finding)
        for name, finding in found.items()
    }


def test_nothing_follows_from_a_crash_and_a_crash_follows_from_nothing() -> None:
    campaign = prepare_suite(
        torch.nn.RNN, profile="quick", cases=3, rules=["recurrence.output", "recurrence.h-n"]
    )
    (_, case), *_ = campaign.cases(0, 1)
    crash = Finding(0, case, "crashed", crashed=True)
    wrong = Finding(0, case, "wrong", Difference("h_n", (0,), 0.0, 1.0, 9.0, 1, 1))
    assert find_causes(campaign, minimal(recurrence__output=crash, recurrence__h_n=wrong)) == {}
    assert find_causes(campaign, minimal(recurrence__output=wrong, recurrence__h_n=crash)) == {}
    assert find_causes(campaign, {}) == {}


def test_what_a_failure_depends_on_in_words() -> None:
    campaign = prepare_suite(torch.nn.RNN, profile="quick", cases=3, rules=["recurrence.output"])
    (_, case), *_ = campaign.cases(0, 1)
    case = case.replace(bidirectional=True, steps=3)
    finding = Finding(0, case, "wrong")
    assert (
        describe_dependence(campaign, MinimalFailure(finding))
        == "nothing: any configuration, size and way of calling"
    )
    told = describe_dependence(
        campaign, MinimalFailure(finding, {"bidirectional": False, "steps": 2, "layout": Layout.BATCHED})
    )
    assert told.startswith("bidirectional=True and steps >= 3 and layout=batched; any ")
    assert set(told.partition("; any ")[2].split(", ")) == {"dtype", "memory", "history"}
    assert (
        describe_dependence(campaign, MinimalFailure(finding, interrupted=True))
        == "unknown: interrupted before the case was made small"
    )


def test_a_pinned_dtype_is_not_said_to_be_any() -> None:
    campaign = prepare_suite(
        torch.nn.RNN, profile="quick", cases=3, rules=["recurrence.output"], dtype=DType.FLOAT32
    )
    (_, case), *_ = campaign.cases(0, 1)
    assert "dtype" not in describe_dependence(
        campaign, MinimalFailure(Finding(0, case, "wrong"), {"steps": 1})
    )

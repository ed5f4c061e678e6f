"""Minimal cases: a failing case is made as simple as possible, and what remains is what matters."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import rnnspec
from rnnspec.api import prepare_suite
from rnnspec.cases.axes import DType, InitialState, Layout
from rnnspec.cases.case import Case
from rnnspec.contract.clauses import Level
from rnnspec.contract.config import Config
from rnnspec.diagnosis.dependence import describe_dependence
from rnnspec.engine.campaign import run_campaign
from rnnspec.engine.minimise import MAX_EVALUATIONS, MinimalFailure, minimise
from rnnspec.engine.outcome import Finding, FindingKind
from rnnspec.options import CheckOptions
from rnnspec.rulekit.violation import Violation
from rnnspec.selftest import BUGS, find_named_rule
from rnnspec.suites.layer import LayerSuite
from tests.engine.subjects import WrongIfWideAndDeep
from tests.releases import skip_unless_bug_counts

ONE = Case(config=Config(1, 1))
BOTH = ONE.replace(bidirectional=True)
SIMPLEST = {
    "StatesByDirection": BOTH.replace(num_layers=2),
    "BackwardHalfFirst": BOTH,
    "OneSetOfWeights": BOTH,
    "BackwardCountsFeatures": BOTH.replace(steps=2),
    "StatesExchanged": BOTH.replace(initial_state=InitialState.GIVEN),
    "StateWrittenInPlace": ONE.replace(initial_state=InitialState.GIVEN),
    "PackedDataRounded": ONE.replace(layout=Layout.PACKED, lengths=(1,)),
}


def make_suite(target: Any, rule_id: str, **options: Any) -> LayerSuite:
    return prepare_suite(target, CheckOptions(profile="quick", rules=(rule_id,), **options))


def minimise_first_failure(
    target: Any, rule_id: str, **options: Any
) -> tuple[LayerSuite, MinimalFailure[Case]]:
    suite = make_suite(target, rule_id, **options)
    first = run_campaign(suite, until=(Level.MUST, Level.SHOULD)).tallies[rule_id].first
    assert first is not None
    return suite, minimise(suite.rules[0], suite, first)


@pytest.mark.parametrize("bug", SIMPLEST)
def test_a_planted_bug_is_shown_by_the_simplest_case(bug: str) -> None:
    skip_unless_bug_counts(bug)
    _, minimum = minimise_first_failure(BUGS[bug], find_named_rule(bug))
    assert minimum.finding.case.replace(seed=0) == SIMPLEST[bug]
    assert minimum.evaluations < MAX_EVALUATIONS


def test_a_failure_depends_on_what_could_not_be_made_simpler() -> None:
    suite, minimum = minimise_first_failure(WrongIfWideAndDeep, "stacking.composition")
    assert minimum.finding.case.replace(seed=0) == ONE.replace(hidden_size=3, num_layers=2)
    assert set(minimum.passed) == {"hidden_size", "num_layers"}
    needed, _, free = describe_dependence(suite, minimum).partition("; any ")
    assert needed.startswith("only with ")
    needed = needed.removeprefix("only with ")
    assert set(needed.split(" and ")) == {"hidden_size >= 3", "num_layers >= 2"}
    assert set(free.split(", ")) == {"layout", "dtype", "memory_layout", "prior_use"}


def test_a_failure_with_every_configuration_depends_on_nothing() -> None:
    class Wrong(torch.nn.RNN):
        def forward(self, *given: Any) -> Any:
            output, h_n = super().forward(*given)
            return output, h_n + 1

    suite, minimum = minimise_first_failure(Wrong, "recurrence.h-n")
    assert minimum.finding.case.replace(seed=0) == ONE
    assert (
        describe_dependence(suite, minimum)
        == "happens with every configuration, size and way of calling"
    )


def test_the_minimal_case_has_the_values_that_the_user_pinned() -> None:
    _, minimum = minimise_first_failure(
        BUGS["StatesByDirection"],
        "directions.h-n-order",
        dtype="float32",
        arguments={"num_layers": 4, "bias": False},
    )
    assert minimum.finding.case.replace(seed=0) == BOTH.replace(
        num_layers=4, bias=False, dtype=DType.FLOAT32
    )


def test_the_minimal_case_uses_no_unsupported_feature() -> None:
    _, minimum = minimise_first_failure(
        BUGS["StatesByDirection"], "directions.h-n-order", without=("float64",)
    )
    assert minimum.finding.case.dtype is DType.FLOAT32


def test_a_finding_is_minimised_to_one_of_the_same_kind() -> None:
    """The layer raises an exception if it is wide, and is wrong if it is narrow."""

    class Mixed(torch.nn.RNN):
        def forward(self, *given: Any) -> Any:
            if self.hidden_size >= 2:
                raise ValueError("wide")
            output, h_n = super().forward(*given)
            return output, h_n + 1

    suite = make_suite(Mixed, "recurrence.h-n")
    wide, narrow = (ONE.replace(hidden_size=size, steps=3) for size in (6, 1))
    error = Finding(4, wide, "the call raised ValueError: wide", kind=FindingKind.SUBJECT_ERROR)
    raised = minimise(suite.rules[0], suite, error).finding
    wrong = minimise(suite.rules[0], suite, Finding(5, narrow, "wrong")).finding
    assert (raised.index, raised.case.config.hidden_size) == (4, 2)
    assert raised.kind is FindingKind.SUBJECT_ERROR
    assert (wrong.index, wrong.case.config.hidden_size) == (5, 1)
    assert wrong.kind is FindingKind.VIOLATION


def test_the_counterexample_of_a_report_can_be_run_again() -> None:
    report = rnnspec.check(BUGS["StatesExchanged"], profile="quick", rules=["directions.own-state"])
    example = report.result("directions.own-state").counterexample
    assert example is not None
    case = Case.from_dict(
        {"config": example.configuration, **example.sizes, **example.call, "seed": example.seed}
    )
    assert str(case) == example.text
    suite = make_suite(BUGS["StatesExchanged"], "directions.own-state")
    with pytest.raises(Violation, match="expected"):
        suite.rules[0].check(suite.observe(case))

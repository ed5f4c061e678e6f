"""The first failing case of a rule is made small, and what could not be made smaller is what the failure depends on."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import rnnspec
from rnnspec.api import prepare_suite
from rnnspec.cases.axes import DType, InitialState, Layout
from rnnspec.cases.case import Case
from rnnspec.contract.config import Config
from rnnspec.diagnosis.dependence import describe_dependence
from rnnspec.engine.campaign import run_campaign
from rnnspec.engine.minimise import MOST_TRIALS, MinimalFailure, minimise
from rnnspec.engine.outcome import Finding
from rnnspec.selftest import BUGS, find_named_rule
from rnnspec.suites.layer import LayerSuite
from tests.engine.subjects import OffWhereWide
from tests.releases import skip_unless_due

ONE = Case(config=Config(1, 1))
BOTH = ONE.replace(bidirectional=True)
SMALLEST = {
    "StatesByDirection": BOTH.replace(num_layers=2),
    "BackwardHalfFirst": BOTH,
    "OneSetOfWeights": BOTH,
    "BackwardCountsFeatures": BOTH.replace(steps=2),
    "StatesExchanged": BOTH.replace(initial_state=InitialState.GIVEN),
    "StateWrittenInPlace": ONE.replace(initial_state=InitialState.GIVEN),
    "PackedDataRounded": ONE.replace(layout=Layout.PACKED, lengths=(1,)),
}


def smallest(target: Any, rule_id: str, **options: Any) -> tuple[LayerSuite, MinimalFailure]:
    campaign = prepare_suite(target, profile="quick", rules=[rule_id], **options)
    first = run_campaign(campaign, until=("MUST", "SHOULD")).tallies[rule_id].first
    assert first is not None
    return campaign, minimise(campaign.rules[0], campaign, first)


@pytest.mark.parametrize("bug", SMALLEST)
def test_a_planted_bug_is_shown_by_the_smallest_case(bug: str) -> None:
    skip_unless_due(bug)
    _, minimum = smallest(BUGS[bug], find_named_rule(bug))
    assert minimum.finding.case.replace(seed=0) == SMALLEST[bug]
    assert minimum.trials < MOST_TRIALS


def test_a_failure_depends_on_what_could_not_be_made_simpler() -> None:
    campaign, minimum = smallest(OffWhereWide, "stacking.composition")
    assert minimum.finding.case.replace(seed=0) == ONE.replace(hidden_size=3, num_layers=2)
    assert set(minimum.passed) == {"hidden_size", "num_layers"}
    needed, _, free = describe_dependence(campaign, minimum).partition("; any ")
    assert set(needed.split(" and ")) == {"hidden_size >= 3", "num_layers >= 2"}
    assert set(free.split(", ")) == {"layout", "dtype", "memory", "history"}


def test_a_failure_that_depends_on_nothing_says_so() -> None:
    class Wrong(torch.nn.RNN):
        def forward(self, *given: Any) -> Any:
            output, h_n = super().forward(*given)
            return output, h_n + 1

    campaign, minimum = smallest(Wrong, "recurrence.h-n")
    assert minimum.finding.case.replace(seed=0) == ONE
    assert (
        describe_dependence(campaign, minimum)
        == "nothing: any configuration, size and way of calling"
    )


def test_the_smallest_case_stays_within_what_the_user_pinned() -> None:
    _, minimum = smallest(
        BUGS["StatesByDirection"],
        "directions.h-n-order",
        dtype=DType.FLOAT32,
        arguments={"num_layers": 4, "bias": False},
    )
    assert minimum.finding.case.replace(seed=0) == BOTH.replace(
        num_layers=4, bias=False, dtype=DType.FLOAT32
    )


def test_the_smallest_case_does_not_use_what_is_refused() -> None:
    _, minimum = smallest(BUGS["StatesByDirection"], "directions.h-n-order", without=["float64"])
    assert minimum.finding.case.dtype is DType.FLOAT32


def test_a_finding_is_reduced_to_one_of_its_kind() -> None:
    """A layer that raises where it is wide and is wrong where it is narrow: each is shown by itself."""

    class Mixed(torch.nn.RNN):
        def forward(self, *given: Any) -> Any:
            if self.hidden_size >= 2:
                raise ValueError("wide")
            output, h_n = super().forward(*given)
            return output, h_n + 1

    campaign = prepare_suite(Mixed, profile="quick", rules=["recurrence.h-n"])
    wide, narrow = (ONE.replace(hidden_size=size, steps=3) for size in (6, 1))
    raised = minimise(
        campaign.rules[0],
        campaign,
        Finding(4, wide, "the call raised ValueError: wide", blocked=True),
    ).finding
    wrong = minimise(campaign.rules[0], campaign, Finding(5, narrow, "wrong")).finding
    assert (raised.index, raised.case.config.hidden_size, raised.blocked) == (4, 2, True)
    assert (wrong.index, wrong.case.config.hidden_size, wrong.blocked) == (5, 1, False)


def test_the_counterexample_of_a_report_can_be_run_again() -> None:
    report = rnnspec.check(BUGS["StatesExchanged"], profile="quick", rules=["directions.own-state"])
    found = report.result("directions.own-state").counterexample
    assert found is not None
    case = Case.from_dict(
        {"config": found.configuration, **found.sizes, **found.call, "seed": found.seed}
    )
    assert str(case) == found.text
    campaign = prepare_suite(
        BUGS["StatesExchanged"], profile="quick", rules=["directions.own-state"]
    )
    with pytest.raises(Exception, match="expected"):
        campaign.rules[0].check(campaign.observe(case))

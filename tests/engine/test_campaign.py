"""A campaign is a pure function whose ranges merge; it survives its subject, and ends early only where it is told to."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
import pytest
import torch

import rnnspec
from rnnspec.api import prepare_suite
from rnnspec.engine.campaign import list_applicable_rules, run_campaign
from rnnspec.engine.outcome import Finding, Progress, Tally, UnsupportedCase, judge_case
from rnnspec.report.build import report_of
from rnnspec.report.data import Report
from rnnspec.selftest import BUGS
from rnnspec.suites.layer import LayerSuite
from tests.engine.subjects import Interrupting, Meddling, Unsteady

RULES = [
    "states.initial-state-used",
    "directions.h-n-order",
    "recurrence.output",
    "packed.h-n",
    "samples.independent",
]


def suite(target: Any = torch.nn.RNN, **options: Any) -> LayerSuite:
    return prepare_suite(target, **{"profile": "quick", "cases": 40, "rules": RULES, **options})


def without_seconds(report: Report) -> dict[str, Any]:
    return {**report.as_dict(), "seconds": 0}


@pytest.mark.parametrize(
    ("bug", "cuts"), [("StatesByDirection", [0, 13, 40]), ("OneStateForBoth", [0, 0, 1, 30, 40])]
)
def test_ranges_of_a_campaign_merge_to_the_whole_in_any_order(bug: str, cuts: list[int]) -> None:
    campaign = suite(
        BUGS[bug],
        rules=["states.initial-state-used", "directions.h-n-order", "directions.own-state"],
    )
    parts = [run_campaign(campaign, start, stop) for start, stop in itertools.pairwise(cuts)]
    whole = run_campaign(campaign)
    assert repr(reduce(Progress.merge, parts)) == repr(whole), "as text, in which NaN is NaN"
    assert repr(reduce(Progress.merge, parts[::-1])) == repr(whole)
    assert any(tally.violations for tally in whole.tallies.values())
    assert without_seconds(report_of(campaign, reduce(Progress.merge, parts))) == without_seconds(
        report_of(campaign, whole)
    )


def test_the_same_seed_gives_the_same_report_and_another_seed_another() -> None:
    options: dict[str, Any] = {
        "profile": "quick",
        "cases": 30,
        "rules": ["directions.*", "recurrence.output"],
    }
    reports = [
        without_seconds(rnnspec.check(BUGS["StatesByDirection"], seed=seed, **options))
        for seed in (3, 3, 4)
    ]
    assert reports[0] == reports[1]
    assert reports[0] != reports[2]


def test_what_is_told_of_a_rule_does_not_depend_on_the_others() -> None:
    alone = run_campaign(suite(BUGS["StatesByDirection"], rules=["directions.h-n-order"]))
    among = run_campaign(suite(BUGS["StatesByDirection"]))
    assert alone.tallies["directions.h-n-order"] == among.tallies["directions.h-n-order"]


def test_the_first_finding_is_the_one_with_the_smallest_index() -> None:
    campaign = suite(BUGS["StatesByDirection"])
    tally = run_campaign(campaign).tallies["directions.h-n-order"]
    assert tally.first is not None
    rule = next(rule for rule in campaign.rules if rule.id == "directions.h-n-order")
    failing = [
        index
        for index, case in campaign.cases(0, 40)
        if rule in list_applicable_rules(campaign, case)
        and isinstance(judge_case(rule, campaign.observe(case), index), Finding)
    ]
    assert tally.first.index == failing[0]
    assert tally.violations == len(failing)
    assert tally.first.case == dict(campaign.cases(0, 40))[failing[0]]


def test_a_tally_counts_and_keeps_the_earliest() -> None:
    campaign = suite()
    (_, case), *_ = campaign.cases(0, 1)
    late, early = Finding(9, case, "late"), Finding(2, case, "early")
    tally = Tally()
    for outcome in (None, late, UnsupportedCase("no"), early, None):
        tally.add(outcome)
    assert (tally.cases, tally.violations, dict(tally.refusals), tally.first) == (
        4,
        2,
        {"no": 1},
        early,
    )
    assert tally.merge(Tally()) == tally == Tally().merge(tally)


def test_an_interrupt_ends_the_run_with_the_report_so_far() -> None:
    def interrupt(done: int, total: int) -> None:
        assert total == 40
        if done == 7:
            raise KeyboardInterrupt

    campaign = suite()
    progress = run_campaign(campaign, watch=interrupt)
    report = report_of(campaign, progress)
    assert (
        progress.cases,
        progress.stopped,
        report.stopped,
        report.verdict,
        report.exit_status,
    ) == (7, True, True, "inconclusive", 3)
    assert progress == replace(run_campaign(campaign, 0, 7), stopped=True)


def test_an_interrupt_after_a_violation_ends_with_the_violation() -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 30:
            raise KeyboardInterrupt

    report = rnnspec.check(BUGS["StatesByDirection"], profile="quick", rules=RULES, watch=interrupt)
    assert (report.cases, report.stopped, report.verdict, report.exit_status) == (
        30,
        True,
        "violates",
        1,
    )


def test_a_second_interrupt_ends_the_search_for_small_cases_too() -> None:
    class Failing(Interrupting):
        def forward(self, *given: Any) -> Any:
            output, h_n = super().forward(*given)
            return output, h_n + 1

    Failing.calls, Failing.after = 0, 10**9
    campaign = suite(Failing, rules=["recurrence.h-n", "states.initial-state-used"], cases=12)
    progress = run_campaign(campaign)
    Failing.after = Failing.calls + 3
    report = report_of(campaign, progress)
    assert report.stopped
    assert report.verdict == "violates"
    broken = [result for result in report.results if result.verdict == "fail"]
    assert len(broken) == 2
    for result in broken:
        assert result.depends_on == "unknown: interrupted before the case was made small"
        assert (result.caused_by, result.repro) == (None, None)
        assert result.counterexample is not None


def test_the_run_ends_at_the_first_violation_of_a_scored_level_only() -> None:
    campaign = suite(BUGS["StatesByDirection"])
    whole = run_campaign(campaign)
    first = min(tally.first.index for tally in whole.tallies.values() if tally.first)
    stopped = run_campaign(campaign, until=("MUST",))
    assert (stopped.cases, stopped.stopped) == (first + 1, True)
    assert run_campaign(campaign, until=("SHOULD",)) == whole
    assert run_campaign(suite(), until=("MUST", "SHOULD")) == run_campaign(suite())


def test_a_subject_that_exits_in_every_call_is_judged_to_the_end() -> None:
    report = rnnspec.check(Unsteady, profile="quick", cases=12, rules=RULES)
    assert (report.cases, report.verdict) == (12, "violates")
    assert report.result("recurrence.output").message == "the call raised SystemExit: enough"


def test_a_check_that_raises_is_told_as_crashed_and_the_others_go_on() -> None:
    campaign = suite(rules=["states.initial-state-used", "recurrence.output"])

    def broken(seen: Any) -> None:
        raise ZeroDivisionError("by\n zero")

    rules = tuple(
        replace(rule, check=broken) if rule.id == "states.initial-state-used" else rule
        for rule in campaign.rules
    )
    campaign = replace(campaign, rules=rules)
    report = report_of(campaign, run_campaign(campaign))
    crashed = report.result("states.initial-state-used")
    assert (crashed.verdict, crashed.message) == (
        "crashed",
        "the check raised ZeroDivisionError: by zero",
    )
    assert report.result("recurrence.output").verdict == "pass"
    assert (report.verdict, report.violations) == ("violates", (crashed,))


def test_what_a_subject_does_to_settings_and_generators_is_undone() -> None:
    state: dict[str, Callable[[], Any]] = {
        "default dtype": torch.get_default_dtype,
        "grad mode": torch.is_grad_enabled,
        "numpy errors": np.geterr,
        "torch": lambda: torch.get_rng_state().tolist(),
        "python": random.getstate,
        "numpy": lambda: np.random.get_state(legacy=False)["state"]["key"].tolist(),
    }
    before = {name: read() for name, read in state.items()}
    report = rnnspec.check(
        Meddling,
        profile="quick",
        cases=60,
        rules=["recurrence.output", "recurrence.h-n", "gradients.*"],
    )
    assert [result.rule for result in report.results if result.verdict in ("fail", "crashed")] == []
    assert {name: read() for name, read in state.items()} == before


def test_a_range_beyond_the_end_is_empty() -> None:
    assert run_campaign(suite(), 40, 60).cases == 0
    assert run_campaign(suite(), 35, 60).cases == 5


@pytest.mark.parametrize(("asked", "least"), [(1, 1), (40, 40), (600, 560)])
def test_the_number_of_cases_can_be_less_or_more_than_the_profile_draws(
    asked: int, least: int
) -> None:
    campaign = suite(cases=asked)
    assert campaign.size == asked
    assert least <= len(list(campaign.cases(0, asked))) <= asked

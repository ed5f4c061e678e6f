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
from rnnspec.api import prepare
from rnnspec.checks.layer import LayerChecks
from rnnspec.engine.campaign import applicable, run
from rnnspec.engine.outcome import Finding, Progress, Refusal, Tally, judge
from rnnspec.report.build import report_of
from rnnspec.report.model import Report
from rnnspec.selftest import BUGS
from tests.engine.subjects import Interrupting, Meddling, Unsteady

RULES = ["states.given", "directions.h-n-order", "recurrence.output", "packed.h-n", "samples.independent"]


def checks(target: Any = torch.nn.RNN, **options: Any) -> LayerChecks:
    return prepare(target, **{"profile": "quick", "cases": 40, "rules": RULES, **options})


def without_seconds(report: Report) -> dict[str, Any]:
    return {**report.as_dict(), "seconds": 0}


@pytest.mark.parametrize(("bug", "cuts"), [("StatesByDirection", [0, 13, 40]), ("OneStateForBoth", [0, 0, 1, 30, 40])])
def test_ranges_of_a_campaign_merge_to_the_whole_in_any_order(bug: str, cuts: list[int]) -> None:
    campaign = checks(BUGS[bug], rules=["states.given", "directions.h-n-order", "directions.own-state"])
    parts = [run(campaign, start, stop) for start, stop in itertools.pairwise(cuts)]
    whole = run(campaign)
    assert repr(reduce(Progress.merged, parts)) == repr(whole), "as text, in which NaN is NaN"
    assert repr(reduce(Progress.merged, parts[::-1])) == repr(whole)
    assert any(tally.violations for tally in whole.tallies.values())
    assert without_seconds(report_of(campaign, reduce(Progress.merged, parts))) == without_seconds(report_of(campaign, whole))


def test_the_same_seed_gives_the_same_report_and_another_seed_another() -> None:
    options: dict[str, Any] = {"profile": "quick", "cases": 30, "rules": ["directions.*", "recurrence.output"]}
    reports = [without_seconds(rnnspec.check(BUGS["StatesByDirection"], seed=seed, **options)) for seed in (3, 3, 4)]
    assert reports[0] == reports[1]
    assert reports[0] != reports[2]


def test_what_is_told_of_a_rule_does_not_depend_on_the_others() -> None:
    alone = run(checks(BUGS["StatesByDirection"], rules=["directions.h-n-order"]))
    among = run(checks(BUGS["StatesByDirection"]))
    assert alone.tallies["directions.h-n-order"] == among.tallies["directions.h-n-order"]


def test_the_first_finding_is_the_one_with_the_smallest_index() -> None:
    campaign = checks(BUGS["StatesByDirection"])
    tally = run(campaign).tallies["directions.h-n-order"]
    assert tally.first is not None
    rule = next(rule for rule in campaign.rules if rule.id == "directions.h-n-order")
    failing = [
        index
        for index, case in campaign.cases(0, 40)
        if rule in applicable(campaign, case) and isinstance(judge(rule, campaign.observe(case), index), Finding)
    ]
    assert tally.first.index == failing[0]
    assert tally.violations == len(failing)
    assert tally.first.case == dict(campaign.cases(0, 40))[failing[0]]


def test_a_tally_counts_and_keeps_the_earliest() -> None:
    campaign = checks()
    (_, case), *_ = campaign.cases(0, 1)
    late, early = Finding(9, case, "late"), Finding(2, case, "early")
    tally = Tally()
    for outcome in (None, late, Refusal("no"), early, None):
        tally.add(outcome)
    assert (tally.examples, tally.violations, dict(tally.refusals), tally.first) == (4, 2, {"no": 1}, early)
    assert tally.merged(Tally()) == tally == Tally().merged(tally)


def test_an_interrupt_ends_the_run_with_the_report_so_far() -> None:
    def interrupt(done: int, total: int) -> None:
        assert total == 40
        if done == 7:
            raise KeyboardInterrupt

    campaign = checks()
    progress = run(campaign, watch=interrupt)
    report = report_of(campaign, progress)
    assert (progress.cases, progress.stopped, report.stopped, report.verdict, report.exit_status) == (7, True, True, "inconclusive", 3)
    assert progress == replace(run(campaign, 0, 7), stopped=True)


def test_an_interrupt_after_a_violation_ends_with_the_violation() -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 30:
            raise KeyboardInterrupt

    report = rnnspec.check(BUGS["StatesByDirection"], profile="quick", rules=RULES, watch=interrupt)
    assert (report.cases, report.stopped, report.verdict, report.exit_status) == (30, True, "violates", 1)


def test_a_second_interrupt_ends_the_search_for_small_cases_too() -> None:
    class Failing(Interrupting):
        def forward(self, *given: Any) -> Any:
            output, h_n = super().forward(*given)
            return output, h_n + 1

    Failing.calls, Failing.after = 0, 10**9
    campaign = checks(Failing, rules=["recurrence.h-n", "states.given"], cases=12)
    progress = run(campaign)
    Failing.after = Failing.calls + 3
    report = report_of(campaign, progress)
    assert report.stopped
    assert report.verdict == "violates"
    broken = [result for result in report.results if result.verdict == "fail"]
    assert len(broken) == 2
    for result in broken:
        assert result.depends_on == "unknown: interrupted before the case was made small"
        assert (result.follows, result.repro) == (None, None)
        assert result.counterexample is not None


def test_the_run_ends_at_the_first_violation_of_a_scored_level_only() -> None:
    campaign = checks(BUGS["StatesByDirection"])
    whole = run(campaign)
    first = min(tally.first.index for tally in whole.tallies.values() if tally.first)
    stopped = run(campaign, until=("MUST",))
    assert (stopped.cases, stopped.stopped) == (first + 1, True)
    assert run(campaign, until=("SHOULD",)) == whole
    assert run(checks(), until=("MUST", "SHOULD")) == run(checks())


def test_a_subject_that_exits_in_every_call_is_judged_to_the_end() -> None:
    report = rnnspec.check(Unsteady, profile="quick", cases=12, rules=RULES)
    assert (report.cases, report.verdict) == (12, "violates")
    assert report.result("recurrence.output").message == "the call raised SystemExit: enough"


def test_a_check_that_raises_is_told_as_crashed_and_the_others_go_on() -> None:
    campaign = checks(rules=["states.given", "recurrence.output"])

    def broken(seen: Any) -> None:
        raise ZeroDivisionError("by\n zero")

    rules = tuple(replace(rule, check=broken) if rule.id == "states.given" else rule for rule in campaign.rules)
    campaign = replace(campaign, rules=rules)
    report = report_of(campaign, run(campaign))
    crashed = report.result("states.given")
    assert (crashed.verdict, crashed.message) == ("crashed", "the check raised ZeroDivisionError: by zero")
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
    report = rnnspec.check(Meddling, profile="quick", cases=60, rules=["recurrence.output", "recurrence.h-n", "gradients.*"])
    assert [result.rule for result in report.results if result.verdict in ("fail", "crashed")] == []
    assert {name: read() for name, read in state.items()} == before


def test_a_range_beyond_the_end_is_empty() -> None:
    assert run(checks(), 40, 60).cases == 0
    assert run(checks(), 35, 60).cases == 5


@pytest.mark.parametrize(("asked", "least"), [(1, 1), (40, 40), (600, 560)])
def test_the_number_of_cases_can_be_less_or_more_than_the_profile_draws(asked: int, least: int) -> None:
    campaign = checks(cases=asked)
    assert campaign.size == asked
    assert least <= len(list(campaign.cases(0, asked))) <= asked

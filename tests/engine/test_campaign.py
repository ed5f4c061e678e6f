"""Campaigns: they are reproducible, ranges merge, and no subject can end them."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
import pytest
import torch

import rnnspec
from rnnspec.api import prepare_suite
from rnnspec.cases.case import Case
from rnnspec.contract.clauses import Level
from rnnspec.engine.campaign import list_applicable_rules, run_campaign
from rnnspec.engine.minimise import minimise_all
from rnnspec.engine.outcome import (
    Finding,
    FindingKind,
    Progress,
    Tally,
    UnsupportedCase,
    judge_case,
)
from rnnspec.engine.shares import run_share, run_shared, split_range
from rnnspec.options import CheckOptions
from rnnspec.pipeline import check_suite, decide_results, diagnose
from rnnspec.report.data import Report, RunVerdict, Verdict
from rnnspec.selftest import BUGS
from rnnspec.suites.layer import LayerSuite
from tests.engine.subjects import Exiting, Interrupting, Meddling

RULES = (
    "states.initial-state-used",
    "directions.h-n-order",
    "recurrence.output",
    "packed.h-n",
    "samples.independent",
)


def make_suite(target: Any = torch.nn.RNN, **options: Any) -> LayerSuite:
    given = {"profile": "quick", "cases": 40, "rules": RULES, **options}
    return prepare_suite(target, CheckOptions(**given))


def list_results(suite: LayerSuite, progress: Progress[Case]) -> list[dict[str, Any]]:
    """Return the results that a report on this progress has."""
    minimal = minimise_all(suite, progress)
    diagnosis = diagnose(suite, minimal)
    results = decide_results(suite, progress, minimal, diagnosis, strict=False)
    return [result.as_dict() for result in results]


def read_without_duration(report: Report) -> dict[str, Any]:
    return {**report.as_dict(), "duration_s": 0}


@pytest.mark.parametrize(
    ("bug", "cuts"), [("StatesByDirection", [0, 13, 40]), ("OneStateForBoth", [0, 0, 1, 30, 40])]
)
def test_ranges_of_a_campaign_merge_to_the_whole_in_any_order(bug: str, cuts: list[int]) -> None:
    suite = make_suite(
        BUGS[bug],
        rules=("states.initial-state-used", "directions.h-n-order", "directions.own-state"),
    )
    parts = [run_campaign(suite, start, stop) for start, stop in itertools.pairwise(cuts)]
    whole = run_campaign(suite)
    merged = reduce(Progress.merge, parts)
    # NaN equals NaN in the text.
    assert repr(merged) == repr(whole)
    assert repr(reduce(Progress.merge, parts[::-1])) == repr(whole)
    assert any(tally.violations for tally in whole.tallies.values())
    assert list_results(suite, merged) == list_results(suite, whole)


@dataclass
class OtherShares:
    """Judges the other shares of a campaign in this process."""

    suite: LayerSuite
    parts: int
    lost: Sequence[str] = ()
    was_stopped: bool | None = None

    def collect(self, stopped: bool) -> list[Progress[Any]]:
        self.was_stopped = stopped
        return [run_share(self.suite, number, self.parts) for number in range(1, self.parts)]


def test_shares_cover_every_case_once() -> None:
    for size, parts in ((40, 3), (2, 5), (0, 2)):
        ranges = [split_range(size, number, parts) for number in range(parts)]
        assert [index for range_ in ranges for index in range(*range_)] == list(range(size))
        assert max(b - a for a, b in ranges) - min(b - a for a, b in ranges) <= 1


def test_a_shared_campaign_gives_the_same_results_as_one_process() -> None:
    suite = make_suite(BUGS["StatesByDirection"])
    watched: list[tuple[int, int]] = []
    others = OtherShares(suite, 3)
    shared = run_shared(suite, others, watch=lambda done, total: watched.append((done, total)))
    assert repr(shared) == repr(run_campaign(suite))
    assert others.was_stopped is False
    assert watched == [(min(3 * done, 40), 40) for done in range(1, 14)]


def test_equal_seeds_give_equal_reports_and_other_seeds_give_others() -> None:
    options: dict[str, Any] = {
        "profile": "quick",
        "cases": 30,
        "rules": ["directions.*", "recurrence.output"],
    }
    reports = [
        read_without_duration(rnnspec.check(BUGS["StatesByDirection"], seed=seed, **options))
        for seed in (3, 3, 4)
    ]
    assert reports[0] == reports[1]
    assert reports[0] != reports[2]


def test_the_tally_of_a_rule_does_not_depend_on_the_other_rules() -> None:
    alone = run_campaign(make_suite(BUGS["StatesByDirection"], rules=("directions.h-n-order",)))
    together = run_campaign(make_suite(BUGS["StatesByDirection"]))
    assert alone.tallies["directions.h-n-order"] == together.tallies["directions.h-n-order"]


def test_the_first_finding_has_the_smallest_index() -> None:
    suite = make_suite(BUGS["StatesByDirection"])
    tally = run_campaign(suite).tallies["directions.h-n-order"]
    assert tally.first is not None
    rule = next(rule for rule in suite.rules if rule.id == "directions.h-n-order")
    failing = [
        index
        for index, case in suite.draw_cases(0, 40)
        if rule in list_applicable_rules(suite, case)
        and isinstance(judge_case(rule, suite.observe(case), index), Finding)
    ]
    assert tally.first.index == failing[0]
    assert tally.violations == len(failing)
    assert tally.first.case == dict(suite.draw_cases(0, 40))[failing[0]]


def test_a_tally_counts_outcomes_and_keeps_the_earliest_finding() -> None:
    (_, case), *_ = make_suite().draw_cases(0, 1)
    late, early = Finding(9, case, "late"), Finding(2, case, "early")
    tally: Tally[Case] = Tally()
    for outcome in (None, late, UnsupportedCase("no"), early, None):
        tally.add(outcome)
    assert tally == Tally(
        cases=4, violations=2, first=early, unsupported_reasons=Counter({"no": 1})
    )
    empty: Tally[Case] = Tally()
    assert tally.merge(empty) == tally == empty.merge(tally)


def test_an_interrupt_ends_the_run_with_the_report_so_far() -> None:
    def interrupt(done: int, total: int) -> None:
        assert total == 40
        if done == 7:
            raise KeyboardInterrupt

    suite = make_suite()
    progress = run_campaign(suite, watch=interrupt)
    report = check_suite(suite, watch=interrupt)
    assert (progress.cases, progress.stopped) == (7, True)
    assert (report.cases, report.stopped) == (7, True)
    assert (report.verdict, report.exit_status) == (RunVerdict.INCONCLUSIVE, 3)
    assert progress == replace(run_campaign(suite, 0, 7), stopped=True)


def test_an_interrupt_after_a_violation_ends_the_run_with_the_violation() -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 30:
            raise KeyboardInterrupt

    report = rnnspec.check(BUGS["StatesByDirection"], profile="quick", rules=RULES, watch=interrupt)
    assert (report.cases, report.stopped) == (30, True)
    assert (report.verdict, report.exit_status) == (RunVerdict.VIOLATES, 1)


def test_a_second_interrupt_ends_the_search_for_minimal_cases_too() -> None:
    class Failing(Interrupting):
        def forward(self, *given: Any) -> Any:
            output, h_n = super().forward(*given)
            return output, h_n + 1

    def interrupt_after_the_campaign(done: int, total: int) -> None:
        if done == total:
            Failing.after = Failing.calls + 3

    Failing.calls, Failing.after = 0, 10**9
    suite = make_suite(Failing, rules=("recurrence.h-n", "states.initial-state-used"), cases=12)
    report = check_suite(suite, watch=interrupt_after_the_campaign)
    assert report.stopped
    assert report.verdict is RunVerdict.VIOLATES
    broken = [result for result in report.results if result.verdict is Verdict.FAIL]
    assert len(broken) == 2
    for result in broken:
        assert result.depends_on == "unknown: interrupted before the case was minimised"
        assert (result.caused_by, result.repro) == (None, None)
        assert result.counterexample is not None


def test_a_campaign_stops_at_the_first_violation_of_a_given_level() -> None:
    suite = make_suite(BUGS["StatesByDirection"])
    whole = run_campaign(suite)
    first = min(tally.first.index for tally in whole.tallies.values() if tally.first)
    stopped = run_campaign(suite, until=(Level.MUST,))
    assert (stopped.cases, stopped.stopped) == (first + 1, True)
    assert run_campaign(suite, until=(Level.SHOULD,)) == whole
    until = (Level.MUST, Level.SHOULD)
    assert run_campaign(make_suite(), until=until) == run_campaign(make_suite())


def test_a_subject_that_exits_in_every_call_is_checked_to_the_end() -> None:
    report = rnnspec.check(Exiting, profile="quick", cases=12, rules=RULES)
    assert (report.cases, report.verdict) == (12, RunVerdict.VIOLATES)
    assert report.result("recurrence.output").message == "the call raised SystemExit: enough"


def test_an_exception_of_a_check_is_a_checker_error_and_the_other_rules_are_checked() -> None:
    suite = make_suite(rules=("states.initial-state-used", "recurrence.output"))

    def fail(observation: Any) -> None:
        raise ZeroDivisionError("by\n zero")

    rules = tuple(
        replace(rule, check=fail) if rule.id == "states.initial-state-used" else rule
        for rule in suite.rules
    )
    report = check_suite(replace(suite, rules=rules))
    failed = report.result("states.initial-state-used")
    assert failed.verdict is Verdict.CHECKER_ERROR
    assert failed.message == "the check raised ZeroDivisionError: by zero"
    assert report.result("recurrence.output").verdict is Verdict.PASS
    assert (report.verdict, report.violations) == (RunVerdict.VIOLATES, (failed,))


def test_findings_have_a_kind() -> None:
    def fail(observation: Any) -> None:
        raise ZeroDivisionError

    [rule] = make_suite(rules=("recurrence.output",)).rules
    for target, check, kind in (
        (BUGS["StateNeverAdvances"], rule.check, FindingKind.VIOLATION),
        (Exiting, rule.check, FindingKind.SUBJECT_ERROR),
        (torch.nn.RNN, fail, FindingKind.CHECKER_ERROR),
    ):
        suite = make_suite(target, cases=20)
        outcomes = [
            judge_case(replace(rule, check=check), suite.observe(case), index)
            for index, case in suite.draw_cases(0, 20)
            if rule.when(case)
        ]
        findings = [outcome for outcome in outcomes if isinstance(outcome, Finding)]
        assert {finding.kind for finding in findings} == {kind}


def test_changes_of_settings_and_generators_by_a_subject_are_undone() -> None:
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
    assert [result.rule for result in report.results if result.is_broken] == []
    assert {name: read() for name, read in state.items()} == before


def test_a_range_beyond_the_end_is_empty() -> None:
    assert run_campaign(make_suite(), 40, 60).cases == 0
    assert run_campaign(make_suite(), 35, 60).cases == 5


@pytest.mark.parametrize(("asked", "least"), [(1, 1), (40, 40), (600, 560)])
def test_the_number_of_cases_can_be_less_or_more_than_the_profile_draws(
    asked: int, least: int
) -> None:
    suite = make_suite(cases=asked)
    assert suite.size == asked
    assert least <= len(list(suite.draw_cases(0, asked))) <= asked

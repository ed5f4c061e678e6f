"""Campaigns: they are reproducible, ranges merge, and no subject can end them."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
import pytest
import torch

import rnnspec
from rnnspec.api import prepare_suite
from rnnspec.cases.axes import Mode
from rnnspec.cases.case import Case
from rnnspec.contract.clauses import Level
from rnnspec.contract.config import Config
from rnnspec.diagnosis.faults import find_faults
from rnnspec.engine.campaign import check_by_all, list_applicable_rules, run_campaign
from rnnspec.engine.explanations import INTERRUPTED
from rnnspec.engine.outcome import (
    KEPT_OF_ANY,
    KEPT_OF_RULE,
    Blocker,
    FailingCase,
    Finding,
    FindingKind,
    Progress,
    Tally,
    UnsupportedCase,
    check_case,
    describe_blocker,
    keep_failing_cases,
)
from rnnspec.options import CheckOptions
from rnnspec.pipeline import check_suite, decide_results
from rnnspec.report.data import Report, RunVerdict, Verdict
from rnnspec.rulekit.rule import Fact
from rnnspec.selftest import BUGS
from rnnspec.subjects.failures import Malformed, Raised
from rnnspec.suites.layer import LayerSuite
from tests.engine.subjects import WRONG, Exiting, Interrupting, Meddling

RULES = (
    "states.initial-state-used",
    "directions.h-n-order",
    "recurrence.output",
    "packed.h-n",
    "samples.independent",
)


ONE = Case(config=Config(1, 1))


def make_suite(target: Any = torch.nn.RNN, **options: Any) -> LayerSuite:
    given = {"profile": "quick", "cases": 40, "rules": RULES, **options}
    return prepare_suite(target, CheckOptions(**given))


def list_results(suite: LayerSuite, progress: Progress[Case]) -> list[dict[str, Any]]:
    """Return the results that a report on this progress has."""
    results = decide_results(suite, progress, find_faults(suite, progress), (Level.MUST,))
    return [result.as_dict() for result in results]


def read_without_duration(report: Report) -> dict[str, Any]:
    return {**report.as_dict(), "duration_s": 0}


class OfFewUnits(torch.nn.RNN):
    """Is right up to 5 units, and up to 2 samples whatever the units."""

    def forward(self, *given: Any) -> Any:
        output, final = super().forward(*given)
        samples = final.shape[1] if final.dim() == 3 else 1
        return output + (self.hidden_size > 5 or samples > 2), final


def test_largest_sizes_are_those_of_cases_in_which_all_numbers_are_right() -> None:
    suite = make_suite(OfFewUnits, rules=("recurrence.output", "shapes.output"))
    progress = run_campaign(suite)
    assert progress.sizes["units"] == 5
    assert progress.sizes["samples"] == 2
    small = [
        case
        for _, case in suite.draw_cases(0, None)
        if case.config.hidden_size <= 5 and case.batch <= 2
    ]
    for name, field in (("features", "input_size"), ("steps", "steps"), ("layers", "num_layers")):
        assert 1 <= progress.sizes[name] <= max(case.size(field) for case in small)
    first, rest = run_campaign(suite, 0, 17), run_campaign(suite, 17, None)
    assert first.merge(rest).sizes == rest.merge(first).sizes == progress.sizes
    right = make_suite(cases=12)
    assert run_campaign(right).sizes == make_report_of(right).largest_sizes
    without = make_suite(OfFewUnits, rules=("construction.*",))
    assert run_campaign(without).sizes == {}


def make_report_of(suite: LayerSuite) -> Report:
    return check_suite(suite)


@pytest.mark.slow
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


@pytest.mark.slow
def test_equal_seeds_give_equal_reports_and_other_seeds_give_others() -> None:
    options: dict[str, Any] = {
        "profile": "quick",
        "cases": 30,
        "rules": ["directions.*", "recurrence.output"],
    }
    reports = [
        read_without_duration(rnnspec.check(WRONG, seed=seed, **options)) for seed in (3, 3, 4)
    ]
    assert reports[0] == reports[1]
    assert reports[0] != reports[2]


@pytest.mark.slow
def test_the_tally_of_a_rule_does_not_depend_on_the_other_rules() -> None:
    alone = run_campaign(make_suite(WRONG, rules=("directions.h-n-order",)))
    together = run_campaign(make_suite(WRONG))
    assert alone.tallies["directions.h-n-order"] == together.tallies["directions.h-n-order"]


@pytest.mark.slow
def test_the_first_finding_has_the_smallest_index() -> None:
    suite = make_suite(WRONG)
    tally = run_campaign(suite).tallies["directions.h-n-order"]
    assert tally.first is not None
    rule = next(rule for rule in suite.rules if rule.id == "directions.h-n-order")
    failing = [
        index
        for index, case in suite.draw_cases(0, 40)
        if rule in list_applicable_rules(suite, case)
        and isinstance(check_case(rule, suite.observe(case), index), Finding)
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
    blocker = Blocker("ValueError", "stopped")
    tally.add(Finding(4, case, "no", kind=FindingKind.SUBJECT_ERROR, blocker=blocker))
    assert (tally.cases, tally.violations, tally.blocked, tally.first) == (5, 3, 1, early)
    doubled = tally.merge(tally)
    assert (doubled.cases, doubled.violations, doubled.blocked) == (10, 6, 2)
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
    assert progress == replace(run_campaign(suite, 0, 7), stopped=True, ends_now=True)


def test_an_interrupt_after_a_violation_ends_the_run_with_the_violation() -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 30:
            raise KeyboardInterrupt

    report = rnnspec.check(WRONG, profile="quick", rules=RULES, watch=interrupt)
    assert (report.cases, report.stopped) == (30, True)
    assert (report.verdict, report.exit_status) == (RunVerdict.VIOLATES, 1)


def test_an_interrupt_while_cases_are_minimised_still_gives_a_report() -> None:
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
    roots = [result for result in broken if result.caused_by is None]
    assert {root.rule for root in roots} == {fault.rule for fault in report.faults}
    for root in roots:
        assert root.depends_on == INTERRUPTED
        assert root.counterexample is not None
        assert root.repro is None
        assert root.no_repro == "the run was interrupted"


@pytest.mark.slow
def test_a_campaign_stops_at_the_first_violation_of_a_given_level() -> None:
    suite = make_suite(WRONG)
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
    assert (report.verdict, report.violations) == (RunVerdict.INCONCLUSIVE, (failed,))


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
            check_case(replace(rule, check=check), suite.observe(case), index)
            for index, case in suite.draw_cases(0, 20)
            if rule.when(case)
        ]
        findings = [outcome for outcome in outcomes if isinstance(outcome, Finding)]
        assert {finding.kind for finding in findings} == {kind}


def test_the_blocker_of_a_subject_omits_numbers_and_the_step() -> None:
    def raised(step: str, error: BaseException) -> Blocker:
        return describe_blocker(Raised(step, error))

    one = raised("the call", ValueError("expected (3, 4), got [3,\n 5] after 2.5 s; it was (1,)"))
    assert one == Blocker("ValueError", "expected (#), got (#) after # s")
    other = raised("an earlier call", ValueError("expected (), got [17] after 1 s; it was (2, 3)"))
    assert one == other
    assert raised("the call", TypeError("expected (3, 4), got [5] after 1 s")) != one
    assert raised("the call", ValueError("expected one")) != one
    malformed = describe_blocker(Malformed("h_n has shape (2, 3), expected (1, 3)", "shape@h_n"))
    assert malformed == Blocker("Malformed", "shape@h_n")


def test_a_finding_about_a_stopped_subject_names_the_blocker() -> None:
    [rule] = make_suite(rules=("recurrence.output",)).rules
    suite = make_suite(Exiting, cases=1)
    (_, case), *_ = suite.draw_cases(0, 1)
    outcome = check_case(rule, suite.observe(case))
    assert isinstance(outcome, Finding)
    assert (outcome.kind, outcome.blocker) == (
        FindingKind.SUBJECT_ERROR,
        Blocker("SystemExit", "enough"),
    )


def test_the_facts_that_do_not_hold_are_kept_with_a_failing_case() -> None:
    class Off(torch.nn.RNN):
        def forward(self, *given: Any) -> Any:
            output, h_n = super().forward(*given)
            return output, h_n + 1

    for target, fact in ((Exiting, Fact.CALL), (Off, Fact.RESULTS)):
        suite = make_suite(target, cases=8)
        for case in run_campaign(suite).failing.values():
            ((broken, shown),) = case.broken.items()
            assert broken is fact
            assert shown.replace(dropout=case.case.config.dropout) == case.case
            assert not shown.is_random
            assert (case.blocker is not None) is (fact is Fact.CALL)
    suite = make_suite(rules=("recurrence.h-n",), cases=1)
    assert check_by_all(suite, suite.rules, 0, ONE)[1] is None


def test_wrong_results_of_another_call_are_known_by_its_case_without_dropout() -> None:
    class Off(torch.nn.RNN):
        def forward(self, *given: Any) -> Any:
            output, h_n = super().forward(*given)
            return output, h_n + 1

    random = ONE.replace(num_layers=2, dropout=0.5, mode=Mode.TRAIN)
    for target, shown in ((Off, random.replace(dropout=0.0)), (torch.nn.RNN, None)):
        suite = make_suite(target, cases=1)
        observation = suite.observe(random)
        assert suite.find_wrong_results(observation) is None, "it was not called"
        _ = observation.call
        assert suite.find_wrong_results(observation) == shown


def draw_failing_cases(random: random.Random) -> list[FailingCase[Case]]:
    """Return failing cases of many rules, some of which fail late."""
    rules = [f"rule.{number}" for number in range(9)]
    sizes = [4 if index < KEPT_OF_ANY else 9 for index in range(KEPT_OF_ANY + 80)]
    chosen = [random.sample(rules[:size], random.randint(1, 3)) for size in sizes]
    return [
        FailingCase(index, ONE, {name: Finding(index, ONE, "wrong") for name in names})
        for index, names in enumerate(chosen)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_the_kept_cases_do_not_depend_on_the_order_or_the_division(seed: int) -> None:
    generator = random.Random(seed)
    cases = draw_failing_cases(generator)
    whole = keep_failing_cases(cases)
    assert list(whole) == sorted(whole)
    for rule in {name for case in cases for name in case.findings}:
        first = [case.index for case in cases if rule in case.findings][:KEPT_OF_RULE]
        assert set(first) <= whole.keys()
    assert list(whole)[:KEPT_OF_ANY] == list(range(KEPT_OF_ANY))
    assert len(whole) < len(cases)
    generator.shuffle(cases)
    cut = generator.randint(1, len(cases) - 1)
    halves = [keep_failing_cases(half) for half in (cases[:cut], cases[cut:])]
    assert keep_failing_cases([*halves[0].values(), *halves[1].values()]) == whole
    assert keep_failing_cases([*halves[1].values(), *halves[0].values()]) == whole


@pytest.mark.slow
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


@pytest.mark.mostly_slow
@pytest.mark.parametrize(("asked", "least"), [(1, 1), (40, 40), (600, 560)])
def test_the_number_of_cases_can_be_less_or_more_than_the_profile_draws(
    asked: int, least: int
) -> None:
    suite = make_suite(cases=asked)
    assert suite.size == asked
    assert least <= len(list(suite.draw_cases(0, asked))) <= asked

"""Test faults: each fault is reported once, with all rules that fail because of it and no others.

Most of these tests check a toy layer without torch, whose faults are known exactly; tests of
planted bugs and of whole reports are in `tests/selftest` and `tests/test_told.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise, product
from random import Random
from typing import Any

import pytest

from rnnspec.contract.clauses import Level
from rnnspec.contract.parts import Part
from rnnspec.diagnosis.events import FaultKind
from rnnspec.diagnosis.fault import Fault
from rnnspec.diagnosis.faults import find_faults
from rnnspec.diagnosis.search import Search
from rnnspec.engine.campaign import run_campaign
from rnnspec.engine.explanations import LikelyCause
from rnnspec.engine.outcome import Blocker, FindingKind, Progress
from rnnspec.pipeline import check_suite
from rnnspec.report.data import Report, RunVerdict, Verdict
from rnnspec.rulekit.rule import Fact
from tests.engine.toy import (
    CHOICES,
    ToyCase,
    ToyLayer,
    ToyObservation,
    ToySuite,
    check_gradients,
    check_only_call,
    check_results,
    make_rule,
    make_suite,
)

RESULTS = make_rule("recurrence.output")
STATES = make_rule("recurrence.h-n")
BATCH_FIRST = make_rule("layouts.batch-first", about=["batch_first"])
DIRECTIONS = make_rule("directions.own-weights", about=["bidirectional"])
GRADIENTS = make_rule("gradients.input", check_gradients)
MODULE = make_rule("modules.second-call", check_only_call)
ERRORS = make_rule("errors.feature-size", check_only_call)
RULES = (ERRORS, BATCH_FIRST, MODULE, DIRECTIONS, RESULTS, STATES, GRADIENTS)


def find(suite: ToySuite) -> list[Fault[ToyCase]]:
    return find_faults(suite, run_campaign(suite))


def name_roots(suite: ToySuite) -> list[str]:
    return [fault.root.id for fault in find(suite)]


def is_batch_first(case: ToyCase) -> bool:
    return case.batch_first == "True"


def is_bidirectional(case: ToyCase) -> bool:
    return case.bidirectional == "True"


def stop_if_batch_first(case: ToyCase) -> str:
    return f"expected size ({case.steps}, 3), got {case.seed}" if is_batch_first(case) else ""


def test_a_correct_layer_has_no_fault() -> None:
    assert find(make_suite(ToyLayer(), *RULES)) == []


def test_blocked_rules_are_one_fault_even_if_numbers_in_the_message_differ() -> None:
    suite = make_suite(ToyLayer(stopped=stop_if_batch_first), *RULES)
    (fault,) = find(suite)
    assert (fault.kind, fault.root) == (FaultKind.BLOCKED, BATCH_FIRST)
    assert {event.blocker for event in fault.events} == {
        Blocker("RuntimeError", "expected size (#), got #")
    }
    assert fault.waiting == {rule.id for rule in RULES} - {BATCH_FIRST.id}
    assert fault.consequences == set()
    assert fault.situation.needed == {"batch_first"}
    assert fault.minimum.finding.case == ToyCase(
        batch_first="True", seed=fault.minimum.finding.case.seed
    )


def test_the_search_reports_how_many_failures_are_explained() -> None:
    suite = make_suite(ToyLayer(wrong=is_bidirectional, stopped=stop_if_batch_first), *RULES)
    progress = run_campaign(suite)
    failures = sum(len(case.findings) for case in progress.failing.values())
    seen: list[tuple[int, int]] = []
    find_faults(suite, progress, watch=lambda *numbers: seen.append(numbers))
    assert seen[0] == (0, failures)
    assert len(seen) > 2
    assert all(0 <= explained <= number for explained, number in seen)
    assert max(explained for explained, _ in seen) > failures / 2


def test_blocked_rules_are_no_violations() -> None:
    report = check_suite(make_suite(ToyLayer(stopped=stop_if_batch_first), *RULES))
    assert [result.rule for result in report.results if result.verdict is Verdict.FAIL] == [
        BATCH_FIRST.id
    ]
    for result in report.results:
        if result.rule != BATCH_FIRST.id:
            assert (result.verdict, result.caused_by) == (Verdict.PASS, BATCH_FIRST.id)
            assert (result.violations, result.is_broken, result.holds_otherwise) == (0, False, True)
            assert 0 < result.blocked < result.cases == report.cases
            assert result.message == (
                f"could not be checked in {result.blocked} of {result.cases} cases"
            )
    assert {part.value: each.verdict.value for part, each in report.parts.items()} == {
        "values": "violates",
        "gradients": "conforms",
        "module": "conforms",
        "interface": "conforms",
    }
    assert (report.verdict, report.faults[0].avoided_by) == (RunVerdict.VIOLATES, "batch_first")


def test_a_rule_checked_too_rarely_because_of_errors_is_blocked() -> None:
    def stop(case: ToyCase) -> str:
        return "no size" if case.steps else ""

    report = check_suite(make_suite(ToyLayer(stopped=stop), RESULTS, MODULE))
    assert report.result(RESULTS.id).verdict is Verdict.FAIL
    blocked = report.result(MODULE.id)
    assert (blocked.verdict, blocked.caused_by, blocked.holds_otherwise) == (
        Verdict.BLOCKED,
        RESULTS.id,
        False,
    )
    assert blocked.message == "could not be checked in 60 of 60 cases"
    assert report.parts[Part.MODULE].verdict is RunVerdict.INCONCLUSIVE


def test_rules_stopped_in_every_case_are_checked_on_cases_that_avoid_the_error() -> None:
    """Another fault that shows only there is reported too."""
    only = make_rule("modules.copied", check_only_call, when=is_batch_first)
    other = make_rule("modules.moved", check_only_call)

    def is_moved(case: ToyCase) -> bool:
        return not is_batch_first(case) and not case.seed % 2

    def stop(case: ToyCase) -> str:
        return "stopped" if case.mode == "train" else ""

    cases = [case for _, case in make_suite(ToyLayer(), RESULTS).draw_cases(0, 9)]
    trained = [replace(case, mode="train") for case in cases]
    suite = make_suite(ToyLayer(stopped=stop, own={other.id: is_moved}), RESULTS, only, other)
    report = check_suite(replace(suite, cases=tuple(trained)))
    assert report.result(only.id).verdict is Verdict.PASS
    assert report.result(other.id).verdict is Verdict.FAIL
    assert {fault.rule for fault in report.faults} == {RESULTS.id, other.id}


def test_a_fault_that_stops_the_layer_hides_no_other_fault() -> None:
    def is_wrong(case: ToyCase) -> bool:
        return is_bidirectional(case) and not is_batch_first(case)

    layer = ToyLayer(stopped=stop_if_batch_first, wrong=is_wrong)
    suite = make_suite(layer, *RULES)
    assert name_roots(suite) == [BATCH_FIRST.id, DIRECTIONS.id]
    report = check_suite(suite)
    assert [fault.rule for fault in report.faults] == [BATCH_FIRST.id, DIRECTIONS.id]
    assert report.result(RESULTS.id).verdict is Verdict.FAIL


def test_two_errors_that_stop_the_layer_are_two_faults() -> None:
    def stop(case: ToyCase) -> str:
        if is_batch_first(case):
            return "no batch first"
        return "one direction only" if is_bidirectional(case) else ""

    assert set(name_roots(make_suite(ToyLayer(stopped=stop), *RULES))) == {
        BATCH_FIRST.id,
        DIRECTIONS.id,
    }


def test_two_messages_of_one_situation_are_one_fault() -> None:
    def stop(case: ToyCase) -> str:
        if not is_batch_first(case):
            return ""
        return "out of bounds" if case.steps >= 4 else "wrong size"

    assert name_roots(make_suite(ToyLayer(stopped=stop), *RULES)) == [BATCH_FIRST.id]


def test_wrong_results_are_one_fault_with_everything_that_rests_on_them() -> None:
    suite = make_suite(ToyLayer(wrong=lambda case: True), *RULES)
    (fault,) = find(suite)
    assert (fault.kind, fault.root.part) == (FaultKind.RESULTS, Part.VALUES)
    everything = {BATCH_FIRST.id, DIRECTIONS.id, RESULTS.id, STATES.id, GRADIENTS.id}
    assert fault.consequences == everything - {fault.root.id}
    assert fault.root in (RESULTS, STATES), "a rule about a choice that does not matter is no name"
    assert fault.situation.needed == set()


def test_wrong_gradients_are_a_fault_of_their_own_only_if_the_results_are_right() -> None:
    (alone,) = find(make_suite(ToyLayer(wrong_gradients=lambda case: case.steps >= 3), *RULES))
    assert (alone.kind, alone.root) == (FaultKind.GRADIENTS, GRADIENTS)
    assert alone.minimum.finding.case.steps == 3
    layer = ToyLayer(wrong=lambda case: True, wrong_gradients=lambda case: True)
    (both,) = find(make_suite(layer, *RULES))
    assert both.kind is FaultKind.RESULTS


def test_wrong_results_and_wrong_gradients_elsewhere_are_two_faults() -> None:
    layer = ToyLayer(wrong=is_bidirectional, wrong_gradients=is_batch_first)
    faults = find(make_suite(layer, *RULES))
    assert [fault.kind for fault in faults] == [FaultKind.RESULTS, FaultKind.GRADIENTS]
    assert [fault.root for fault in faults] == [DIRECTIONS, GRADIENTS]


def test_a_requirement_of_another_sort_is_a_fault_of_its_own() -> None:
    layer = ToyLayer(own={MODULE.id: lambda case: case.steps >= 2})
    (fault,) = find(make_suite(layer, *RULES))
    assert (fault.kind, fault.root, fault.consequences) == (FaultKind.REQUIREMENT, MODULE, set())
    assert fault.minimum.finding.message == "modules.second-call does not hold"
    assert fault.minimum.finding.case.steps == 2


def test_a_narrower_fault_yields_to_the_wider_one() -> None:
    narrow = make_rule("directions.h-n-order", about=["batch_first", "bidirectional"])
    (fault,) = find(make_suite(ToyLayer(wrong=is_batch_first), narrow, *RULES))
    assert fault.root == BATCH_FIRST
    assert {narrow.id, DIRECTIONS.id} <= fault.consequences


def test_a_narrow_fault_is_named_by_the_rule_about_the_narrow_situation() -> None:
    narrow = make_rule("directions.h-n-order", about=["batch_first", "bidirectional"])

    def is_wrong(case: ToyCase) -> bool:
        return is_batch_first(case) and is_bidirectional(case)

    (fault,) = find(make_suite(ToyLayer(wrong=is_wrong), narrow, *RULES))
    assert fault.root == narrow
    assert set(fault.situation.needed) == {"batch_first", "bidirectional"}


def test_two_independent_faults_are_both_reported() -> None:
    def is_wrong(case: ToyCase) -> bool:
        return (is_batch_first(case) and case.steps >= 2) or is_bidirectional(case)

    assert set(name_roots(make_suite(ToyLayer(wrong=is_wrong), *RULES))) == {
        BATCH_FIRST.id,
        DIRECTIONS.id,
    }


def test_a_rule_of_the_interface_is_never_swallowed_by_wrong_values() -> None:
    layer = ToyLayer(wrong=lambda case: True, own={ERRORS.id: lambda case: True})
    faults = find(make_suite(layer, *RULES))
    assert [fault.kind for fault in faults] == [FaultKind.RESULTS, FaultKind.REQUIREMENT]
    assert faults[1].root == ERRORS
    assert ERRORS.id not in faults[0].consequences


def test_a_rule_of_the_module_that_needs_no_results_is_not_swallowed_either() -> None:
    layer = ToyLayer(wrong=lambda case: True, own={MODULE.id: is_batch_first})
    assert MODULE in [fault.root for fault in find(make_suite(layer, *RULES))]


def test_a_rule_that_presupposes_a_broken_one_is_its_consequence() -> None:
    first = make_rule("modules.copied", check_only_call)
    second = make_rule("modules.moved", check_only_call, presupposes=[first.id])
    own = {first.id: is_long, second.id: lambda case: is_long(case) and is_batch_first(case)}
    (fault,) = find(make_suite(ToyLayer(own=own), second, first, *RULES))
    assert (fault.root, fault.consequences) == (first, {second.id})


def test_a_rule_that_fails_without_the_fault_that_it_presupposes_is_another_fault() -> None:
    first = make_rule("modules.copied", check_only_call)
    second = make_rule("modules.moved", check_only_call, presupposes=[first.id])
    own = {first.id: is_batch_first, second.id: is_long}
    faults = find(make_suite(ToyLayer(own=own), second, first, *RULES))
    assert {fault.root.id for fault in faults} == {first.id, second.id}


def is_long(case: ToyCase) -> bool:
    """Return whether a case has several steps."""
    return case.steps >= 2


def test_a_fault_is_named_by_a_must_before_a_should() -> None:
    should = make_rule("shapes.advice", level=Level.SHOULD)
    (fault,) = find(make_suite(ToyLayer(wrong=lambda case: True), should, RESULTS))
    assert (fault.root, fault.consequences) == (RESULTS, {should.id})
    about = make_rule("shapes.advice", level=Level.SHOULD, about=["batch_first"])
    (fault,) = find(make_suite(ToyLayer(wrong=is_batch_first), about, RESULTS))
    assert (fault.root, fault.consequences) == (RESULTS, {about.id})


def test_a_broken_must_is_never_reported_as_a_consequence_of_a_should() -> None:
    """Otherwise a run would violate the contract without a fault that counts."""
    first = make_rule("errors.types", check_only_call, level=Level.SHOULD)
    second = make_rule("errors.feature-size", check_only_call, presupposes=[first.id])
    own = {first.id: lambda case: True, second.id: lambda case: case.steps >= 2}
    report = check_suite(make_suite(ToyLayer(own=own), first, second))
    assert report.verdict is RunVerdict.VIOLATES
    assert report.result(second.id).caused_by is None


def test_fail_fast_ends_at_a_fault_that_counts() -> None:
    should = make_rule("errors.types", check_only_call, level=Level.SHOULD)
    own = {should.id: lambda case: True, ERRORS.id: lambda case: True, MODULE.id: lambda case: True}
    report = check_suite(make_suite(ToyLayer(own=own), should, *RULES), fail_fast=True)
    assert (report.verdict, report.stopped, report.cases) == (RunVerdict.VIOLATES, True, 1)
    counting = [fault.rule for fault in report.faults if fault.rule != should.id]
    assert len(counting) == 1
    (left,) = {ERRORS.id, MODULE.id} - set(counting)
    result = report.result(left)
    assert (result.verdict, result.caused_by, result.violations) == (Verdict.UNREACHED, None, 1)
    assert result.message == "the run stopped at the first fault"


def test_strict_fail_fast_ends_at_a_should() -> None:
    should = make_rule("errors.types", check_only_call, level=Level.SHOULD)
    suite = make_suite(ToyLayer(own={should.id: lambda case: True}), should, *RULES)
    assert check_suite(suite, fail_fast=True).cases == suite.size
    report = check_suite(suite, fail_fast=True, scored=(Level.MUST, Level.SHOULD))
    assert (report.verdict, report.cases) == (RunVerdict.VIOLATES, 1)
    assert [fault.rule for fault in report.faults] == [should.id]


def test_faults_of_a_must_come_first_then_the_wider_kinds() -> None:
    should = make_rule("errors.types", check_only_call, level=Level.SHOULD)
    layer = ToyLayer(
        wrong=is_batch_first,
        wrong_gradients=is_bidirectional,
        own={should.id: lambda case: True, ERRORS.id: lambda case: case.steps >= 3},
    )
    assert name_roots(make_suite(layer, should, *RULES)) == [
        BATCH_FIRST.id,
        GRADIENTS.id,
        ERRORS.id,
        should.id,
    ]


def check_another_call(observation: ToyObservation, change: Mapping[str, Any]) -> None:
    """Check the results of a second call, in a case with other choices."""
    observation.call()
    check_results(ToyObservation(observation.layer, replace(observation.case, **change)))


def test_a_rule_whose_own_call_is_wrong_is_a_consequence_of_that_fault() -> None:
    other = make_rule(
        "samples.independent",
        partial(check_another_call, change={"batch_first": "True"}),
        when=lambda case: not is_batch_first(case),
    )
    suite = make_suite(ToyLayer(wrong=is_batch_first), other, *RULES)
    progress = run_campaign(suite)
    misled = [case for case in progress.failing.values() if case.misled]
    assert misled
    for case in misled:
        assert case.misled == {other.id: (Fact.RESULTS, replace(case.case, batch_first="True"))}
        assert case.broken == {}
    (fault,) = find_faults(suite, progress)
    assert (fault.root, other.id in fault.consequences) == (BATCH_FIRST, True)


def test_a_rule_stopped_in_its_own_operation_is_a_fault_of_its_own() -> None:
    layer = ToyLayer(own_stopped={MODULE.id: lambda case: f"cannot copy {case.steps} buffers"})
    (fault,) = find(make_suite(layer, *RULES))
    assert (fault.root, fault.waiting, fault.consequences) == (MODULE, set(), set())
    assert fault.minimum.finding.kind is FindingKind.SUBJECT_ERROR
    assert fault.minimum.finding.message == (
        "the constructor raised ValueError: cannot copy 1 buffers"
    )


def test_rules_that_are_stopped_in_the_same_way_are_one_fault() -> None:
    def stop(case: ToyCase) -> str:
        return f"cannot copy {case.steps} buffers"

    other = make_rule("modules.copied", check_only_call)
    layer = ToyLayer(own_stopped={MODULE.id: stop, other.id: stop})
    (fault,) = find(make_suite(layer, other, *RULES))
    assert {fault.root.id} | fault.waiting == {MODULE.id, other.id}


CAUSE = LikelyCause(
    "directions.exchanged", "the directions are exchanged", "exchange them", (STATES.id,), 5, 6
)


def test_the_search_for_a_likely_cause_gets_the_simplest_case_first() -> None:
    suite = make_suite(ToyLayer(wrong=is_long), *RULES, cause=CAUSE)
    (fault,) = find(suite)
    whole = suite.asked[0]
    assert len(whole) == len(set(whole)) > 1
    measured = [(len(suite.space.list_raised(case)), case.steps) for case in whole]
    assert measured == sorted(measured)
    assert fault.cause == CAUSE
    assert fault.root == STATES, "the likely cause decides which rule names the fault"


def test_a_cause_without_effect_in_the_minimal_case_is_not_reported() -> None:
    """In a case with random masks, a cause is not seen to fit or not to fit."""
    suite = make_suite(
        ToyLayer(wrong=is_long), *RULES, cause=CAUSE, can_cause=lambda case: not is_long(case)
    )
    (fault,) = find(suite)
    assert fault.cause is None


def test_the_minimal_case_and_those_without_the_fault_are_compared_if_there_is_no_cause() -> None:
    suite = make_suite(ToyLayer(wrong=is_long), *RULES)
    (fault,) = find(suite)
    assert suite.compared[0] == (), "a cause that explains all cases needs no others"
    number = next(place for place, cases in enumerate(suite.compared) if cases)
    assert suite.asked[number][0] == fault.situation.finding.case
    assert set(suite.asked[number]) >= set(suite.asked[0])
    assert not any(is_long(case) for case in suite.compared[number])


def test_the_likely_cause_of_the_other_kinds_of_faults() -> None:
    for layer, is_asked in (
        (ToyLayer(stopped=stop_if_batch_first), True),
        (ToyLayer(wrong_gradients=lambda case: True), True),
        (ToyLayer(own={ERRORS.id: lambda case: True}), False),
    ):
        suite = make_suite(layer, *RULES, cause=CAUSE)
        (fault,) = find(suite)
        assert bool(suite.asked) is is_asked
        assert fault.cause == (CAUSE if is_asked else None)


def test_the_report_has_the_likely_cause() -> None:
    (reported,) = check_suite(
        make_suite(ToyLayer(wrong=is_batch_first), *RULES, cause=CAUSE)
    ).faults
    assert (reported.likely_cause, reported.remedy, reported.explained, reported.seen) == (
        "the directions are exchanged",
        "exchange them",
        5,
        6,
    )


def test_an_error_of_the_checker_is_neither_cause_nor_consequence() -> None:
    def fail(observation: ToyObservation) -> None:
        raise ZeroDivisionError("by zero")

    broken = make_rule("recurrence.exact", fail)
    faults = find(make_suite(ToyLayer(wrong=is_batch_first), broken, *RULES))
    assert [fault.root for fault in faults] == [BATCH_FIRST, broken]
    assert broken.id not in faults[0].consequences
    assert faults[1].consequences == set()
    report = check_suite(make_suite(ToyLayer(), broken, *RULES))
    assert report.result(broken.id).verdict is Verdict.CHECKER_ERROR


def make_random_layer(random: Random) -> ToyLayer:
    """Return a layer with up to two faults in random situations."""

    def draw_question() -> Any:
        chosen = {
            name: random.choice(values) for name, values in CHOICES.items() if random.random() < 0.4
        }
        steps = random.choice((1, 1, 2, 3))
        return lambda case: (
            case.steps >= steps
            and all(getattr(case, key) == value for key, value in chosen.items())
        )

    parts: dict[str, Any] = {}
    for name in random.sample(("stopped", "wrong", "wrong_gradients", "own", "own_stopped"), 2):
        question = draw_question()
        if name == "stopped":
            parts[name] = lambda case, holds=question: "stopped" if holds(case) else ""
        elif name == "own":
            parts[name] = {random.choice(RULES).id: question}
        elif name == "own_stopped":
            stop = lambda case, holds=question: "stopped here" if holds(case) else ""  # noqa: E731
            parts[name] = {random.choice(RULES).id: stop}
        else:
            parts[name] = question
    return ToyLayer(**parts)


@pytest.mark.mostly_slow
@pytest.mark.parametrize("seed", range(60))
def test_every_broken_rule_of_a_random_layer_is_reported_with_a_visible_fault(seed: int) -> None:
    suite = make_suite(make_random_layer(Random(seed)), *RULES, seed=seed)
    progress = run_campaign(suite)
    faults = find_faults(suite, progress)
    roots = [fault.root.id for fault in faults]
    assert len(roots) == len(set(roots))
    reported = {name for fault in faults for name in (*fault.consequences, *fault.waiting)}
    failing = {name for name, tally in progress.tallies.items() if tally.violations}
    assert failing <= reported | set(roots)
    report = check_suite(suite)
    for result in report.results:
        is_failing = result.rule in failing
        assert is_failing or (result.verdict, result.blocked) == (Verdict.PASS, 0)
        assert (result.caused_by is None) is (not is_failing or result.rule in roots)
        assert result.rule not in roots or result.verdict is Verdict.FAIL
        assert result.caused_by is None or result.caused_by in roots
    for fault in faults:
        assert_shows(suite, fault)
    events = [id(event) for fault in faults for event in fault.events]
    assert len(events) == len(set(events))


def assert_shows(suite: ToySuite, fault: Fault[ToyCase]) -> None:
    """Check that the rule that names a fault fails on its minimal case."""
    finding = fault.minimum.finding
    observation = suite.observe(finding.case)
    with pytest.raises(Exception, match=r".") as raised:
        fault.root.check(observation)
    assert str(raised.value) == finding.message


def make_interrupted(after: int) -> tuple[ToyLayer, list[int]]:
    """Return a wrong layer that is interrupted from some call on, and the number of calls."""
    calls = [0]

    def interrupt(case: ToyCase) -> bool:
        calls[0] += 1
        return calls[0] > after

    layer = ToyLayer(
        wrong=is_batch_first, own={ERRORS.id: lambda case: case.steps >= 3}, interrupted=interrupt
    )
    return layer, calls


def report_if_interrupted(after: int) -> tuple[Report, int]:
    layer, calls = make_interrupted(after)
    return check_suite(make_suite(layer, *RULES, drawn=12)), calls[0]


def test_an_interrupt_at_any_time_still_gives_a_report() -> None:
    whole, total = report_if_interrupted(10**9)
    assert [fault.rule for fault in whole.faults] == [BATCH_FIRST.id, ERRORS.id]
    assert not whole.stopped
    for after in range(0, total, 7):
        report, _ = report_if_interrupted(after)
        assert report.stopped
        assert report.verdict is not RunVerdict.CONFORMS
        broken = [result for result in report.results if result.is_broken]
        assert (report.verdict is RunVerdict.VIOLATES) is bool(broken)
        roots = {fault.rule for fault in report.faults}
        assert {result.rule for result in broken if result.caused_by is None} == roots
        assert all(report.result(root).counterexample is not None for root in roots)


def merge_in_any_order(parts: list[Progress[ToyCase]], random: Random) -> Progress[ToyCase]:
    """Merge results, two at a time, in a random order."""
    while len(parts) > 1:
        random.shuffle(parts)
        parts = [parts[0].merge(parts[1]), *parts[2:]]
    return parts[0]


@pytest.mark.parametrize("seed", range(6))
def test_faults_do_not_depend_on_how_the_cases_were_divided(seed: int) -> None:
    random = Random(seed)
    suite = make_suite(make_random_layer(random), *RULES, drawn=90, seed=seed)
    whole = run_campaign(suite)
    cuts = [0, *sorted(random.sample(range(1, 90), 4)), 90]
    parts = [run_campaign(suite, *bounds) for bounds in pairwise(cuts)]
    merged = merge_in_any_order(parts, random)
    assert merged == whole
    assert [
        (fault.root.id, fault.minimum, sorted(fault.cases)) for fault in find_faults(suite, merged)
    ] == [
        (fault.root.id, fault.minimum, sorted(fault.cases)) for fault in find_faults(suite, whole)
    ]


def test_every_choice_that_a_fault_needs_is_in_its_situation() -> None:
    for first, both in product(CHOICES["batch_first"], CHOICES["bidirectional"]):

        def is_wrong(case: ToyCase, first: str = first, both: str = both) -> bool:
            return case.batch_first == first and case.bidirectional == both

        (fault,) = find(make_suite(ToyLayer(wrong=is_wrong), RESULTS))
        assert fault.situation.needed == {"batch_first", "bidirectional"}
        case = fault.situation.finding.case
        assert (case.batch_first, case.bidirectional) == (first, both)


def test_facts_describe_their_subject() -> None:
    assert {fact.value for fact in Fact} == {
        "the call returns results of the documented form",
        "output and h_n are right",
        "the gradients are right",
    }


def test_a_failure_that_cannot_be_reproduced_is_reported_last() -> None:
    counts: Counter[str] = Counter()

    def fails_once(case: ToyCase) -> bool:
        counts["calls"] += 1
        return counts["calls"] == 1

    steady = make_rule("modules.moved", check_only_call, presupposes=["modules.copied"])
    unsteady = make_rule("modules.copied", check_only_call)
    own = {unsteady.id: fails_once, steady.id: is_batch_first}
    faults = find(make_suite(ToyLayer(own=own), unsteady, steady, *RULES))
    assert steady in [fault.root for fault in faults]


def test_a_failure_that_cannot_be_reproduced_follows_from_a_side_effect() -> None:
    counts: Counter[str] = Counter()

    def fails_once(case: ToyCase) -> bool:
        counts["calls"] += 1
        return counts["calls"] == 1

    damaging = make_rule("side-effects.parameters", check_only_call)
    unsteady = make_rule("states.none", check_only_call)
    own = {unsteady.id: fails_once, damaging.id: is_batch_first}
    (fault,) = find(make_suite(ToyLayer(own=own), unsteady, damaging, *RULES))
    assert fault.root == damaging
    assert fault.count_events(unsteady.id) == 1


def test_a_rule_that_fails_in_every_case_is_seen_beside_a_fault_that_stops_some() -> None:
    always = make_rule("side-effects.settings", check_only_call, presupposes=[Fact.CALL])
    layer = ToyLayer(stopped=stop_if_batch_first, own={always.id: lambda case: True})
    faults = find(make_suite(layer, always, *RULES))
    assert always in [fault.root for fault in faults]
    (own,) = (fault for fault in faults if fault.root == always)
    assert not is_batch_first(own.minimum.finding.case)


def test_a_rule_that_was_only_stopped_does_not_name_the_violation_of_another() -> None:
    pickled = make_rule(
        "modules.pickle",
        check_only_call,
        when=lambda case: case.prior_use == "pickled",
        about=["prior_use"],
    )
    arguments = make_rule("side-effects.arguments", check_only_call)
    layer = ToyLayer(
        stopped=lambda case: "no" if case.prior_use == "pickled" and case.steps > 2 else "",
        own={"side-effects.arguments": lambda case: case.prior_use == "pickled"},
    )
    (fault,) = find(make_suite(layer, pickled, arguments))
    assert fault.root is arguments
    assert fault.minimum.finding.message == "side-effects.arguments does not hold"


def test_an_earlier_use_names_a_fault_also_if_its_rule_rests_on_another_one() -> None:
    def is_pickled(case: ToyCase) -> bool:
        return case.prior_use == "pickled"

    arguments = make_rule("side-effects.arguments", check_only_call)
    pickled = make_rule(
        "modules.pickle", when=is_pickled, about=["prior_use"], presupposes=[arguments.id]
    )
    layer = ToyLayer(wrong=is_pickled, own={arguments.id: is_pickled})
    (fault,) = find(make_suite(layer, pickled, arguments))
    assert fault.root is pickled


def test_a_case_is_observed_once_for_all_minimal_cases_that_pass_it() -> None:
    checked: list[ToyCase] = []

    @dataclass(frozen=True)
    class Counted(ToySuite):
        def observe(self, case: ToyCase) -> ToyObservation:
            checked.append(case)
            return super().observe(case)

    search = Search(Counted(ToyLayer(wrong=lambda case: True), ()), [])
    for _ in range(2):
        assert Fact.RESULTS in search.find_broken_facts(ToyCase(), with_gradients=True)
        assert search.find_blocker(ToyCase(2)) is None
    assert checked == [ToyCase(), ToyCase(2)]

"""The search for the faults that explain the failures of a subject.

A fault explains failures: by a known mistake or two of them, by a situation, by an exception that
stops the call, or as a single rule that fails. The search takes the simplest failure that no fault
covers, finds its best explanation, assigns every failure that it explains to the fault, and goes on
with the rest. Faults hide other faults, so the search then checks the failing rules in cases
without the known faults, and explains the failures that it finds there in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any

from rnnspec.contract.clauses import Level
from rnnspec.diagnosis.by_result import separate_results
from rnnspec.diagnosis.by_rule import cover_rules, cover_stops, release_unexplained
from rnnspec.diagnosis.events import Event, FaultKind
from rnnspec.diagnosis.fault import Fault
from rnnspec.diagnosis.joining import are_same, join_following
from rnnspec.diagnosis.late_causes import (
    find_causes_of_calls,
    find_late_causes,
    leave_out_unrelated_causes,
)
from rnnspec.diagnosis.numbers import cover_numbers
from rnnspec.diagnosis.recheck import check_beyond, check_without
from rnnspec.diagnosis.search import Search
from rnnspec.diagnosis.suite import Budget, ExplainedSuite
from rnnspec.engine.campaign import Watcher, check_by_all
from rnnspec.engine.minimise import MinimalFailure
from rnnspec.engine.outcome import Blocker, CaseT, FailingCase, ObservedT, Progress, Tally
from rnnspec.engine.postponed import check_postponed
from rnnspec.rulekit.questions import postpone_questions
from rnnspec.text import ask_for_report

SPENT = (
    "the search for likely causes has used up its budget, so that a fault without one may have one "
    "that was not tried; more cases, as of --profile default, allow a longer search"
)
# For an RNN that returns its state in a tuple, checking all rules again takes as long as the run
# did, and 12 cases of each rule take two thirds of that time. The search keeps as many failing
# cases of each rule.
MOST_ARRANGED = 12
"""The number of cases used to check a rule again with results in the documented form."""


def find_faults(
    suite: ExplainedSuite[CaseT, ObservedT],
    progress: Progress[CaseT],
    *,
    until: Collection[Level] = (),
    remark: Callable[[str], object] = tuple,
    watch: Watcher | None = None,
) -> list[Fault[CaseT]]:
    """Return the faults behind the failing cases, the most important first.

    First check the rules that the campaign postponed, and add their outcomes to `progress`. After
    KeyboardInterrupt, or if the search itself fails, each failing rule that is part of no fault
    becomes a fault of its own; for a failed search, call `remark` with a text about it. Stop at the
    first fault of a level in `until`. Call `watch` with the number of failures that faults explain
    so far, and the number of all failures.
    """
    check_postponed(suite, progress)
    cases = sorted(progress.failing.values(), key=lambda case: case.index)
    budget = Budget.for_cases(progress.cases)
    search = Search(suite, cases, until=until, watch=watch, budget=budget)
    try:
        if progress.ends_now:
            raise KeyboardInterrupt
        _take_steps(search, progress)
        _add_beneath(search, remark)
    except KeyboardInterrupt:
        progress.stopped = progress.ends_now = True
    except Exception as error:
        remark(describe_failed_search(error))
    if budget.is_spent:
        remark(SPENT)
    if not search.is_done:
        _add_missing(search, progress)
    for fault in search.faults:
        if fault.kind is FaultKind.BLOCKED:
            fault.avoided_by = _name_feature(suite, fault)
    return sorted(search.faults, key=_measure_importance)


def _take_steps(search: Search[CaseT, ObservedT], progress: Progress[CaseT]) -> None:
    for step in STEPS:
        if not search.is_done:
            step(search, progress)


def _add_beneath(search: Search[CaseT, ObservedT], remark: Callable[[str], object]) -> None:
    """Add the faults that are hidden because the results have a wrong form.

    Rules that were stopped by the form are checked once more, using results in the documented form.
    A fault that is found in this way keeps only the failures of its root.
    """
    for fault in list(search.faults):
        cases = [each for each in fault.cases.values() if _is_of_form(each.blocker)]
        if search.is_done or fault.kind is not FaultKind.BLOCKED or not cases:
            continue
        for made in _find_beneath(search, cases):
            is_known = any(are_same(search, each, made) for each in search.faults)
            # A layer may refuse its own results in another form, so a stopped call is no fault
            # here.
            is_stopped = made.kind is FaultKind.BLOCKED or made.minimum.finding.blocker is not None
            if not (is_stopped or is_known):
                own = [each for each in made.events if each.rule == made.root.id]
                events = own or made.events[:1]
                search.faults.append(replace(made, events=events, beneath=fault))
                remark(
                    f"{fault.root.id} hides {made.root.id}, which was found with the results put "
                    "into the documented form"
                )


def _find_beneath(
    search: Search[CaseT, ObservedT], cases: Iterable[FailingCase[CaseT]]
) -> list[Fault[CaseT]]:
    """Return the faults of rules that were stopped by the form of the results in some cases."""
    suite = search.suite.arrange_results()
    progress: Progress[CaseT] = Progress({rule.id: Tally() for rule in suite.rules})
    for case in sorted(cases, key=lambda case: case.index):
        stopped = [name for name, each in case.findings.items() if _is_of_form(each.blocker)]
        due = [name for name in stopped if progress.tallies[name].cases < MOST_ARRANGED]
        if not due:
            continue
        rules = [search.rules[name] for name in due]
        # Rules that build further layers are postponed, and only a few failing cases of each are
        # checked then: a layer that is wrong in every case made them build 560 layers in a quick
        # run.
        with postpone_questions():
            outcomes, found = check_by_all(suite, rules, case.index, case.case)
        for name, outcome in outcomes.items():
            progress.tallies[name].add(outcome)
        if found is not None:
            progress.failing[case.index] = found
    check_postponed(suite, progress)
    left = [_leave_out_form(each) for each in progress.failing.values()]
    progress.failing = {each.index: each for each in left if each.findings}
    beneath = Search(
        suite, list(progress.failing.values()), until=search.until, budget=search.budget
    )
    _take_steps(beneath, progress)
    return beneath.faults


def _is_of_form(blocker: Blocker | None) -> bool:
    return blocker is not None and blocker.is_form


def _leave_out_form(case: FailingCase[CaseT]) -> FailingCase[CaseT]:
    """Return a failing case without the rules that are stopped by the form of results."""
    findings = {name: each for name, each in case.findings.items() if not _is_of_form(each.blocker)}
    return replace(case, findings=findings)


def describe_failed_search(error: Exception) -> str:
    """Return a remark about an exception raised by the search for faults."""
    return (
        f"the search for faults failed ({type(error).__name__}: {error}), which is a mistake "
        f"of rnnspec; the remaining failures are listed rule by rule, and {ask_for_report()}"
    )


def _name_feature(suite: ExplainedSuite[CaseT, ObservedT], fault: Fault[CaseT]) -> str:
    """Return the feature without which a fault does not show, preferably a feature of its rule."""
    case, needed = fault.situation.finding.case, fault.situation.needed
    return suite.name_feature(case, needed & fault.root.about) or suite.name_feature(case, needed)


def _cover_seen(search: Search[CaseT, ObservedT], progress: Progress[CaseT]) -> None:
    """Explain the failures of the run."""
    _cover(search, search.events)


def _cover_stopped(search: Search[CaseT, ObservedT], progress: Progress[CaseT]) -> None:
    """Explain failures of rules that were stopped too often, in cases where nothing stops them."""
    stopping = [situation for fault in search.faults for situation in fault.situations]
    _cover(search, search.add_cases(check_without(search.suite, progress, stopping)))


def _cover_hidden(search: Search[CaseT, ObservedT], progress: Progress[CaseT]) -> None:
    """Explain failures of rules in cases without the known faults."""
    absent = list(search.faults)
    events = search.add_cases(check_beyond(search.suite, progress, absent))
    _cover(search, events, absent)


def _cover(
    search: Search[CaseT, ObservedT],
    events: Iterable[Event[CaseT]],
    absent: Sequence[Fault[CaseT]] = (),
) -> None:
    """Find faults until each of these failures is part of a fault.

    The faults in `absent` do not show in the cases of these failures.
    """
    failures = list(events)
    # Stopped calls and wrong numbers come first, because other rules presuppose right numbers.
    of_calls = [event for event in failures if _concerns_call(event)]
    unsteady = cover_numbers(search, of_calls)
    others = [event for event in failures if not _concerns_call(event)]
    cover_rules(search, cover_stops(search, [*others, *unsteady], absent), absent)


def _concerns_call(event: Event[Any]) -> bool:
    """Return whether the checked call is stopped, or a call has wrong numbers."""
    # If only a call that a rule makes itself is stopped, that rule is the best name for the fault.
    if event.kind is FaultKind.BLOCKED:
        return event.blocker == event.case.blocker and event.shown == event.case.case
    return event.kind is not FaultKind.REQUIREMENT


STEPS: tuple[Callable[[Search[Any, Any], Progress[Any]], None], ...] = (
    _cover_seen,
    _cover_stopped,
    _cover_hidden,
    lambda search, progress: find_late_causes(search),
    lambda search, progress: separate_results(search),
    lambda search, progress: release_unexplained(search),
    lambda search, progress: find_causes_of_calls(search),
    lambda search, progress: join_following(search),
    lambda search, progress: leave_out_unrelated_causes(search),
)
"""The steps of the search, in order. Each step works on the failures that earlier steps left."""


def _add_missing(search: Search[CaseT, ObservedT], progress: Progress[CaseT]) -> None:
    """Add a fault for each failing rule that is part of no fault, so that no failure is lost."""
    explained = {event.rule for fault in search.faults for event in fault.events}
    for rule in search.suite.rules:
        first = progress.tallies[rule.id].first
        if first is None or rule.id in explained:
            continue
        case = FailingCase(first.index, first.case, {rule.id: first})
        event = Event(rule.id, case, first.case, FaultKind.REQUIREMENT)
        minimum = MinimalFailure(first, interrupted=True)
        fault = Fault(FaultKind.REQUIREMENT, rule, [minimum], minimum, [event])
        search.faults.append(fault)


def _measure_importance(fault: Fault[Any]) -> tuple[bool, int, int]:
    is_minor = fault.root.level is not Level.MUST
    return is_minor, list(FaultKind).index(fault.kind), -len(fault.events)

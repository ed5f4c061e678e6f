"""Faults: explanations that cover the failures of a subject.

A fault is an explanation of failures: a known mistake, two of them, a situation, whatever stops
the call, or a rule by itself. The search takes the simplest failure that no fault covers, finds the
best explanation of it, lets it cover all that it explains, and goes on with the rest. Faults hide
others, so the search then judges the rules that fail in cases without the known faults, and covers
the failures that it finds there in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, TypeVar

from rnnspec.contract.clauses import Level
from rnnspec.diagnosis.budget import Budget
from rnnspec.diagnosis.by_result import separate_results
from rnnspec.diagnosis.by_rule import cover_rules, cover_stops, release_unexplained
from rnnspec.diagnosis.events import Event, FaultKind
from rnnspec.diagnosis.fault import Fault
from rnnspec.diagnosis.joining import join_following
from rnnspec.diagnosis.late_causes import (
    find_causes_of_calls,
    find_late_causes,
    leave_out_unrelated_causes,
)
from rnnspec.diagnosis.numbers import cover_numbers
from rnnspec.diagnosis.recheck import judge_beyond, judge_without
from rnnspec.diagnosis.search import Search
from rnnspec.diagnosis.suite import ExplainedSuite
from rnnspec.engine.campaign import Watcher
from rnnspec.engine.minimise import MinimalFailure
from rnnspec.engine.observed import Observed
from rnnspec.engine.outcome import FailingCase, Progress
from rnnspec.engine.postponed import judge_postponed
from rnnspec.text import ask_for_report

CaseT = TypeVar("CaseT")
ObservedT = TypeVar("ObservedT", bound=Observed[Any])
SPENT = (
    "the search for likely causes has used up its budget, so that a fault without one may have one "
    "that was not tried; more cases, as of --profile default, allow a longer search"
)


def find_faults(
    suite: ExplainedSuite[CaseT, ObservedT],
    progress: Progress[CaseT],
    *,
    until: Collection[Level] = (),
    remark: Callable[[str], object] = tuple,
    watch: Watcher | None = None,
) -> list[Fault[CaseT]]:
    """Return the faults behind the failing cases, the most important first.

    Rules that the campaign postponed are judged first, and what they say is added to `progress`.
    After KeyboardInterrupt, the failures that belong to no fault yet are faults of their own, as
    they are; so are they if the search itself fails, and `remark` is given a text that says so. The
    search ends at the first fault of a level in `until`. `watch` is called with the number of
    failures that faults explain so far, and of all.
    """
    judge_postponed(suite, progress)
    cases = sorted(progress.failing.values(), key=lambda case: case.index)
    budget = Budget.for_cases(progress.cases)
    search = Search(suite, cases, until=until, watch=watch, budget=budget)
    try:
        if progress.ends_now:
            raise KeyboardInterrupt
        for step in STEPS:
            step(search, progress)
            if search.is_done:
                break
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


def describe_failed_search(error: Exception) -> str:
    """Return a remark on an exception that is raised while faults are searched for."""
    return (
        f"the search for faults failed ({type(error).__name__}: {error}), which is a mistake "
        f"of rnnspec; what it had not looked at is told rule by rule, and {ask_for_report()}"
    )


def _name_feature(suite: ExplainedSuite[CaseT, ObservedT], fault: Fault[CaseT]) -> str:
    """Return the feature without which a fault does not show, one that its rule is about first."""
    case, needed = fault.situation.finding.case, fault.situation.needed
    return suite.name_feature(case, needed & fault.root.about) or suite.name_feature(case, needed)


def _cover_seen(search: Search[CaseT, ObservedT], progress: Progress[CaseT]) -> None:
    """Cover the failures that the run has found."""
    _cover(search, search.events)


def _cover_stopped(search: Search[CaseT, ObservedT], progress: Progress[CaseT]) -> None:
    """Cover the failures of rules that were stopped, in cases that nothing stops."""
    stopping = [situation for fault in search.faults for situation in fault.situations]
    _cover(search, search.add_cases(judge_without(search.suite, progress, stopping)))


def _cover_hidden(search: Search[CaseT, ObservedT], progress: Progress[CaseT]) -> None:
    """Cover the failures of rules in cases in which the known faults are absent."""
    absent = list(search.faults)
    events = search.add_cases(judge_beyond(search.suite, progress, absent))
    _cover(search, events, absent)


def _cover(
    search: Search[CaseT, ObservedT],
    events: Iterable[Event[CaseT]],
    absent: Sequence[Fault[CaseT]] = (),
) -> None:
    """Find faults until each of these failures is part of one; some faults are `absent` there.

    First come calls that are stopped or have wrong numbers, since rules rest on these facts.
    """
    failures = list(events)
    of_calls = [event for event in failures if _concerns_call(event)]
    unsteady = cover_numbers(search, of_calls)
    others = [event for event in failures if not _concerns_call(event)]
    cover_rules(search, cover_stops(search, [*others, *unsteady], absent), absent)


def _concerns_call(event: Event[Any]) -> bool:
    """Return whether the judged call is stopped, or a call has wrong numbers.

    If only a call that a rule makes itself is stopped, the rule explains that best.
    """
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
"""The steps of the search, in order: each looks at the failures that the steps before it left."""


def _add_missing(search: Search[CaseT, ObservedT], progress: Progress[CaseT]) -> None:
    """Add a fault for each failing rule that is part of none, so that nothing is lost."""
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

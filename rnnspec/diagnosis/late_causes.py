"""Likely causes that are found only when the cases of other faults are known."""

from __future__ import annotations

from typing import Any, TypeVar

from rnnspec.diagnosis.events import FACT_OF_KIND, Event, FaultKind
from rnnspec.diagnosis.fault import Fault
from rnnspec.diagnosis.search import Search
from rnnspec.diagnosis.telling import rename_fault
from rnnspec.engine.explanations import LikelyCause
from rnnspec.engine.minimise import MinimalFailure, is_in_any
from rnnspec.engine.observed import Observed

CaseT = TypeVar("CaseT")
ObservedT = TypeVar("ObservedT", bound=Observed[Any])
# Not measured: a limit on the calls, of which a rule may make several in each case.
MOST_CALLED = 4
"""In so many cases a rule makes its own calls again: the minimal case, and the largest ones, in
which fewer mistakes do the same."""
# Not measured. That a fault shows is known by its situation, which may be told too narrowly.
MOST_OVERLOOKED = 0.2
"""In so large a share of its cases, another fault may show without being known to."""


def find_late_causes(search: Search[CaseT, ObservedT]) -> None:
    """Find the likely causes of faults in numbers now that the cases of other faults are known.

    A case in which two faults show says nothing about one mistake. With its cause, a fault may have
    a better name.
    """
    for fault in search.faults:
        if fault.cause is not None or fault.kind not in FACT_OF_KIND or len(search.faults) < 2:
            continue
        others = _list_other_situations(search, fault)
        outside = [
            event
            for event in fault.events
            if event.kind is fault.kind and not is_in_any(search.suite.space, event.shown, others)
        ]
        alone = _leave_out_affected(search, fault, outside) or outside
        is_apart = not is_in_any(search.suite.space, fault.situation.finding.case, others)
        minimum = fault.situation if is_apart else None
        cause = _find_main_cause(search, fault.kind, alone, minimum) if alone else None
        cause = cause or _find_further_cause(search, fault)
        if cause is not None:
            fault.cause = cause
            rename_fault(search, fault, alone or fault.events)


def find_causes_of_calls(search: Search[CaseT, ObservedT]) -> None:
    """Find the likely causes of faults that show only in calls which their rule makes by itself."""
    for fault in search.faults:
        if fault.cause is not None or fault.kind is not FaultKind.REQUIREMENT:
            continue
        own = [event for event in fault.events if event.rule == fault.root.id]
        cases = [fault.minimum.finding.case]
        cases += [event.case.case for event in search.sort_simplest(own)[::-1]]
        failing = map(search.suite.observe, list(dict.fromkeys(cases))[:MOST_CALLED])
        fault.cause = search.suite.find_cause_of_calls(fault.root, failing)


def _leave_out_affected(
    search: Search[CaseT, ObservedT], fault: Fault[CaseT], events: list[Event[CaseT]]
) -> list[Event[CaseT]]:
    """Return the events in whose cases the likely causes of other faults do nothing.

    Such a cause may act in more cases than in the situation in which its fault was found.
    """
    causes = [
        other.cause
        for other in search.faults
        if other is not fault and other.cause is not None and other.kind is FaultKind.RESULTS
    ]

    def is_affected(case: CaseT) -> bool:
        return any(search.suite.can_explain(cause, case) for cause in causes)

    return [event for event in events if not is_affected(event.shown)]


def _find_main_cause(
    search: Search[CaseT, ObservedT],
    kind: FaultKind,
    events: list[Event[CaseT]],
    minimum: MinimalFailure[CaseT] | None,
) -> LikelyCause | None:
    """Return the likely cause of all events, or of nearly all: others may have been overlooked."""
    fact = FACT_OF_KIND[kind]
    cause = search.find_cause(kind, events, fact, minimum=minimum)
    if cause is not None:
        return cause
    cause = search.find_cause(kind, events, fact, is_partial=True, minimum=minimum)
    if cause is None:
        return None
    gradients = kind is FaultKind.GRADIENTS
    seen = [search.observe(case) for case in dict.fromkeys(event.shown for event in events)]
    verdicts = [search.suite.is_explained(cause, each, gradients=gradients) for each in seen]
    return cause if verdicts.count(False) <= MOST_OVERLOOKED * len(verdicts) else None


def _find_further_cause(
    search: Search[CaseT, ObservedT], fault: Fault[CaseT]
) -> LikelyCause | None:
    """Return what explains a fault together with the likely cause of one that shows everywhere."""
    events = [event for event in fault.events if event.kind is fault.kind]
    for other in search.faults:
        is_of_calls = fault.kind is FaultKind.BLOCKED and other.kind is FaultKind.RESULTS
        is_alike = other.kind is fault.kind or is_of_calls
        if is_alike and events and _shows_in(search, other, fault):
            cause = search.find_cause(
                fault.kind, events, FACT_OF_KIND[fault.kind], besides=other.cause
            )
            if cause is not None:
                return cause
    return None


def _shows_in(search: Search[CaseT, ObservedT], one: Fault[CaseT], other: Fault[CaseT]) -> bool:
    """Return whether a fault has a likely cause and shows in all cases, or in those of another."""
    if one.cause is None:
        return False
    is_everywhere = any(not each.needed for each in one.situations)
    return is_everywhere or search.suite.can_explain(one.cause, other.situation.finding.case)


def _list_other_situations(
    search: Search[CaseT, Any], fault: Fault[CaseT]
) -> list[MinimalFailure[CaseT]]:
    others = (other for other in search.faults if other is not fault)
    return [situation for other in others for situation in other.situations]

"""Faults in results and in gradients: the situations in which these are wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from rnnspec.cases.case import SIZES
from rnnspec.diagnosis.events import Event, FaultKind
from rnnspec.diagnosis.fault import Fault
from rnnspec.diagnosis.joining import join_covering, join_hidden_results, join_stopped
from rnnspec.diagnosis.mixture import separate_faults
from rnnspec.diagnosis.naming import NUMERIC
from rnnspec.diagnosis.search import Search
from rnnspec.diagnosis.telling import add_fault
from rnnspec.engine.explanations import LikelyCause
from rnnspec.engine.minimise import MinimalFailure, Probe, is_in_any, minimise
from rnnspec.engine.observed import Observed
from rnnspec.engine.outcome import Finding
from rnnspec.rulekit.rule import Fact
from rnnspec.rulekit.violation import ErrorSize

CaseT = TypeVar("CaseT")
ObservedT = TypeVar("ObservedT", bound=Observed[Any])
# Not measured: each fault takes up to 160 cases to minimise, and what is left has no cause.
MOST_FAULTS = 4
"""After so many faults, the rest of the wrong cases are added to the last one."""
# Not measured: a limit on the calls for a layer whose results depend on what was called before.
MOST_UNSTEADY = 24
"""So many cases are tried again to find one that is wrong in a new layer too."""


def find_wrong(search: Search[CaseT, ObservedT], kind: FaultKind, fact: Fact) -> None:
    """Find the faults in results or gradients: situations that cover all wrong cases.

    If one mistake explains all of them, or all are only inaccurate, they are one fault.
    """
    events = _list_wrong(search, kind)
    cause = search.find_common_cause(kind, events, fact)
    for _ in range(MOST_FAULTS):
        if search.is_done or not events or join_stopped(search, events):
            return
        events = _start_with_steady(search, fact, events)
        if not events:
            break
        start = events[0]
        probe = probe_fact(search, fact, start.case.index, _list_others(search, start))
        found = Finding(start.case.index, start.shown, fact.value)
        is_hidden = _find_hiding(search, fact, start)
        minimum = minimise(search.suite.space, found, probe, is_hidden=is_hidden)
        if fact is Fact.GRADIENTS and join_hidden_results(search, minimum.finding.case, events):
            return
        if fact is Fact.GRADIENTS and join_covering(
            search, minimum.finding.case, [start], FaultKind.RESULTS, needs_something=True
        ):
            events = [event for event in events if event is not start]
            continue
        minimum, covered = _list_covered(search, kind, minimum, start, events, cause)
        mixture = (
            separate_faults(search, kind, fact, minimum, covered, probe, cause) if covered else None
        )
        if mixture is not None and mixture.events and mixture.others:
            first = add_fault(search, kind, mixture.minimum, mixture.events, fact, mixture.cause)
            add_fault(
                search, kind, mixture.hidden, mixture.others, fact, mixture.further, beside=first
            )
            told = {id(event) for event in covered}
            events = [event for event in events if id(event) not in told]
            continue
        fault = _add_beside(search, kind, minimum, covered or [start], fact, cause)
        events = _list_unexplained(search, fault, events, kind)
    same = [fault for fault in search.faults if fault.kind is kind]
    if same:
        same[-1].events.extend(events)
    else:
        search.unexplained += events


def _list_covered(
    search: Search[CaseT, ObservedT],
    kind: FaultKind,
    minimum: MinimalFailure[CaseT],
    start: Event[CaseT],
    events: Sequence[Event[CaseT]],
    cause: LikelyCause | None,
) -> tuple[MinimalFailure[CaseT], list[Event[CaseT]]]:
    """Return the failures of a fault that was found in a minimal case, with what it needs."""
    covered = [
        event
        for event in events
        if cause
        or search.is_covered(event, minimum)
        or (start.is_small and _is_small(search, event, kind))
    ]
    if kind is FaultKind.RESULTS and not cause:
        return _add_misreturned(search, minimum, covered, events)
    return minimum, covered


def _add_misreturned(
    search: Search[CaseT, ObservedT],
    minimum: MinimalFailure[CaseT],
    covered: list[Event[CaseT]],
    events: Sequence[Event[CaseT]],
) -> tuple[MinimalFailure[CaseT], list[Event[CaseT]]]:
    """Add the failures in which the same result alone is wrong, although it was computed rightly.

    Which choices and sizes show such a fault may be chance, if it depends on the numbers. So it
    needs only those that all of its failures have. A fault that is explained, or that needs a
    choice which has nothing to do with numbers, is left as it is.
    """
    if minimum.needed - NUMERIC - set(SIZES):
        return minimum, covered
    name = search.suite.find_misreturned(search.observe(minimum.finding.case))
    if not name or search.find_common_cause(FaultKind.RESULTS, covered, Fact.RESULTS):
        return minimum, covered
    taken = {id(event) for event in covered}
    more = [
        event
        for event in events
        if id(event) not in taken
        and search.suite.find_misreturned(search.observe(event.shown)) == name
    ]
    space, case = search.suite.space, minimum.finding.case
    kept = {
        each
        for each in minimum.needed
        if all(space.is_covered(event.shown, case, {each}) for event in more)
    }
    narrowed = replace(
        minimum,
        passed={key: value for key, value in minimum.passed.items() if key in kept},
        required=tuple(each for each in minimum.required if each in kept),
    )
    return narrowed, [*covered, *more]


def _start_with_steady(
    search: Search[CaseT, ObservedT], fact: Fact, events: Sequence[Event[CaseT]]
) -> list[Event[CaseT]]:
    """Return the failures from the simplest on that comes back in a new layer, as far as is tried.

    Those before it are left unexplained: all rules judge a case on the same layer, so what one of
    them did to it may fail the next.
    """
    events = search.sort_simplest(events)
    for _ in range(MOST_UNSTEADY):
        if not events:
            break
        start = events[0]
        probe = probe_fact(search, fact, start.case.index, _list_others(search, start))
        if probe(start.shown) is not None:
            return events
        search.unexplained += [event for event in events if event.shown == start.shown]
        events = [event for event in events if event.shown != start.shown]
    search.unexplained += events
    return []


def _add_beside(
    search: Search[CaseT, ObservedT],
    kind: FaultKind,
    minimum: MinimalFailure[CaseT],
    events: list[Event[CaseT]],
    fact: Fact,
    cause: LikelyCause | None,
) -> Fault[CaseT]:
    """Add a fault; if nothing explains it by itself, what does together with one found before."""
    cause = cause or search.find_common_cause(kind, events, fact)
    if cause is None:
        for known in search.faults:
            if known.kind is kind and known.cause is not None:
                further = search.find_cause(kind, events, fact, besides=known.cause)
                if further is not None:
                    return add_fault(search, kind, minimum, events, fact, further, beside=known)
    return add_fault(search, kind, minimum, events, fact, cause)


def probe_fact(
    search: Search[CaseT, ObservedT],
    fact: Fact,
    index: int,
    others: Sequence[MinimalFailure[CaseT]] = (),
) -> Probe[CaseT]:
    """Return a probe that fails if a fact does not hold in a case outside some situations.

    `index` is that of the case from which the search starts.
    """

    def probe(case: CaseT) -> Finding[CaseT] | None:
        if search.is_closed(case) or is_in_any(
            search.suite.space, case, others, needs_something=True
        ):
            return None
        is_wrong = fact in search.suite.find_broken_facts(
            search.suite.observe(case), with_gradients=fact is Fact.GRADIENTS
        )
        return Finding(index, case, fact.value) if is_wrong else None

    return probe


def _find_hiding(
    search: Search[CaseT, ObservedT], fact: Fact, start: Event[CaseT]
) -> Callable[[CaseT], bool]:
    """Return whether a case shows nothing of a fault: another one stops it, or may show there."""
    others = _list_others(search, start)
    shows_nothing = search.is_stopped if fact is Fact.RESULTS else search.hides_gradients
    return lambda case: (
        is_in_any(search.suite.space, case, others, needs_something=True) or shows_nothing(case)
    )


def _list_others(
    search: Search[CaseT, ObservedT], start: Event[CaseT]
) -> list[MinimalFailure[CaseT]]:
    """Return the situations of known faults in which a failing case does not lie.

    What is wrong there is another fault, even if the case becomes simpler there.
    """
    space = search.suite.space
    return [
        each
        for fault in search.open_faults
        for each in fault.situations
        if not space.is_covered(start.shown, each.finding.case, each.needed)
    ]


def _is_small(search: Search[CaseT, ObservedT], event: Event[CaseT], kind: FaultKind) -> bool:
    """Return whether the wrong numbers of a case are nearly right, whatever the rule names."""
    gradients = kind is FaultKind.GRADIENTS
    return event.is_small or (
        search.suite.measure_error(search.observe(event.shown), gradients=gradients)
        is ErrorSize.SMALL
    )


def _list_wrong(search: Search[CaseT, ObservedT], kind: FaultKind) -> list[Event[CaseT]]:
    """Return the failures in which a fact does not hold, and which no known fault explains.

    If that is so only of calls that rules made themselves, these rules tell what is wrong.
    """
    events = [event for event in search.events if event.kind is kind]
    stopped = {id(event) for event in events if _is_stopped_elsewhere(search, event)}
    search.unexplained += [event for event in events if id(event) in stopped]
    events = [event for event in events if id(event) not in stopped]
    of_results = [each for each in search.open_faults if each.kind is not kind]
    for fault in (*search.closed, *of_results):
        events = _join_explained(search, fault, events, kind)
    if any(event.shown == event.case.case for event in events):
        return events
    search.unexplained += events
    return []


def _is_stopped_elsewhere(search: Search[CaseT, ObservedT], event: Event[CaseT]) -> bool:
    """Return whether a rule made another call that was stopped, and so has no wrong numbers."""
    if event.shown == event.case.case:
        return False
    return search.suite.find_blocker(search.observe(event.shown)) is not None


def _list_unexplained(
    search: Search[CaseT, ObservedT],
    fault: Fault[CaseT],
    events: list[Event[CaseT]],
    kind: FaultKind,
) -> list[Event[CaseT]]:
    """Add the events to a fault that its likely cause explains, and return the rest."""
    taken = {id(event) for event in fault.events}
    rest = [event for event in events if id(event) not in taken]
    return _join_explained(search, fault, rest, kind)


def _join_explained(
    search: Search[CaseT, ObservedT],
    fault: Fault[CaseT],
    events: Sequence[Event[CaseT]],
    kind: FaultKind,
) -> list[Event[CaseT]]:
    """Make the events that the likely cause of a fault explains part of it; return the others."""
    shown = dict.fromkeys(event.shown for event in events)
    explained = {
        case
        for case in shown
        if search.explains(fault, case, kind) or search.may_explain(fault, case, kind)
    }
    fault.events.extend(event for event in events if event.shown in explained)
    return [event for event in events if event.shown not in explained]

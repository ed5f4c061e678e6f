"""Faults that stop calls, or make results or gradients wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rnnspec.diagnosis.events import FACT_OF_KIND, OF_NUMBERS, Event, FaultKind
from rnnspec.diagnosis.explaining import LEAST_EXPLAINED, find_cover, find_same_stop
from rnnspec.diagnosis.fault import Fault
from rnnspec.diagnosis.joining import add_fault
from rnnspec.diagnosis.mixture import separate_faults
from rnnspec.diagnosis.search import Search
from rnnspec.engine.explanations import LikelyCause
from rnnspec.engine.minimise import MinimalFailure, Probe, is_in_any, minimise
from rnnspec.engine.outcome import CaseT, Finding, FindingKind, ObservedT, describe_blocker
from rnnspec.rulekit.rule import Fact
from rnnspec.rulekit.violation import ErrorSize
from rnnspec.subjects.failures import find_stage
from rnnspec.subjects.steps import EARLIER_CALL

# Halving or doubling it changes no report of 16 wrong layers (`python -m benchmarks.thresholds`).
# Minimising each fault takes up to 160 cases, and the remaining failures have no cause.
MOST_FAULTS = 4
"""The number of faults of a kind after which the remaining failures are added to the last fault."""
# Halving or doubling it changes no report of 16 wrong layers (`python -m benchmarks.thresholds`).
# It limits the number of calls for a layer whose results depend on earlier calls.
MOST_UNSTEADY = 24
"""The number of cases that are tried again to find a failure that recurs in a new layer."""


def cover_numbers(
    search: Search[CaseT, ObservedT], events: Sequence[Event[CaseT]]
) -> list[Event[CaseT]]:
    """Find the faults behind stopped calls and wrong numbers.

    Return the failures that do not recur in a new layer.
    """
    # All rules check a case with the same layer, which an earlier rule may have changed. Failures
    # that come from such a change do not recur in a new layer.
    left: list[Event[CaseT]] = []
    rest = _cover_common(search, events)
    for kind in FACT_OF_KIND:
        left += _cover_kind(search, kind, [event for event in rest if event.kind is kind])
    return left


def _cover_common(
    search: Search[CaseT, ObservedT], events: Sequence[Event[CaseT]]
) -> list[Event[CaseT]]:
    """Find the mistake that stops some calls and makes results of others wrong, if any.

    Return the failures that it does not explain.
    """
    of_calls = [each for each in events if each.kind in (FaultKind.BLOCKED, FaultKind.RESULTS)]
    several = len({event.kind for event in of_calls}) > 1
    cause = search.find_cause(FaultKind.BLOCKED, of_calls, Fact.CALL) if several else None
    if cause is None or not _predicts_stops(search, cause, of_calls):
        return list(events)
    start = search.choose_simplest(of_calls)
    suite = search.suite

    def probe(case: CaseT) -> Finding[CaseT] | None:
        broken = search.find_broken_facts(case)
        return Finding(start.case.index, case, FACT_OF_KIND[start.kind].value) if broken else None

    found = probe(start.shown)
    if found is None:
        return list(events)
    add_fault(search, start.kind, minimise(suite.space, found, probe), of_calls, cause)
    return [event for event in events if event.kind is FaultKind.GRADIENTS]


def _predicts_stops(
    search: Search[CaseT, ObservedT], cause: LikelyCause, events: Iterable[Event[CaseT]]
) -> bool:
    stopped = dict.fromkeys(each.shown for each in events if each.kind is FaultKind.BLOCKED)
    seen = (search.observe(case) for case in stopped)
    predicted = sum(search.suite.is_explained(cause, each) is True for each in seen)
    return predicted >= LEAST_EXPLAINED * len(stopped)


def _cover_kind(
    search: Search[CaseT, ObservedT], kind: FaultKind, events: Sequence[Event[CaseT]]
) -> list[Event[CaseT]]:
    """Find the faults behind failures of a kind, and return the failures that do not recur."""
    left: list[Event[CaseT]] = []
    rest = _leave_out_covered(search, events)
    if kind in OF_NUMBERS and not any(event.shown == event.case.case for event in rest):
        # Only calls that rules make themselves are wrong, and these rules are the best names.
        return rest
    cause = None
    if kind in OF_NUMBERS:
        cause = search.find_common_cause(kind, rest, FACT_OF_KIND[kind])
    for _ in range(MOST_FAULTS):
        if search.is_done or not rest:
            return left
        rest, unsteady = _put_steady_first(search, kind, rest)
        left += unsteady
        if rest:
            rest = _cover_simplest(search, kind, rest, cause)
    last = [fault for fault in search.faults if fault.kind is kind][-1:]
    for fault in last:
        fault.events += rest
    return left if last else left + rest


def _cover_simplest(
    search: Search[CaseT, ObservedT],
    kind: FaultKind,
    events: list[Event[CaseT]],
    cause: LikelyCause | None,
) -> list[Event[CaseT]]:
    """Find one or two faults behind the first failure, and return the unexplained failures."""
    start, fact = events[0], FACT_OF_KIND[kind]
    if kind is FaultKind.GRADIENTS:
        hidden = _find_hiding(search, start.shown)
        if hidden is not None and hidden.needs_nothing:  # it shows in the minimal case as well
            hidden.events += events
            return []
    minimum = minimise_event(search, kind, start)
    if kind is FaultKind.GRADIENTS:
        hidden = _find_hiding(search, minimum.finding.case)
        if hidden is not None:
            hidden.events += events
            return []
        around = _find_around(search, minimum.finding.case)
        if around is not None:
            around.events.append(start)
            return events[1:]
    covered = [
        event
        for event in events
        if cause
        or event is start
        or _lies_in(search, kind, event, minimum)
        or (start.is_small and _is_small(search, kind, event))
    ]
    mixture = None
    if kind in OF_NUMBERS:
        probe = probe_event(search, kind, start)
        mixture = separate_faults(search, kind, fact, minimum, covered, probe, cause)
    if mixture is not None and mixture.events and mixture.others:
        first = add_fault(search, kind, mixture.minimum, mixture.events, mixture.cause)
        add_fault(search, kind, mixture.hidden, mixture.others, mixture.further, beside=first)
    else:
        found = cause or find_cause(search, kind, covered, minimum)
        add_fault(search, kind, minimum, covered, found)
    taken = {id(event) for event in covered}
    return _leave_out_covered(search, (each for each in events if id(each) not in taken))


def find_cause(
    search: Search[CaseT, ObservedT],
    kind: FaultKind,
    events: list[Event[CaseT]],
    minimum: MinimalFailure[CaseT],
) -> LikelyCause | None:
    """Return the known mistake that explains failures, alone or together with a known cause."""
    main = search.find_main_cause(kind, events, FACT_OF_KIND.get(kind), minimum)
    return main or search.find_cause_beside(kind, events)


def _leave_out_covered(
    search: Search[CaseT, ObservedT], events: Iterable[Event[CaseT]]
) -> list[Event[CaseT]]:
    """Add each failure to the first fault that covers it, and return the others."""
    rest: list[Event[CaseT]] = []
    takers: dict[Any, Fault[CaseT] | None] = {}
    for event in events:
        key = event.shown, event.kind
        if key not in takers:
            stops = [event.blocker] if event.kind is FaultKind.BLOCKED else []
            takers[key] = find_cover(search, *key) or find_same_stop(search, stops)
        taker = takers[key]
        if taker is None:
            rest.append(event)
        else:
            taker.events.append(event)
    return rest


def _lies_in(
    search: Search[CaseT, Any],
    kind: FaultKind,
    event: Event[CaseT],
    minimum: MinimalFailure[CaseT],
) -> bool:
    if kind is FaultKind.BLOCKED:
        return event.blocker == minimum.finding.blocker
    return search.is_covered(event, minimum)


def _is_small(search: Search[CaseT, ObservedT], kind: FaultKind, event: Event[CaseT]) -> bool:
    """Return whether the wrong numbers of a case are nearly right, whatever the rule reports."""
    gradients = kind is FaultKind.GRADIENTS
    size = search.suite.measure_error(search.observe(event.shown), gradients=gradients)
    return event.is_small or size is ErrorSize.SMALL


def _find_hiding(search: Search[CaseT, ObservedT], case: CaseT) -> Fault[CaseT] | None:
    """Return the fault in results that rounding hides, so that only gradients show it."""
    wide = search.widen(case)
    if wide is None or not search.find_broken_facts(wide):
        return None
    return find_cover(search, wide, FaultKind.RESULTS)


def _find_around(search: Search[CaseT, ObservedT], case: CaseT) -> Fault[CaseT] | None:
    """Return the fault in results whose situation contains a case with wrong gradients."""
    # The results of a case may be right by chance where its gradients are wrong.
    of_results = (fault for fault in search.faults if fault.kind is FaultKind.RESULTS)
    return next((fault for fault in of_results if search.lies_in(case, fault)), None)


def _put_steady_first(
    search: Search[CaseT, ObservedT], kind: FaultKind, events: Sequence[Event[CaseT]]
) -> tuple[list[Event[CaseT]], list[Event[CaseT]]]:
    """Split sorted failures before the simplest that recurs; return the later part first."""
    # The situation of an error is that of the call that raises it, not the use before another call.
    rest = sorted(search.sort_simplest(events), key=_is_stopped_before)
    left: list[Event[CaseT]] = []
    for _ in range(MOST_UNSTEADY):
        if not rest or probe_event(search, kind, rest[0])(rest[0].shown) is not None:
            return rest, left
        first = rest[0].shown
        left += [event for event in rest if event.shown == first]
        rest = [event for event in rest if event.shown != first]
    return [], left + rest


def _is_stopped_before(event: Event[Any]) -> bool:
    return event.blocker is not None and event.blocker.step == EARLIER_CALL


def _list_others(search: Search[CaseT, Any], start: Event[CaseT]) -> list[MinimalFailure[CaseT]]:
    """Return the situations of known faults that do not contain a failing case."""
    # A failing case that moves into one of these situations while it is simplified shows another
    # fault.
    space = search.suite.space
    situations = (each for fault in search.faults for each in fault.situations)
    return [
        each
        for each in situations
        if not space.is_covered(start.shown, each.finding.case, each.needed)
    ]


def probe_event(
    search: Search[CaseT, ObservedT], kind: FaultKind, start: Event[CaseT]
) -> Probe[CaseT]:
    """Return a probe that fails if a case is stopped or wrong in the same way as a failure."""
    if kind is FaultKind.BLOCKED:
        return _probe_stop(search, start)
    return probe_fact(search, FACT_OF_KIND[kind], start.case.index, _list_others(search, start))


def _probe_stop(search: Search[CaseT, ObservedT], start: Event[CaseT]) -> Probe[CaseT]:

    def probe(case: CaseT) -> Finding[CaseT] | None:
        failure = search.find_blocker(case)
        if failure is None or describe_blocker(failure) != start.blocker:
            return None
        kind = FindingKind.SUBJECT_ERROR
        return Finding(start.case.index, case, str(failure), kind=kind, blocker=start.blocker)

    return probe


def probe_fact(
    search: Search[CaseT, ObservedT],
    fact: Fact,
    index: int,
    others: Sequence[MinimalFailure[CaseT]] = (),
) -> Probe[CaseT]:
    """Return a probe that fails if a fact does not hold in a case outside these situations.

    `index` is the index of the case from which the search starts.
    """
    suite = search.suite

    def probe(case: CaseT) -> Finding[CaseT] | None:
        if is_in_any(suite.space, case, others, needs_something=True):
            return None
        broken = search.find_broken_facts(case, with_gradients=fact is Fact.GRADIENTS)
        return Finding(index, case, fact.value) if fact in broken else None

    return probe


def minimise_event(
    search: Search[CaseT, ObservedT], kind: FaultKind, start: Event[CaseT]
) -> MinimalFailure[CaseT]:
    """Return the minimal case of a failure that recurs in a new layer."""
    suite, others = search.suite, _list_others(search, start)

    def is_hidden(case: CaseT) -> bool:
        """Return whether a case shows nothing of this fault because another fault hides it."""
        if kind is FaultKind.BLOCKED:
            return _is_stopped_earlier(search, case, start)
        if is_in_any(suite.space, case, others, needs_something=True):
            return True
        if kind is FaultKind.RESULTS:
            return search.is_stopped(case)
        return search.hides_gradients(case)

    probe = probe_event(search, kind, start)
    found = probe(start.shown)
    if found is None:
        raise ValueError("expected a failure that comes back in a new layer")
    return minimise(suite.space, found, probe, is_hidden=is_hidden)


def _is_stopped_earlier(search: Search[CaseT, ObservedT], case: CaseT, start: Event[CaseT]) -> bool:
    """Return whether another failure stops the call of a case before this fault can show."""
    other, own = search.find_blocker(case), search.find_blocker(start.shown)
    if other is None or own is None:
        return other is not None
    return find_stage(other) <= find_stage(own)

"""Faults that stop the subject: grouped by what stopped it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, TypeVar

from rnnspec.contract.parts import Part
from rnnspec.diagnosis.events import KIND_OF_FACT, Event, FaultKind
from rnnspec.diagnosis.joining import join_blocker, join_covering, join_related, join_stopped
from rnnspec.diagnosis.merging import merge_presupposed
from rnnspec.diagnosis.search import Search
from rnnspec.diagnosis.telling import add_fault
from rnnspec.engine.explanations import LikelyCause
from rnnspec.engine.minimise import RULE_EVALUATIONS, minimise, probe_rule
from rnnspec.engine.observed import Observed
from rnnspec.engine.outcome import (
    Blocker,
    Finding,
    FindingKind,
    describe_blocker,
)
from rnnspec.rulekit.rule import Fact
from rnnspec.subjects.failures import Failure, find_stage

CaseT = TypeVar("CaseT")
ObservedT = TypeVar("ObservedT", bound=Observed[Any])
# Not measured: a cause that predicts fewer stops leaves most of them to something else.
LEAST_EXPLAINED = 0.5
"""So large a share of the stopped calls a cause must predict that explains wrong results too."""


def find_common(search: Search[CaseT, ObservedT]) -> None:
    """Find the one mistake that explains everything that is wrong with calls, if there is one.

    It may stop the subject in some cases, and give wrong results in others.
    """
    events = [
        event
        for event in search.events
        if event.kind is FaultKind.RESULTS or _stops_judged_call(event)
    ]
    kinds = {event.kind for event in events}
    cause = search.find_cause(FaultKind.BLOCKED, events, Fact.CALL) if len(kinds) == 2 else None
    if cause is None or not _explains_stops(search, cause, events):
        return
    start = search.choose_simplest(events)
    fact = Fact.CALL if start.kind is FaultKind.BLOCKED else Fact.RESULTS

    def probe(case: CaseT) -> Finding[CaseT] | None:
        broken = search.suite.find_broken_facts(search.suite.observe(case))
        return Finding(start.case.index, case, fact.value) if broken else None

    found = probe(start.shown)
    if found is None:
        return
    minimum = minimise(search.suite.space, found, probe)
    add_fault(search, start.kind, minimum, events, fact, cause)
    taken = {id(event) for event in events}
    search.events = [event for event in search.events if id(event) not in taken]


def _stops_judged_call(event: Event[Any]) -> bool:
    """Return whether the call of a case itself is stopped, and not one that a rule makes."""
    return event.kind is FaultKind.BLOCKED and event.blocker == event.case.blocker is not None


def _explains_stops(
    search: Search[CaseT, ObservedT],
    cause: LikelyCause,
    events: list[Event[CaseT]],
    least: float = LEAST_EXPLAINED,
) -> bool:
    """Return whether a likely cause predicts the calls that were stopped, whatever stopped them.

    It must predict a share of at least `least` of them, for each of what stopped them. It says
    nothing of a layer that cannot be built.
    """
    groups: dict[Blocker | None, dict[CaseT, None]] = {}
    for event in events:
        if event.kind is FaultKind.BLOCKED:
            groups.setdefault(event.blocker, {})[event.shown] = None

    def count_explained(cases: Iterable[CaseT]) -> int:
        seen = (search.observe(case) for case in cases)
        return sum(search.suite.is_explained(cause, each) is True for each in seen)

    return all(count_explained(cases) >= least * len(cases) for cases in groups.values())


def group_stopped(search: Search[CaseT, ObservedT]) -> dict[Blocker, list[Event[CaseT]]]:
    """Return the events in which the subject was stopped by what stopped it, most first."""
    groups: dict[Blocker, list[Event[CaseT]]] = {}
    for event in search.events:
        if event.kind is FaultKind.BLOCKED and event.blocker is not None:
            groups.setdefault(event.blocker, []).append(event)
    return dict(sorted(groups.items(), key=lambda pair: -len(pair[1])))


def find_stopped_calls(search: Search[CaseT, ObservedT]) -> None:
    """Find the faults that stop the judged call."""
    for blocker, events in group_stopped(search).items():
        if search.is_done:
            return
        stopped = [event for event in events if event.case.blocker == blocker]
        if stopped and not join_stopped(search, events):
            _add_stopped_call(search, blocker, events, search.choose_simplest(stopped))


def find_stopped_elsewhere(search: Search[CaseT, ObservedT]) -> None:
    """Find the faults that stop the subject in what a rule does besides the judged call."""
    for blocker, events in group_stopped(search).items():
        if any(event.case.blocker == blocker for event in events):
            continue
        if join_blocker(search, blocker, events):
            continue
        rest = [event for event in events if not join_related(search, event.rule, [event])]
        if rest:
            _add_stopped_elsewhere(search, rest)


def absorb_predicted_stops(search: Search[CaseT, ObservedT]) -> None:
    """Make what stops calls part of a fault whose likely cause predicts every one of them.

    The same mistake may be stopped by several things, with messages of their own. If results are
    wrong, such a cause may stop nearly every call, and give results only where sizes are equal by
    chance. What presupposes such results is then part of them, too.
    """
    has_merged = False
    for fault in list(search.faults):
        stopped = [event for event in fault.events if _stops_judged_call(event)]
        if fault.kind is not FaultKind.BLOCKED or fault.cause is not None or not stopped:
            continue
        for other in search.faults:
            cause = other.cause if other.kind in (FaultKind.RESULTS, FaultKind.BLOCKED) else None
            if cause and _explains_stops(search, cause, stopped, least=1.0):
                search.merge(fault, other)
                has_merged = True
                break
    if has_merged:
        search.closed = []
        merge_presupposed(search)


def _add_stopped_call(
    search: Search[CaseT, ObservedT],
    blocker: Blocker,
    events: list[Event[CaseT]],
    start: Event[CaseT],
) -> None:
    finding = start.finding

    @cache
    def find_blocker(case: CaseT) -> Failure | None:
        return search.suite.find_blocker(search.suite.observe(case))

    def probe(case: CaseT) -> Finding[CaseT] | None:
        failure = find_blocker(case)
        if failure is None or describe_blocker(failure) != blocker:
            return None
        kind = FindingKind.SUBJECT_ERROR
        return Finding(finding.index, case, str(failure), kind=kind, blocker=blocker)

    own = find_blocker(start.shown)

    def is_hidden(case: CaseT) -> bool:
        """Return whether something else stops the subject before this fault could."""
        if search.is_closed(case):
            return True
        other = find_blocker(case)
        if other is None or own is None:
            return other is not None
        return find_stage(other) <= find_stage(own)

    minimum = minimise(search.suite.space, finding, probe, is_hidden=is_hidden)
    add_fault(search, FaultKind.BLOCKED, minimum, events, Fact.CALL)


def _add_stopped_elsewhere(search: Search[CaseT, ObservedT], events: list[Event[CaseT]]) -> None:
    rule = search.choose_representative(events)
    start = search.choose_simplest([event for event in events if event.rule == rule.id])
    probe = probe_rule(search.suite, rule, start.finding)
    minimum = minimise(search.suite.space, start.finding, probe, rule.when, RULE_EVALUATIONS)
    case = minimum.finding.case
    broken = search.suite.find_broken_facts(search.suite.observe(case), with_gradients=True)
    if any(join_covering(search, case, events, KIND_OF_FACT[fact]) for fact in broken):
        return
    differentiates = any(search.rules[each.rule].part is Part.GRADIENTS for each in events)
    fact = Fact.GRADIENTS if differentiates else None
    add_fault(search, FaultKind.REQUIREMENT, minimum, events, fact)

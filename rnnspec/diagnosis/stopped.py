"""Faults that stop the subject: grouped by what stopped it."""

from __future__ import annotations

from typing import Any, TypeVar

from rnnspec.contract.parts import Part
from rnnspec.diagnosis.events import KIND_OF_FACT, Event, FaultKind
from rnnspec.diagnosis.joining import join_blocker, join_covering, join_related, join_stopped
from rnnspec.diagnosis.search import Search
from rnnspec.diagnosis.telling import add_fault
from rnnspec.engine.minimise import RULE_EVALUATIONS, minimise, probe_rule
from rnnspec.engine.outcome import (
    Blocker,
    Finding,
    FindingKind,
    describe_blocker,
)
from rnnspec.engine.suite import Observed
from rnnspec.rulekit.rule import Fact

CaseT = TypeVar("CaseT")
ObservedT = TypeVar("ObservedT", bound=Observed[Any])


def find_common(search: Search[CaseT, ObservedT]) -> None:
    """Find the one mistake that explains everything that is wrong with calls, if there is one.

    It may stop the subject in some cases, and give wrong results in others.
    """
    events = [
        event
        for event in search.events
        if event.kind is FaultKind.RESULTS
        or (event.kind is FaultKind.BLOCKED and event.blocker == event.case.blocker)
    ]
    kinds = {event.kind for event in events}
    cause = search.find_cause(FaultKind.BLOCKED, events, Fact.CALL) if len(kinds) == 2 else None
    if cause is None:
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


def _add_stopped_call(
    search: Search[CaseT, ObservedT],
    blocker: Blocker,
    events: list[Event[CaseT]],
    start: Event[CaseT],
) -> None:
    finding = start.finding

    def probe(case: CaseT) -> Finding[CaseT] | None:
        failure = search.suite.find_blocker(search.suite.observe(case))
        if failure is None or describe_blocker(failure) != blocker:
            return None
        kind = FindingKind.SUBJECT_ERROR
        return Finding(finding.index, case, str(failure), kind=kind, blocker=blocker)

    minimum = minimise(search.suite.space, finding, probe, is_hidden=search.is_stopped)
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

"""Faults of all other sorts: requirements that are broken by themselves."""

from __future__ import annotations

from typing import Any, TypeVar

from rnnspec.diagnosis.events import Event, FaultKind
from rnnspec.diagnosis.fault import Fault
from rnnspec.diagnosis.search import Search
from rnnspec.diagnosis.telling import add_fault
from rnnspec.engine.minimise import RULE_EVALUATIONS, MinimalFailure, minimise, probe_rule
from rnnspec.engine.outcome import FindingKind
from rnnspec.engine.suite import Observed
from rnnspec.rulekit.rule import Fact, Rule, Theme

CaseT = TypeVar("CaseT")
ObservedT = TypeVar("ObservedT", bound=Observed[Any])
MANY_FAULTS = 3
"""From so many faults on, less is spent on each."""


def find_others(search: Search[CaseT, ObservedT]) -> None:
    """Find the requirements that are broken by themselves."""
    own: dict[str, list[Event[CaseT]]] = {}
    by_itself = [event for event in search.events if event.kind is FaultKind.REQUIREMENT]
    for event in [*by_itself, *search.unexplained]:
        own.setdefault(event.rule, []).append(event)
    order = [rule.id for rule in search.suite.rules]
    for name in sorted(own, key=lambda name: (-len(own[name]), order.index(name))):
        if search.is_done:
            return
        events = _leave_out_covered(search, own[name])
        if _join_dropout(search, search.rules[name], events):
            continue
        if not search.join_related(name, events):
            _add_other(search, search.rules[name], events)


def _leave_out_covered(
    search: Search[CaseT, ObservedT], events: list[Event[CaseT]]
) -> list[Event[CaseT]]:
    """Make the failures of a rule that lie in the situation of a fault part of it.

    Return the others. If there are none, return all: which fault they are part of is to be seen.
    """
    inside = {
        id(event): fault
        for event in events
        for fault in search.open_faults
        if fault.kind is not FaultKind.GRADIENTS
        and event.finding.kind is not FindingKind.CHECKER_ERROR
        and search.lies_in(event.shown, fault)
    }
    rest = [event for event in events if id(event) not in inside]
    if not rest:
        return events
    for event in events:
        if id(event) in inside:
            inside[id(event)].events.append(event)
    return rest


def _join_dropout(
    search: Search[CaseT, ObservedT], rule: Rule[Any, Any], events: list[Event[CaseT]]
) -> bool:
    """Make a reading of dropout part of results that are wrong only with dropout.

    If dropout drops everything, results can be predicted, and show what is wrong with dropout too.
    What a reading says tells more, so an earlier rule of the theme becomes the name.
    """
    order = [each.id for each in search.suite.rules]
    for fault in search.faults:
        is_shared = fault.kind is FaultKind.RESULTS and "dropout" in fault.situation.needed
        if rule.theme is not Theme.DROPOUT or not is_shared:
            continue
        fault.events.extend(events)
        if fault.root.theme is Theme.DROPOUT and order.index(rule.id) < order.index(fault.root.id):
            fault.root, fault.minimum = rule, _minimise_rule(search, rule, events)
        return True
    return False


def _minimise_rule(
    search: Search[CaseT, ObservedT], rule: Rule[Any, Any], events: list[Event[CaseT]]
) -> MinimalFailure[CaseT]:
    start = search.choose_simplest(events)
    probe = probe_rule(search.suite, rule, start.finding)
    # A layer with many faults of this sort is told with cases that are less small.
    most = RULE_EVALUATIONS if len(search.faults) < MANY_FAULTS else RULE_EVALUATIONS // 4
    return minimise(search.suite.space, start.finding, probe, rule.when, most)


def _add_other(
    search: Search[CaseT, ObservedT], rule: Rule[Any, Any], events: list[Event[CaseT]]
) -> None:
    """Add the fault of a rule that fails by itself.

    On its minimal case, a fact that it rests on may turn out not to hold: what was seen in a
    dtype whose rounding hides the fault is wrong in another.
    """
    minimum = _minimise_rule(search, rule, events)
    if search.join_circumstance(minimum, events):
        return
    kind, fact = search.classify_minimum(rule, minimum.finding)
    case = minimum.finding.case
    if fact is not None:
        hidden = fact is Fact.GRADIENTS and search.join_hidden_results(case, events)
        joined = search.join_explained(case, events, kind) or hidden
        if not joined and not search.join_covering(case, events, kind):
            add_fault(search, kind, minimum, events, fact)
    elif not search.join_hidden(rule, case, events):
        search.faults.append(Fault(kind, rule, [minimum], minimum, events))

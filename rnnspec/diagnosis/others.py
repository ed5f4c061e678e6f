"""Faults of all other sorts: requirements that are broken by themselves."""

from __future__ import annotations

from typing import Any, TypeVar

from rnnspec.contract.parts import Part
from rnnspec.diagnosis.events import Event, FaultKind, find_steady, list_events
from rnnspec.diagnosis.fault import Fault
from rnnspec.diagnosis.joining import (
    join_blocker,
    join_circumstance,
    join_covering,
    join_explained,
    join_hidden,
    join_hidden_results,
    join_near,
    join_related,
    join_side_effect,
    join_stopped,
)
from rnnspec.diagnosis.naming import CIRCUMSTANCES
from rnnspec.diagnosis.recheck import MOST_VARIANTS, list_elsewhere
from rnnspec.diagnosis.search import Search
from rnnspec.diagnosis.telling import add_fault, tell_by
from rnnspec.diagnosis.wrong import probe_fact
from rnnspec.engine.minimise import RULE_EVALUATIONS, MinimalFailure, minimise, probe_rule
from rnnspec.engine.observed import Observed
from rnnspec.engine.outcome import FailingCase, Finding, FindingKind, describe_blocker
from rnnspec.rulekit.rule import Fact, Rule, Theme

CaseT = TypeVar("CaseT")
ObservedT = TypeVar("ObservedT", bound=Observed[Any])
# Not measured: reports with more faults are rare, and their last ones matter least.
MANY_FAULTS = 3
"""From so many faults on, less is spent on each."""


def find_others(search: Search[CaseT, ObservedT]) -> None:
    """Find the requirements that are broken by themselves."""
    own = _group_by_rule(search)
    unsteady = []
    for name, events in own.items():
        if search.is_done:
            return
        if search.rules[name].part not in (Part.MODULE, Part.INTERFACE):
            events = _leave_out_covered(search, events)
        if _join_dropout(search, search.rules[name], events):
            continue
        if join_related(search, name, events):
            continue
        steady = _put_steady_first(search, events)
        if steady:
            _add_other(search, search.rules[name], steady)
        else:
            unsteady.append(name)
    for name in unsteady:
        if not (join_related(search, name, own[name]) or join_side_effect(search, own[name])):
            _add_other(search, search.rules[name], own[name])


def _group_by_rule(search: Search[CaseT, ObservedT]) -> dict[str, list[Event[CaseT]]]:
    """Return the failures that no fault explains yet by rule, in the order to look at them.

    Rules about gradients come last: they rest on results, which other rules may find wrong.
    """
    own: dict[str, list[Event[CaseT]]] = {}
    by_itself = [event for event in search.events if event.kind is FaultKind.REQUIREMENT]
    unexplained = [event for event in search.unexplained if not _join_made(search, event)]
    for event in [*by_itself, *unexplained]:
        own.setdefault(event.rule, []).append(event)
    order = [rule.id for rule in search.suite.rules]

    def rank(name: str) -> tuple[bool, int, int]:
        return search.rules[name].part is Part.GRADIENTS, -len(own[name]), order.index(name)

    return {name: own[name] for name in sorted(own, key=rank)}


def _join_made(search: Search[CaseT, ObservedT], event: Event[CaseT]) -> bool:
    """Make the failure of a rule that made a wrong call part of the fault that shows in it."""
    stopped = event.finding.blocker
    is_joined = stopped is not None and join_blocker(search, stopped, [event])
    return is_joined or join_near(search, event)


def _put_steady_first(
    search: Search[CaseT, ObservedT], events: list[Event[CaseT]]
) -> list[Event[CaseT]]:
    """Return the failures of a rule, a steady one first, or none if no simple one is steady."""
    steady = find_steady(search.suite, search.rules, events)
    return [] if steady is None else [steady, *(each for each in events if each is not steady)]


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
    What a reading says tells more, so an earlier rule of the theme becomes the name, unless the
    likely cause names the fault.
    """
    order = [each.id for each in search.suite.rules]
    for fault in search.faults:
        is_shared = fault.kind is FaultKind.RESULTS and "dropout" in fault.situation.needed
        if rule.theme is not Theme.DROPOUT or not is_shared:
            continue
        fault.events.extend(events)
        is_earlier = order.index(rule.id) < order.index(fault.root.id)
        is_named = fault.cause is not None and fault.root.id == fault.cause.rules[0]
        tells_more = is_earlier and fault.root.theme is Theme.DROPOUT and not is_named
        steady = _put_steady_first(search, events) if tells_more else []
        if steady:
            fault.root, fault.minimum = rule, _minimise_rule(search, rule, steady)
        return True
    return False


def _minimise_rule(
    search: Search[CaseT, ObservedT], rule: Rule[Any, Any], events: list[Event[CaseT]]
) -> MinimalFailure[CaseT]:
    start = events[0]
    probe = probe_rule(search.suite, rule, start.finding)
    # A layer with many faults of this sort is told with cases that are less small.
    most = RULE_EVALUATIONS if len(search.faults) < MANY_FAULTS else RULE_EVALUATIONS // 4

    def applies(case: CaseT) -> bool:
        return rule.when(case) and not search.is_closed(case)

    return minimise(search.suite.space, start.finding, probe, applies, most)


def _add_other(
    search: Search[CaseT, ObservedT], rule: Rule[Any, Any], events: list[Event[CaseT]]
) -> None:
    """Add the fault of a rule that fails by itself.

    On its minimal case, a fact that it rests on may turn out not to hold: what was seen in a
    dtype whose rounding hides the fault is wrong in another. If the rule fails as well where no
    known fault shows, it is another fault.
    """
    minimum = _minimise_rule(search, rule, events)
    if join_circumstance(search, rule, minimum, events):
        return
    kind, fact = search.classify_minimum(rule, minimum.finding)
    case = minimum.finding.case
    if fact is None:
        if not join_hidden(search, rule, case, events):
            _add_named(search, rule, kind, minimum, events)
        return
    if kind is FaultKind.BLOCKED and _join_stopped_alike(search, case, events):
        return
    alone = _minimise_alone(search, rule, minimum.finding)
    if alone is not None:
        search.add_or_merge(Fault(FaultKind.REQUIREMENT, rule, [alone], alone, events))
        return
    minimum = _minimise_fact(search, fact, minimum)
    case = minimum.finding.case
    hidden = fact is Fact.GRADIENTS and join_hidden_results(search, case, events)
    joined = join_explained(search, case, events, kind) or hidden or join_stopped(search, events)
    if not joined and not join_covering(search, case, events, kind):
        add_fault(search, kind, minimum, events, fact)


def _minimise_fact(
    search: Search[CaseT, ObservedT], fact: Fact, minimum: MinimalFailure[CaseT]
) -> MinimalFailure[CaseT]:
    """Return a minimal case of a fact that does not hold in that of a rule.

    The rule may need for itself what the fault does not need. If the fact holds there, since the
    rule made a call of its own, return the minimal case of the rule.
    """
    if fact is Fact.CALL:
        return minimum
    probe = probe_fact(search, fact, minimum.finding.index)
    found = probe(minimum.finding.case)
    if found is None:
        return minimum
    return minimise(search.suite.space, found, probe, is_hidden=search.is_stopped)


def _join_stopped_alike(
    search: Search[CaseT, ObservedT], case: CaseT, events: list[Event[CaseT]]
) -> bool:
    """Make events part of the fault that stops the subject in the same way as in a case."""
    failure = search.suite.find_blocker(search.suite.observe(case))
    return failure is not None and join_blocker(search, describe_blocker(failure), events)


def _add_named(
    search: Search[CaseT, ObservedT],
    rule: Rule[Any, Any],
    kind: FaultKind,
    minimum: MinimalFailure[CaseT],
    events: list[Event[CaseT]],
) -> None:
    """Add a fault under the name of its rule, or of one about the circumstance that it needs."""
    circumstances = minimum.needed & CIRCUMSTANCES
    named = [search.rules[name] for name in search.list_rules_about(minimum, kind)]
    better = [each for each in named if each.about & circumstances]
    if better and not rule.about & circumstances:
        root, told = tell_by(search, better, minimum)
        search.add_or_merge(Fault(kind, root, [minimum], told, events))
    else:
        search.add_or_merge(Fault(kind, rule, [minimum], minimum, events))


def _minimise_alone(
    search: Search[CaseT, ObservedT], rule: Rule[Any, Any], finding: Finding[CaseT]
) -> MinimalFailure[CaseT] | None:
    """Return a minimal case of a rule outside the situations of all faults, or None."""
    space, faults = search.suite.space, search.open_faults
    ways = list_elsewhere(
        search.suite, rule, finding.index, finding.case, faults, most=MOST_VARIANTS
    )
    found = next((each for each in ways if _fails_by_itself(search, rule, each)), None)
    if found is None:
        return None
    start = found.findings[rule.id]
    probe = probe_rule(search.suite, rule, start)

    def probe_outside(case: CaseT) -> Finding[CaseT] | None:
        return None if any(search.lies_in(case, fault) for fault in faults) else probe(case)

    return minimise(space, start, probe_outside, rule.when, RULE_EVALUATIONS)


def _fails_by_itself(
    search: Search[CaseT, ObservedT], rule: Rule[Any, Any], failing: FailingCase[CaseT]
) -> bool:
    """Return whether every fact that a rule rests on holds in a failing case, and does in the
    simplest dtype, whose rounding hides nothing.
    """
    if next(list_events(search.rules, [failing])).kind is not FaultKind.REQUIREMENT:
        return False
    wider = search.widen(failing.case)
    return wider is None or search.suite.find_broken_facts(
        search.suite.observe(wider), with_gradients=rule.part is Part.GRADIENTS
    ).keys().isdisjoint(rule.establishes | rule.presupposes)

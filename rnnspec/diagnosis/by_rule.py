"""Faults of rules that fail by themselves, and failures that follow from no known fault."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from rnnspec.contract.parts import Part
from rnnspec.diagnosis.events import OF_NUMBERS, Event, FaultKind, find_steady, list_events
from rnnspec.diagnosis.explaining import (
    collect_known,
    fails_with,
    find_cover,
    find_cover_of_facts,
    find_hidden,
    find_predicting,
    find_same_stop,
    follows,
    is_unrelated,
)
from rnnspec.diagnosis.fault import CIRCUMSTANCES, EARLIER_USES, Fault
from rnnspec.diagnosis.joining import add_fault, join_use
from rnnspec.diagnosis.known_mistakes import is_known
from rnnspec.diagnosis.naming import check_minimum, list_findings, try_seeds
from rnnspec.diagnosis.numbers import find_cause, probe_fact
from rnnspec.diagnosis.recheck import MOST_VARIANTS, list_elsewhere
from rnnspec.diagnosis.search import Search
from rnnspec.engine.minimise import (
    RULE_EVALUATIONS,
    MinimalFailure,
    is_in_any,
    minimise,
    probe_rule,
)
from rnnspec.engine.outcome import Blocker, CaseT, FailingCase, Finding, ObservedT
from rnnspec.rulekit.rule import REPEATED_CALLS, Fact, Rule, Theme


def cover_rules(
    search: Search[CaseT, ObservedT],
    events: Iterable[Event[CaseT]],
    absent: Sequence[Fault[CaseT]] = (),
) -> None:
    """Add the failures of each rule to the fault from which they follow, or make them a new fault.

    The faults in `absent` do not show in the cases of these failures and therefore get none of
    them.
    """
    groups: dict[str, list[Event[CaseT]]] = {}
    for event in events:
        groups.setdefault(event.rule, []).append(event)
    order = [rule.id for rule in search.suite.rules]

    # Rules about gradients come last, because they presuppose right results. So do failures that do
    # not recur: an earlier rule may have changed the layer, which all rules of a case share.
    def rank(name: str) -> tuple[bool, int, int]:
        return search.rules[name].part is Part.GRADIENTS, -len(groups[name]), order.index(name)

    unsteady = []
    for name in sorted(groups, key=rank):
        if search.is_done:
            return
        rule, failures = search.rules[name], groups[name]
        if _join(search, rule, failures, _list_present(search, rule, absent)):
            continue
        start = find_steady(search.suite, search.rules, failures)
        if start is None:
            unsteady.append(name)
        else:
            _add_rule(search, rule, start, failures, absent)
    for name in unsteady:
        rule, failures = search.rules[name], groups[name]
        present = _list_present(search, rule, absent)
        if not _join(search, rule, failures, present) and not _join_lasting(search, failures):
            _add_rule(search, rule, search.choose_simplest(failures), failures, absent)


def cover_stops(
    search: Search[CaseT, ObservedT],
    events: Iterable[Event[CaseT]],
    absent: Sequence[Fault[CaseT]] = (),
) -> list[Event[CaseT]]:
    """Find the faults that stop further calls of rules, and return the other failures."""
    # Several rules may be stopped by the same exception, which is then a single fault.
    rest: list[Event[CaseT]] = []
    groups: dict[Blocker, list[Event[CaseT]]] = {}
    for event in events:
        blocker = event.finding.blocker
        if blocker is None:
            rest.append(event)
        else:
            groups.setdefault(blocker, []).append(event)
    for stopped in sorted(groups.values(), key=len, reverse=True):
        if search.is_done:
            return rest
        left = [
            event
            for event in stopped
            if not _join(
                search,
                search.rules[event.rule],
                [event],
                _list_present(search, search.rules[event.rule], absent),
            )
        ]
        if left:
            _add_stop(search, left)
    return rest


def _add_stop(search: Search[CaseT, ObservedT], events: list[Event[CaseT]]) -> None:
    """Add the fault that stops several rules, unless a known fault shows in its minimal case."""
    suite, rule = search.suite, search.choose_representative(events)
    start = search.choose_simplest([event for event in events if event.rule == rule.id])
    probe = probe_rule(suite, rule, start.finding)
    minimum = minimise(suite.space, start.finding, probe, rule.when, RULE_EVALUATIONS)
    case = minimum.finding.case
    broken = search.find_broken_facts(case, with_gradients=True)
    taker = find_cover_of_facts(search, case, broken)
    if taker is None:
        differentiates = any(search.rules[each.rule].part is Part.GRADIENTS for each in events)
        fact = Fact.GRADIENTS if differentiates else None
        add_fault(search, FaultKind.REQUIREMENT, minimum, events, None, fact=fact)
    else:
        taker.events += events


def _list_present(
    search: Search[CaseT, Any], rule: Rule[Any, Any], absent: Sequence[Fault[CaseT]]
) -> list[Fault[CaseT]]:
    """Return the faults that may show in failures of a rule.

    A rule may bring about the needs of an absent fault by itself, for example replace parameters.
    """
    return [fault for fault in search.faults if fault not in absent or _brings_about(rule, fault)]


def _brings_about(rule: Rule[Any, Any], fault: Fault[CaseT]) -> bool:
    is_named_by_cause = fault.cause is not None and fault.root.id in fault.cause.rules
    is_done = is_named_by_cause and bool(EARLIER_USES & fault.root.about)
    return is_done and rule.presupposes_rule(fault.root.id)


def _join(
    search: Search[CaseT, ObservedT],
    rule: Rule[Any, Any],
    events: Sequence[Event[CaseT]],
    faults: Iterable[Fault[CaseT]],
) -> bool:
    """Add failures of a rule to the first of these faults from which they follow, if there is any.

    Otherwise, add them to a fault that stops calls in the way that they report.
    """
    # The rule may bring about the needs of a fault that stops calls by itself, in any case.
    found = next((fault for fault in faults if follows(search, fault, rule, events)), None)
    if found is None:
        stops = (event.finding.blocker or event.finding.reported for event in events)
        same = find_same_stop(search, stops)
        found = same if same is not None and not search.is_minor(same, rule) else None
    if found is not None:
        found.events += events
    return found is not None


def _join_lasting(search: Search[CaseT, Any], events: Sequence[Event[CaseT]]) -> bool:
    """Add failures that do not recur to a fault that outlasts a call, if there is one."""
    # A MUST is no part of a SHOULD: otherwise, results that differ from call to call would be named
    # by the SHOULD, which does not count.
    rule = search.rules[events[0].rule]
    for fault in search.faults:
        is_lasting = fault.root.theme is Theme.SIDE_EFFECTS or fault.root.id in REPEATED_CALLS
        if is_lasting and not search.is_minor(fault, rule):
            fault.events += events
            return True
    return False


def _add_rule(
    search: Search[CaseT, ObservedT],
    rule: Rule[Any, Any],
    start: Event[CaseT],
    events: list[Event[CaseT]],
    absent: Sequence[Fault[CaseT]] = (),
) -> None:
    """Add the fault of a rule that fails by itself, unless its minimal case shows a known fault."""
    if _join_everywhere(search, rule, start, events):
        return
    suite = search.suite
    probe = probe_rule(suite, rule, start.finding)

    def applies(case: CaseT) -> bool:
        return rule.when(case) and not any(search.lies_in(case, fault) for fault in absent)

    minimum = minimise(suite.space, start.finding, probe, applies, RULE_EVALUATIONS)
    made = Fault(FaultKind.REQUIREMENT, rule, [minimum], minimum, events)
    if join_use(search, made):
        return
    kind, fact = search.classify_minimum(rule, minimum.finding)
    if fact is None:
        # The interface accepts and refuses arguments, and wrong numbers do not explain either.
        is_interface = rule.part is Part.INTERFACE
        hidden = None if is_interface else find_hidden(search, rule, minimum.finding)
        taker = hidden or find_predicting(search, made)
        if taker is None:
            _add_named(search, replace(made, kind=kind))
        else:
            taker.events += events
        return
    alone = _minimise_alone(search, rule, minimum.finding)
    if alone is not None:
        search.add_or_merge(Fault(FaultKind.REQUIREMENT, rule, [alone], alone, events))
        return
    minimum = _minimise_fact(search, kind, fact, minimum)
    taker = find_cover(search, minimum.finding.case, kind) or find_predicting(search, made)
    if taker is None:
        add_fault(search, kind, minimum, events, find_cause(search, kind, events, minimum))
    else:
        taker.events += events


def _join_everywhere(
    search: Search[CaseT, ObservedT],
    rule: Rule[Any, Any],
    start: Event[CaseT],
    events: Sequence[Event[CaseT]],
) -> bool:
    """Add failures of a rule about numbers to a fault that needs nothing and shows there."""
    # Such a fault shows in the minimal case too, so the failures need no minimal case of their own.
    everywhere = [
        fault for fault in search.faults if fault.kind in OF_NUMBERS and fault.needs_nothing
    ]
    if not everywhere or rule.establishes.isdisjoint((Fact.RESULTS, Fact.GRADIENTS)):
        return False
    case = start.finding.case
    broken = search.find_broken_facts(case, with_gradients=rule.part is Part.GRADIENTS)
    taker = find_cover_of_facts(search, case, broken) or find_hidden(search, rule, start.finding)
    if taker is None or taker not in everywhere:
        return False
    taker.events += events
    return True


def _minimise_alone(
    search: Search[CaseT, ObservedT], rule: Rule[Any, Any], finding: Finding[CaseT]
) -> MinimalFailure[CaseT] | None:
    """Return a minimal case of a rule outside the situations of all faults, or None.

    Every fact that the rule presupposes holds there.
    """
    space, faults = search.suite.space, search.faults
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
    """Return whether every fact that a rule presupposes holds in a failing case.

    The facts must hold in the simplest dtype too, because its rounding hides no errors.
    """
    if next(list_events(search.rules, [failing])).kind is not FaultKind.REQUIREMENT:
        return False
    wide = search.widen(failing.case)
    return wide is None or search.find_broken_facts(
        wide, with_gradients=rule.part is Part.GRADIENTS
    ).keys().isdisjoint(rule.establishes | rule.presupposes)


def _minimise_fact(
    search: Search[CaseT, ObservedT], kind: FaultKind, fact: Fact, minimum: MinimalFailure[CaseT]
) -> MinimalFailure[CaseT]:
    """Return a minimal case of wrong numbers, starting from the minimal case of a rule.

    If the numbers are right there, because the rule made a call of its own, return the case of the
    rule.
    """
    # The case of the rule may be larger than the fault needs, because the rule has needs of its
    # own.
    probe = probe_fact(search, fact, minimum.finding.index)
    found = probe(minimum.finding.case) if kind in OF_NUMBERS else None
    if found is None:
        return minimum
    return minimise(search.suite.space, found, probe, is_hidden=search.is_stopped)


def _add_named(search: Search[CaseT, ObservedT], made: Fault[CaseT]) -> None:
    """Add a fault named by its rule, or by a rule about the circumstance that it needs."""
    minimum, rule = made.situation, made.root
    circumstances = minimum.needed & CIRCUMSTANCES
    if circumstances and not rule.about & circumstances:
        at_minimum = list_findings(check_minimum(search, minimum.finding))
        for name in search.list_rules_about(minimum, made.kind):
            better = search.rules[name]
            case, index = minimum.finding.case, minimum.finding.index
            found = at_minimum.get(name) or try_seeds(search, better, case, index)
            if better.about & circumstances and found is not None:
                made = replace(made, root=better, minimum=replace(minimum, finding=found))
                break
    search.add_or_merge(made)


def release_unexplained(search: Search[CaseT, ObservedT]) -> None:
    """Remove failures from faults from which they do not follow, and explain them again."""
    drops = any(fault.root.theme is Theme.DROPOUT for fault in search.faults)
    for fault in list(search.faults):
        for name in sorted(fault.consequences):
            rule = search.rules[name]
            if drops and rule.theme is Theme.DROPOUT:
                continue
            events = [each for each in fault.events if each.rule == name and each.is_checked]
            if _is_unexplained(search, fault, rule, events):
                fault.give_up(events)
                _add_released(search, fault, rule, events)


def _is_unexplained(
    search: Search[CaseT, ObservedT],
    fault: Fault[CaseT],
    rule: Rule[Any, Any],
    events: Sequence[Event[CaseT]],
) -> bool:
    """Return whether failures that were added to a fault in numbers do not follow from it."""
    # A layer that makes only the known mistakes checks its arguments, so rules of the interface are
    # checked in cases without the fault instead. Failures with a wrong number are left out, because
    # the number was compared with the likely cause case by case. The rule about modes compares
    # numbers only in some of its failures, so the others counted as part of any fault in gradients.
    if fault.kind is FaultKind.REQUIREMENT:
        return False
    if rule.part is Part.INTERFACE:
        return is_unrelated(search, fault, rule, events)
    are_compared = any(event.finding.difference is not None for event in events)
    if fault.kind is FaultKind.GRADIENTS:
        is_asked = not are_compared and rule.part is not Part.GRADIENTS
    else:
        is_asked = not are_compared or Fact.RESULTS not in rule.establishes
        is_asked |= rule.theme is Theme.DROPOUT
    unclear = _list_unclear(search)
    clear = [each for each in events if not is_in_any(search.suite.space, each.case.case, unclear)]
    return is_asked and fails_with(search, fault, rule, clear) is False


def _list_unclear(search: Search[CaseT, Any]) -> list[MinimalFailure[CaseT]]:
    """Return the situations where results are missing, or wrong for an unknown reason."""
    unknown = (
        fault
        for fault in search.faults
        if fault.kind in (FaultKind.RESULTS, FaultKind.BLOCKED)
        and not is_known(fault, FaultKind.RESULTS)
    )
    return [situation for fault in unknown for situation in fault.situations]


def _add_released(
    search: Search[CaseT, ObservedT],
    fault: Fault[CaseT],
    rule: Rule[Any, Any],
    events: list[Event[CaseT]],
) -> None:
    """Add failures that do not follow from a fault to another fault, or make them a new fault.

    In the minimal case of a new fault, the known mistakes do not explain the failure.
    """
    if _join(search, rule, events, (each for each in search.faults if each is not fault)):
        return
    start = search.choose_simplest(events).finding
    probe = probe_rule(search.suite, rule, start)
    kind = FaultKind.GRADIENTS if fault.kind is FaultKind.GRADIENTS else FaultKind.RESULTS
    known = collect_known(search, kind) if is_known(fault, kind) else None

    def probe_otherwise(case: CaseT) -> Finding[CaseT] | None:
        found = probe(case)
        if found is None or known is None:
            return found
        return found if known.explain(rule, found) is False else None

    minimum = minimise(search.suite.space, start, probe_otherwise, rule.when, RULE_EVALUATIONS)
    made = Fault(FaultKind.REQUIREMENT, rule, [minimum], minimum, events)
    if not join_use(search, made, excluded=fault):
        search.add_or_merge(made)

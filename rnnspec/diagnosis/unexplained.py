"""Rules that fail for another reason than the likely causes that were found.

A layer that makes only these mistakes says which rules they break. One that holds for it, and fails
for the subject, tells of another fault, even if the known one shows in every case.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from rnnspec.contract.parts import Part
from rnnspec.diagnosis.events import Event, FaultKind
from rnnspec.diagnosis.fault import Fault
from rnnspec.diagnosis.following import is_unrelated
from rnnspec.diagnosis.joining import join_related
from rnnspec.diagnosis.known import Known, is_known
from rnnspec.diagnosis.merging import merge_presupposed
from rnnspec.diagnosis.naming import PREPARATION
from rnnspec.diagnosis.search import Search
from rnnspec.diagnosis.telling import rename_fault
from rnnspec.engine.campaign import judge_by_all, list_applicable_rules
from rnnspec.engine.minimise import (
    RULE_EVALUATIONS,
    MinimalFailure,
    is_in_any,
    minimise,
    probe_rule,
)
from rnnspec.engine.observed import Observed
from rnnspec.engine.outcome import Finding
from rnnspec.rulekit.rule import Fact, Rule, Theme

CaseT = TypeVar("CaseT")
ObservedT = TypeVar("ObservedT", bound=Observed[Any])
# Not measured: two cases differ from chance, and each takes the calls of a rule twice.
FEWEST, MOST = 2, 5
"""In so many cases the known mistakes must not explain what a rule says; so many are tried."""


def absorb_explained(search: Search[CaseT, ObservedT]) -> None:
    """Make faults part of one whose likely cause breaks their rule as well.

    Where only the subject stops in another way, a rule that the cause breaks is no name for that.
    """
    for kind in (FaultKind.RESULTS, FaultKind.GRADIENTS):
        for fault in list(search.faults):
            known = Known.collect(search, kind)
            is_gradient = fault.root.part is Part.GRADIENTS
            if fault.cause is not None or not known.faults:
                continue
            if kind is FaultKind.GRADIENTS and not is_gradient:
                continue
            if not known.explain_fault(fault):
                continue
            if fault.kind is FaultKind.BLOCKED:
                _rename_stopped(search, fault, known)
                continue
            taker = max(known.faults, key=lambda each: each.count_events(fault.root.id))
            if not search.is_minor(taker, fault.root):
                search.merge(fault, taker)


def _rename_stopped(
    search: Search[CaseT, ObservedT], fault: Fault[CaseT], known: Known[CaseT, ObservedT]
) -> None:
    """Give a fault the name of a rule that the known mistakes do not break on its minimal case."""
    case = fault.situation.finding.case
    mistaken = known.make_mistaken(case)
    if mistaken is None:
        return
    rules = list_applicable_rules(search.suite, case)
    outcomes, _ = judge_by_all(mistaken, rules, 0, case)
    explained = {name for name, each in outcomes.items() if each is not None}
    rename_fault(search, fault, fault.events, explained)


def find_unexplained(search: Search[CaseT, ObservedT]) -> None:
    """Find faults among the failures that were taken for those of wrong results or gradients.

    Nothing is said of rules about the results themselves, nor of cases in which a fault shows that
    has no likely cause.
    """
    for kind in (FaultKind.RESULTS, FaultKind.GRADIENTS):
        known = Known.collect(search, kind)
        if known.faults:
            _find_unexplained(search, known)


def _find_unexplained(search: Search[CaseT, ObservedT], known: Known[CaseT, ObservedT]) -> None:
    events = _list_doubtful(search, known)
    search.closed = list(search.faults)
    order = [rule.id for rule in search.suite.rules]
    for name in sorted(events, key=lambda name: (-len(events[name]), order.index(name))):
        if not _is_unexplained(known, search.rules[name], known.prefer_seen(events[name])):
            continue
        for fault in known.faults:
            fault.give_up(events[name])
        if not join_related(search, name, events[name]):
            _add_unexplained(known, search.rules[name], events[name])
    has_new = bool(search.open_faults)
    search.closed = []
    if has_new:
        merge_presupposed(search)


def separate_unrelated(search: Search[CaseT, ObservedT]) -> None:
    """Make refusals that are missing or wrong faults of their own if they follow from no other.

    Rules about the interface presuppose right results, so their failures are counted among those of
    wrong results. But they compare no numbers: a layer that computes something else can reject
    wrong arguments all the same. They may follow from a fault of any round, and what is found so
    may be what faults found before presuppose.
    """
    search.closed = []
    before = len(search.faults)
    for fault in list(search.faults):
        for name in sorted(fault.consequences):
            rule = search.rules[name]
            events = [each for each in fault.events if each.rule == name and each.is_judged]
            if rule.part is Part.INTERFACE and is_unrelated(search, fault, rule, events):
                fault.give_up(events)
                if not join_related(search, name, events):
                    _add_refusal(search, rule, events)
    if len(search.faults) > before:
        merge_presupposed(search)


def _add_refusal(
    search: Search[CaseT, ObservedT], rule: Rule[Any, Any], events: list[Event[CaseT]]
) -> None:
    start = search.choose_simplest(events).finding
    probe = probe_rule(search.suite, rule, start)
    minimum = minimise(search.suite.space, start, probe, rule.when, RULE_EVALUATIONS)
    search.add_or_merge(Fault(FaultKind.REQUIREMENT, rule, [minimum], minimum, events))


def _list_doubtful(
    search: Search[CaseT, ObservedT], known: Known[CaseT, ObservedT]
) -> dict[str, list[Event[CaseT]]]:
    """Return the failures, by rule, of which it is asked whether known mistakes explain them.

    What is wrong with dropout is known only where it drops everything, so readings of it are left
    out if a fault is about dropout. Of wrong gradients, only rules about what comes before a call
    are asked for: they look at no gradient.
    """
    roots = {fault.root.id for fault in search.faults}
    unclear = _list_unclear(search)
    drops = any(fault.root.theme is Theme.DROPOUT for fault in search.faults)
    events: dict[str, list[Event[CaseT]]] = {}
    for event in (event for fault in known.faults for event in fault.events):
        rule = search.rules[event.rule]
        if known.kind is FaultKind.GRADIENTS:
            is_other = rule.theme in PREPARATION
        elif rule.theme is Theme.DROPOUT:
            is_other = not drops
        else:
            is_other = Fact.RESULTS not in rule.establishes
        is_clear = event.is_judged and not is_in_any(search.suite.space, event.case.case, unclear)
        if is_clear and is_other and rule.id not in roots:
            events.setdefault(event.rule, []).append(event)
    return events


def _list_unclear(search: Search[CaseT, ObservedT]) -> list[MinimalFailure[CaseT]]:
    """Return the situations in which results are wrong for an unknown reason, or missing."""
    return [
        situation
        for fault in search.faults
        if fault.kind in (FaultKind.RESULTS, FaultKind.BLOCKED)
        and not is_known(fault, FaultKind.RESULTS)
        for situation in fault.situations
    ]


def _is_unexplained(
    known: Known[CaseT, ObservedT], rule: Rule[Any, Any], events: Sequence[Event[CaseT]]
) -> bool:
    """Return whether a rule fails otherwise than for a layer that makes only the known mistakes."""
    told = 0
    for event in events[:MOST]:
        explained = known.explain(rule, event.finding)
        if explained:
            return False
        told += explained is False
        if told == FEWEST:
            return True
    return False


def _add_unexplained(
    known: Known[CaseT, ObservedT], rule: Rule[Any, Any], events: list[Event[CaseT]]
) -> None:
    """Add the fault of a rule, with a minimal case that the known mistakes do not explain."""
    search = known.search
    start = search.choose_simplest(events).finding
    unclear = _list_unclear(search)
    probe = probe_rule(search.suite, rule, start)

    def probe_unexplained(case: CaseT) -> Finding[CaseT] | None:
        found = None if is_in_any(search.suite.space, case, unclear) else probe(case)
        return found if found is not None and known.explain(rule, found) is False else None

    def is_hidden(case: CaseT) -> bool:
        found = probe(case)
        return found is not None and known.explain(rule, found) is None

    minimum = minimise(
        search.suite.space, start, probe_unexplained, rule.when, RULE_EVALUATIONS, is_hidden
    )
    search.add_or_merge(Fault(FaultKind.REQUIREMENT, rule, [minimum], minimum, events))

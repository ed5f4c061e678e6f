"""Telling a fault: by which rule, on which case, and as part of which other fault."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from rnnspec.diagnosis.alike import find_same, tells_better
from rnnspec.diagnosis.at_minimum import (
    judge_minimum,
    judge_one,
    list_applying,
    list_findings,
    reseed,
    try_seeds,
)
from rnnspec.diagnosis.events import FACT_OF_KIND, Event, FaultKind
from rnnspec.diagnosis.fault import Fault
from rnnspec.diagnosis.following import list_refuted
from rnnspec.diagnosis.naming import CIRCUMSTANCES, SITUATIONS, rank_rules
from rnnspec.diagnosis.search import Search
from rnnspec.engine.explanations import LikelyCause
from rnnspec.engine.minimise import RULE_EVALUATIONS, MinimalFailure, minimise, probe_rule
from rnnspec.engine.observed import Observed
from rnnspec.engine.outcome import Finding
from rnnspec.rulekit.rule import Fact, Rule
from rnnspec.rulekit.violation import ErrorSize

CaseT = TypeVar("CaseT")
ObservedT = TypeVar("ObservedT", bound=Observed[Any])
OF_SEVERAL_SORTS = CIRCUMSTANCES | {"layout"}
"""The axes whose values differ so much that a rule about one says nothing about another."""
# Not measured: a limit on the calls.
MOST_CANDIDATES = 3
"""So many of the best rules are tried on the minimal case."""


def add_fault(
    search: Search[CaseT, ObservedT],
    kind: FaultKind,
    minimum: MinimalFailure[CaseT],
    events: list[Event[CaseT]],
    fact: Fact | None,
    cause: LikelyCause | None = None,
    beside: Fault[CaseT] | None = None,
) -> Fault[CaseT]:
    """Name a fault, and add it to one of the same name if there is one.

    If it was found `beside` another one, in cases of that, the name of the other is not its own. If
    both need the same way of building or calling a layer, they are one fault all the same, without
    a cause: that of the other does not explain this one.
    """
    is_about_use = bool(CIRCUMSTANCES & minimum.passed.keys())
    if (
        beside is not None
        and is_about_use
        and any(search.share_circumstance(minimum, each) for each in beside.situations)
    ):
        beside.situations.append(minimum)
        beside.events.extend(events)
        beside.cause = None
        return beside
    cause = cause or search.find_main_cause(kind, events, fact, minimum)
    cause = _keep_if_it_explains(search, cause, minimum)
    at_minimum, candidates = _rank_names(search, kind, minimum, events, fact, cause)
    if beside is not None:
        candidates = [rule for rule in candidates if rule is not beside.root] or candidates
    fault = _find_presupposed(search, kind, candidates[0], minimum, at_minimum)
    if fault is not None and fault is not beside:
        fault.situations.append(minimum)
        fault.events.extend(events)
        return fault
    root, told = _tell(search, candidates, minimum, at_minimum, cause, events)
    fault = find_same(search, kind, root, minimum, cause)
    fault = None if fault is beside else _separate_if_explained(search, fault, kind, cause)
    if fault is None:
        fault = Fault(kind, root, [minimum], told, [], cause=cause)
        search.faults.append(fault)
    elif tells_better(search, minimum, kind, fault, cause):
        fault.root, fault.minimum = root, told
        fault.situations.insert(0, minimum)
    else:
        fault.situations.append(minimum)
    fault.cause = fault.cause or cause
    fault.events.extend(events)
    _absorb_narrower(search, fault, minimum)
    return fault


def _separate_if_explained(
    search: Search[CaseT, ObservedT],
    fault: Fault[CaseT] | None,
    kind: FaultKind,
    cause: LikelyCause | None,
) -> Fault[CaseT] | None:
    """Return None if a fault without a cause has one besides that of a later one, else the fault.

    The later one, of the same name, shows in the minimal case of this one too, but does not explain
    it. With its cause, this one has another name.
    """
    if fault is None or cause is None or fault.cause is not None or fault.kind is not kind:
        return fault
    case, gradients = fault.situation.finding.case, kind is FaultKind.GRADIENTS
    if not search.suite.can_explain(cause, case):
        return fault
    if search.suite.is_explained(cause, search.observe(case), gradients=gradients) is not False:
        return fault
    events = [event for event in fault.events if event.kind is kind]
    further = search.find_cause(kind, events, FACT_OF_KIND.get(kind), besides=cause)
    if further is None:
        return fault
    fault.cause = further
    rename_fault(search, fault, fault.events, {fault.root.id})
    return None


def _keep_if_it_explains(
    search: Search[CaseT, ObservedT], cause: LikelyCause | None, minimum: MinimalFailure[CaseT]
) -> LikelyCause | None:
    """Return a cause unless it does nothing in the minimal case, as random masks may hide."""
    is_possible = cause is not None and search.suite.can_explain(cause, minimum.finding.case)
    return cause if is_possible else None


def _rank_names(
    search: Search[CaseT, ObservedT],
    kind: FaultKind,
    minimum: MinimalFailure[CaseT],
    events: list[Event[CaseT]],
    fact: Fact | None,
    cause: LikelyCause | None,
    excluded: Collection[str] = (),
) -> tuple[dict[str, Finding[CaseT]], list[Rule[Any, Any]]]:
    """Return what fails on the minimal case, and the rules that can name the fault, best first."""
    outcomes = judge_minimum(search, minimum.finding)
    at_minimum = list_findings(outcomes)
    about = search.list_rules_about(minimum, kind)
    judged = {event.rule for event in events if event.is_judged}
    judged |= {name for name, each in at_minimum.items() if each.blocker is None}
    judged |= set(about)
    names = {*at_minimum, *about, *(event.rule for event in events)}
    names -= list_refuted(search, events, cause)
    if fact is None:  # what else fails there is not about what stopped the subject
        names -= {each.root.id for each in search.faults} - {event.rule for event in events}
    names = names.difference(excluded) or names
    applying = list_applying(search, names, minimum) if fact is Fact.CALL else at_minimum
    size_is_small = _is_small(search, kind, minimum, events)
    while True:
        ranked = rank_rules(
            [
                rule
                for rule in search.suite.rules
                if rule.id in names and _is_about_same(search, rule, minimum)
            ],
            minimum.telling,
            fact,
            judged - (outcomes.keys() - at_minimum.keys()),  # what holds there is not wrong
            cause.rules if cause else (),
            shown=applying,
            required=minimum.required,
            usual=search.suite.space.list_usual(minimum.finding.case),
            is_small=size_is_small,
        )
        if not ranked or not _fails_otherwise(search, ranked[0], minimum, at_minimum):
            return at_minimum, ranked or [search.choose_representative(events)]
        names = names - {ranked[0].id}


def _fails_otherwise(
    search: Search[CaseT, ObservedT],
    rule: Rule[Any, Any],
    minimum: MinimalFailure[CaseT],
    at_minimum: Mapping[str, Finding[CaseT]],
) -> bool:
    """Return whether a rule fails for another reason than a fault.

    It does so where nothing is wrong with the call itself, or on the minimal case only after what
    other rules did to the layer. A rule about something that the fault needs is not asked.
    """
    if rule.about & minimum.telling:
        return False
    space, (case, index) = search.suite.space, (minimum.finding.case, minimum.finding.index)
    if rule.id in at_minimum and judge_one(search, rule, case, index) is None:
        return True
    changed = (space.change_field(case, *each) for each in minimum.passed.items())
    findings = (try_seeds(search, rule, each, index) for each in changed if each is not None)
    return any(
        found is not None
        and found.blocker is None
        and not search.suite.find_broken_facts(search.observe(found.case))
        for found in findings
    )


def name_fault(
    search: Search[CaseT, ObservedT],
    kind: FaultKind,
    minimum: MinimalFailure[CaseT],
    events: list[Event[CaseT]],
    fact: Fact | None,
    cause: LikelyCause | None,
    excluded: Collection[str] = (),
) -> tuple[Rule[Any, Any], MinimalFailure[CaseT]]:
    """Return the rule that names a fault, with a minimal case of it.

    An excluded rule is the name only if there is no other.
    """
    at_minimum, ranked = _rank_names(search, kind, minimum, events, fact, cause, excluded)
    return _tell(search, ranked, minimum, at_minimum, cause, events)


def rename_fault(
    search: Search[CaseT, ObservedT],
    fault: Fault[CaseT],
    events: list[Event[CaseT]],
    excluded: Collection[str] = (),
) -> None:
    """Name a fault anew, by what is known of its cause now, unless another one has that name."""
    fact = FACT_OF_KIND.get(fault.kind)
    root, told = name_fault(
        search, fault.kind, fault.situation, events, fact, fault.cause, excluded
    )
    if not any(other.root is root for other in search.faults):
        fault.root, fault.minimum = root, told


def _is_about_same(
    search: Search[CaseT, ObservedT], rule: Rule[Any, Any], minimum: MinimalFailure[CaseT]
) -> bool:
    """Return whether a rule about a circumstance or a layout that a situation needs is about it.

    A rule about layers that were converted says nothing about one that was copied, and one about
    sequences of equal length nothing about two of different lengths.
    """
    if not rule.about & OF_SEVERAL_SORTS & minimum.needed:
        return True
    return any(map(rule.when, reseed(search, minimum.finding.case)))


def _is_small(
    search: Search[CaseT, ObservedT],
    kind: FaultKind,
    minimum: MinimalFailure[CaseT],
    events: Sequence[Event[CaseT]],
) -> bool:
    """Return whether all errors are small, that of the minimal case included."""
    if not all(event.is_small for event in events):
        return False
    seen = search.observe(minimum.finding.case)
    size = search.suite.measure_error(seen, gradients=kind is FaultKind.GRADIENTS)
    return size in (None, ErrorSize.SMALL)


def tell_by(
    search: Search[CaseT, ObservedT],
    rules: Sequence[Rule[Any, Any]],
    minimum: MinimalFailure[CaseT],
) -> tuple[Rule[Any, Any], MinimalFailure[CaseT]]:
    """Return the best of some rules as the name of a minimal case, with what it says there."""
    at_minimum = list_findings(judge_minimum(search, minimum.finding))
    return _tell(search, rules, minimum, at_minimum, None)


def _absorb_narrower(
    search: Search[CaseT, ObservedT], fault: Fault[CaseT], situation: MinimalFailure[CaseT]
) -> None:
    """Make faults of the same kind part of a wider one, in whose situation they lie."""
    narrower = [
        other
        for other in search.faults
        if other is not fault
        and other.kind is fault.kind
        and situation.needed
        and all(
            each.needed > situation.needed and search.lies_in(each.finding.case, fault)
            for each in other.situations
        )
    ]
    for other in narrower:
        search.merge(other, fault)
    if narrower:
        if fault.cause is None:
            cause = search.find_cause(fault.kind, fault.events, FACT_OF_KIND.get(fault.kind))
            fault.cause = _keep_if_it_explains(search, cause, situation)
        rename_fault(search, fault, fault.events)


def _find_presupposed(
    search: Search[CaseT, ObservedT],
    kind: FaultKind,
    best: Rule[Any, Any],
    minimum: MinimalFailure[CaseT],
    at_minimum: dict[str, Finding[CaseT]],
) -> Fault[CaseT] | None:
    """Return the fault of the same kind whose name the best rule presupposes, and which fails on
    the minimal case.
    """
    finding = minimum.finding
    for fault in search.open_faults:
        if fault.kind is not kind or not best.presupposes_rule(fault.root.id):
            continue
        if (
            fault.root.id in at_minimum
            or try_seeds(search, fault.root, finding.case, finding.index) is not None
        ):
            return fault
    return None


def _tell(
    search: Search[CaseT, ObservedT],
    candidates: Sequence[Rule[Any, Any]],
    minimum: MinimalFailure[CaseT],
    at_minimum: dict[str, Finding[CaseT]],
    cause: LikelyCause | None,
    events: Sequence[Event[CaseT]] = (),
) -> tuple[Rule[Any, Any], MinimalFailure[CaseT]]:
    """Return the best rule that fails on the minimal case, with what it says there.

    A rule that is checked in some cases only is tried with other seeds. If none of the best rules
    fails there, or not the one that the situation names or one of those that the likely cause
    names, return the best with a minimal case of its own.
    """
    best = candidates[0]
    tried = candidates[:MOST_CANDIDATES]
    if best.about & SITUATIONS & minimum.needed:
        tried = [best]
    elif cause is not None and best.id in cause.rules:
        tried = [rule for rule in tried if rule.id in cause.rules]
    own = [
        event for event in (*events, *search.events) if event.rule == best.id and event.is_judged
    ]
    inside = [event for event in own if search.is_covered(event, minimum)]
    for rule in tried:
        found = at_minimum.get(rule.id) or try_seeds(
            search, rule, minimum.finding.case, minimum.finding.index
        )
        if found is not None:
            return rule, replace(minimum, finding=found)
    if not own:
        return best, minimum
    start = search.choose_simplest(inside or own)
    probe = probe_rule(search.suite, best, start.finding)
    return best, minimise(search.suite.space, start.finding, probe, best.when, RULE_EVALUATIONS)

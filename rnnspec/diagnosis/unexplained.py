"""Rules that fail for another reason than the likely causes that were found.

A layer that makes only these mistakes says which rules they break. One that holds for it, and fails
for the subject, tells of another fault, even if the known one shows in every case.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from rnnspec.diagnosis.events import Event, FaultKind, is_small
from rnnspec.diagnosis.fault import Fault
from rnnspec.diagnosis.joining import join_related
from rnnspec.diagnosis.merging import merge_presupposed
from rnnspec.diagnosis.search import Search
from rnnspec.diagnosis.telling import name_fault
from rnnspec.engine.campaign import judge_by_all, list_applicable_rules
from rnnspec.engine.explanations import LikelyCause
from rnnspec.engine.minimise import (
    RULE_EVALUATIONS,
    MinimalFailure,
    is_in_any,
    minimise,
    probe_rule,
)
from rnnspec.engine.outcome import Finding, FindingKind, Outcome, judge_case
from rnnspec.engine.suite import Observed, Suite
from rnnspec.rulekit.rule import Fact, Rule, Theme
from rnnspec.subjects.settings import restore_settings

CaseT = TypeVar("CaseT")
ObservedT = TypeVar("ObservedT", bound=Observed[Any])
FEWEST, MOST = 2, 5
"""In so many cases the known mistakes must not explain what a rule says; so many are tried."""


def find_unexplained(search: Search[CaseT, ObservedT]) -> None:
    """Find faults among the failures that were taken for those of wrong results.

    Nothing is said of rules about the results themselves, nor of cases in which a fault shows that
    has no likely cause.
    """
    wrong = [fault for fault in search.faults if fault.kind is FaultKind.RESULTS and fault.cause]
    causes = [fault.cause for fault in wrong if fault.cause is not None]
    if not causes:
        return
    events = _list_doubtful(search, wrong)
    search.closed = list(search.faults)
    order = [rule.id for rule in search.suite.rules]
    for name in sorted(events, key=lambda name: (-len(events[name]), order.index(name))):
        rule = search.rules[name]
        if not _is_unexplained(search, rule, causes, events[name]):
            continue
        taken = {id(event) for event in events[name]}
        for fault in wrong:
            fault.events = [event for event in fault.events if id(event) not in taken]
        if not join_related(search, name, events[name]):
            _add_unexplained(search, rule, causes, events[name])
    has_new = bool(search.open_faults)
    search.closed = []
    if has_new:
        merge_presupposed(search)


def absorb_explained(search: Search[CaseT, ObservedT]) -> None:
    """Make faults part of one in the results whose likely cause breaks their rule as well.

    Where only the subject stops in another way, a rule that the cause breaks is no name for that.
    """
    for fault in list(search.faults):
        known = [each for each in search.faults if each.kind is FaultKind.RESULTS and each.cause]
        causes = [each.cause for each in known if each.cause is not None]
        if fault.cause is not None or not causes or not _is_due(search, fault, causes):
            continue
        if fault.kind is FaultKind.BLOCKED:
            _rename_stopped(search, fault, causes)
            continue
        taker = max(known, key=lambda each: each.count_events(fault.root.id))
        if not search.is_minor(taker, fault.root):
            taker.take_in(fault)
            search.faults.remove(fault)


def _is_due(
    search: Search[CaseT, ObservedT], fault: Fault[CaseT], causes: Sequence[LikelyCause]
) -> bool:
    """Return whether the known mistakes break the rule of a fault on its minimal case.

    If results are wrong there, the mistakes must make them just as wrong.
    """
    finding = fault.minimum.finding
    if not _is_explained(search, fault.root, causes, finding):
        return False
    if fault.kind is not FaultKind.RESULTS:
        return True
    mistaken = search.suite.make_mistaken(causes, finding.case)
    found = None if mistaken is None else _judge(mistaken, fault.root, finding.case)
    return isinstance(found, Finding) and found.message == finding.message


def _judge(mistaken: Suite[CaseT, ObservedT], rule: Rule[Any, Any], case: CaseT) -> Outcome[CaseT]:
    """Return what a rule says about a layer that makes only the known mistakes."""
    with restore_settings():
        return judge_case(rule, mistaken.observe(case))


def _rename_stopped(
    search: Search[CaseT, ObservedT], fault: Fault[CaseT], causes: Sequence[LikelyCause]
) -> None:
    """Give a fault the name of a rule that the known mistakes do not break on its minimal case."""
    case = fault.situation.finding.case
    mistaken = search.suite.make_mistaken(causes, case)
    if mistaken is None:
        return
    rules = list_applicable_rules(search.suite, case)
    outcomes, _ = judge_by_all(mistaken, rules, 0, case)
    explained = {name for name, each in outcomes.items() if each is not None}
    root, told = name_fault(
        search, fault.kind, fault.situation, fault.events, Fact.CALL, None, explained
    )
    if not any(other.root is root for other in search.faults):
        fault.root, fault.minimum = root, told


def _list_doubtful(
    search: Search[CaseT, ObservedT], wrong: Sequence[Fault[CaseT]]
) -> dict[str, list[Event[CaseT]]]:
    """Return the failures, by rule, of which it is asked whether known mistakes explain them.

    What is wrong with dropout is known only where it drops everything, so readings of it are left
    out if a fault is about dropout.
    """
    roots = {fault.root.id for fault in search.faults}
    unclear = _list_unclear(search)
    drops = any(fault.root.theme is Theme.DROPOUT for fault in search.faults)
    events: dict[str, list[Event[CaseT]]] = {}
    for event in (event for fault in wrong for event in fault.events):
        rule = search.rules[event.rule]
        is_reading = rule.theme is Theme.DROPOUT
        is_other = not drops if is_reading else Fact.RESULTS not in rule.establishes
        is_clear = event.is_judged and not is_in_any(search.suite.space, event.case.case, unclear)
        if is_clear and is_other and rule.id not in roots:
            events.setdefault(event.rule, []).append(event)
    return events


def _list_unclear(search: Search[CaseT, ObservedT]) -> list[MinimalFailure[CaseT]]:
    """Return the situations in which results are wrong for an unknown reason, or missing."""
    return [
        situation
        for fault in search.faults
        if fault.kind in (FaultKind.RESULTS, FaultKind.BLOCKED) and fault.cause is None
        for situation in fault.situations
    ]


def _is_unexplained(
    search: Search[CaseT, ObservedT],
    rule: Rule[Any, Any],
    causes: Sequence[LikelyCause],
    events: list[Event[CaseT]],
) -> bool:
    """Return whether a rule fails otherwise than for a layer that makes only the known mistakes."""
    told = 0
    for event in search.sort_simplest(events)[:MOST]:
        explained = _is_explained(search, rule, causes, event.finding)
        if explained:
            return False
        told += explained is False
        if told == FEWEST:
            return True
    return False


def _is_explained(
    search: Search[CaseT, ObservedT],
    rule: Rule[Any, Any],
    causes: Sequence[LikelyCause],
    finding: Finding[CaseT],
) -> bool | None:
    """Return whether the known mistakes make a rule fail in a case, or None if nobody knows.

    Mistakes that make small errors do not explain a large one. Where results are wrong, the
    mistakes must make them wrong too.
    """
    mistaken = search.suite.make_mistaken(causes, finding.case)
    if mistaken is None:
        return None
    found = _judge(mistaken, rule, finding.case)
    if found is None:
        return None if _is_wrong_otherwise(search, mistaken, finding.case) else False
    if not isinstance(found, Finding) or found.kind is not FindingKind.VIOLATION:
        return None
    if found.difference is not None and finding.difference is not None:
        return is_small(finding.difference) or not is_small(found.difference)
    return True


def _is_wrong_otherwise(
    search: Search[CaseT, ObservedT], mistaken: Suite[CaseT, ObservedT], case: CaseT
) -> bool:
    """Return whether the subject's results are wrong where those of the known mistakes are not."""
    with restore_settings():
        shown = search.suite.find_broken_facts(search.observe(case)).get(Fact.RESULTS)
        return shown is not None and not mistaken.find_broken_facts(mistaken.observe(shown))


def _add_unexplained(
    search: Search[CaseT, ObservedT],
    rule: Rule[Any, Any],
    causes: Sequence[LikelyCause],
    events: list[Event[CaseT]],
) -> None:
    """Add the fault of a rule, with a minimal case that the known mistakes do not explain."""
    start = search.choose_simplest(events).finding
    unclear = _list_unclear(search)
    probe = probe_rule(search.suite, rule, start)

    def probe_unexplained(case: CaseT) -> Finding[CaseT] | None:
        found = None if is_in_any(search.suite.space, case, unclear) else probe(case)
        if found is None or _is_explained(search, rule, causes, found) is not False:
            return None
        return found

    minimum = minimise(search.suite.space, start, probe_unexplained, rule.when, RULE_EVALUATIONS)
    search.add_or_merge(Fault(FaultKind.REQUIREMENT, rule, [minimum], minimum, events))

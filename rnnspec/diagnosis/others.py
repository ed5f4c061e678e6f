"""Faults of all other sorts: requirements that are broken by themselves."""

from __future__ import annotations

from typing import Any, TypeVar

from rnnspec.diagnosis.events import Event, FaultKind
from rnnspec.diagnosis.fault import Fault
from rnnspec.diagnosis.search import Search
from rnnspec.diagnosis.telling import add_fault
from rnnspec.engine.minimise import RULE_EVALUATIONS, minimise, probe_rule
from rnnspec.engine.suite import Observed
from rnnspec.rulekit.rule import Fact, Rule

CaseT = TypeVar("CaseT")
ObservedT = TypeVar("ObservedT", bound=Observed[Any])


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
        if not search.join_related(name, own[name]):
            _add_other(search, search.rules[name], own[name])


def _add_other(
    search: Search[CaseT, ObservedT], rule: Rule[Any, Any], events: list[Event[CaseT]]
) -> None:
    """Add the fault of a rule that fails by itself.

    On its minimal case, a fact that it rests on may turn out not to hold: what was seen in a
    dtype whose rounding hides the fault is wrong in another.
    """
    start = search.choose_simplest(events)
    probe = probe_rule(search.suite, rule, start.finding)
    minimum = minimise(search.suite.space, start.finding, probe, rule.when, RULE_EVALUATIONS)
    kind, fact = search.classify_minimum(rule, minimum.finding)
    case = minimum.finding.case
    if fact is not None:
        hidden = fact is Fact.GRADIENTS and search.join_hidden_results(case, events)
        joined = search.join_explained(case, events, kind) or hidden
        if not joined and not search.join_covering(case, events, kind):
            add_fault(search, kind, minimum, events, fact)
    elif not search.join_hidden(rule, case, events):
        search.faults.append(Fault(kind, rule, [minimum], minimum, events))

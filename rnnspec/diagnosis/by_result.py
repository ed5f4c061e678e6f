"""Separating two mistakes that make different results of the same cases wrong."""

from __future__ import annotations

from rnnspec.diagnosis.events import FACT_OF_KIND, Event, FaultKind
from rnnspec.diagnosis.fault import Fault
from rnnspec.diagnosis.naming import choose_name
from rnnspec.diagnosis.search import Search
from rnnspec.diagnosis.suite import RESULTS
from rnnspec.engine.explanations import LikelyCause
from rnnspec.engine.outcome import CaseT, ObservedT
from rnnspec.rulekit.rule import Fact, Theme


def separate_results(search: Search[CaseT, ObservedT]) -> None:
    """Split a fault in two if no mistake explains both results, but different mistakes do."""
    for fault in list(search.faults):
        # A call counts as stopped if its results have a wrong form, so its results can be compared
        # too.
        if fault.kind not in (FaultKind.BLOCKED, FaultKind.RESULTS) or fault.cause is not None:
            continue
        fact = FACT_OF_KIND[fault.kind]
        events = [event for event in fault.events if event.kind is fault.kind]
        causes = _find_both(search, fault, events, fact)
        if causes is not None:
            _separate(search, fault, events, fact, causes)


def _find_both(
    search: Search[CaseT, ObservedT], fault: Fault[CaseT], events: list[Event[CaseT]], fact: Fact
) -> tuple[LikelyCause, LikelyCause] | None:
    """Return two causes that explain all cases together, or None.

    Either each cause explains a result by itself, or the first explains a result in the simplest
    cases, and the second explains the rest.
    """
    kind, minimum = fault.kind, fault.situation
    one, other = (
        search.find_cause(kind, events, fact, part=part, minimum=minimum) for part in RESULTS
    )
    if one is not None and other is not None:
        return None if one.key == other.key else (one, other)
    for part in RESULTS:
        first = search.find_cause(kind, events, fact, part=part, is_partial=True, minimum=minimum)
        second = first and search.find_cause(kind, events, fact, besides=first)
        if first is not None and second is not None:
            return first, second
    return None


def _separate(
    search: Search[CaseT, ObservedT],
    fault: Fault[CaseT],
    events: list[Event[CaseT]],
    fact: Fact,
    causes: tuple[LikelyCause, LikelyCause],
) -> None:
    """Name a fault by the cause that stops the call, if any, and add a fault for the other."""
    first, second = causes
    if fact is Fact.CALL:
        first, second = sorted(causes, key=lambda cause: not _changes_form(search, cause))
    situation = fault.situation
    fault.cause = first
    fault.root, fault.minimum = choose_name(search, fault.kind, situation, events, first)
    others = {fault.root.id, *first.rules} - {*second.rules}
    root, shown = choose_name(search, FaultKind.RESULTS, situation, events, second, others)
    if any(other.root is root for other in search.faults):
        return
    own = [event for event in fault.events if event.rule in (root.id, *second.rules)]
    fault.give_up(own)
    search.faults.append(
        Fault(FaultKind.RESULTS, root, [situation], shown, own or events[:1], cause=second)
    )


def _changes_form(search: Search[CaseT, ObservedT], cause: LikelyCause) -> bool:
    """Return whether a cause breaks a rule about the form of the results."""
    named = (search.rules[name] for name in cause.rules if name in search.rules)
    return any(rule.theme is Theme.SHAPES for rule in named)

"""Events: failures of rules, each by itself or because a presupposed fact does not hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic

from rnnspec.contract.parts import Part
from rnnspec.engine.minimise import probe_rule
from rnnspec.engine.outcome import Blocker, CaseT, FailingCase, Finding, FindingKind
from rnnspec.engine.suite import CaseSpace, Suite
from rnnspec.oracle import SMALL_ERROR
from rnnspec.rulekit.facts import SMALL_EXCESS
from rnnspec.rulekit.rule import Fact, Rule
from rnnspec.rulekit.violation import Difference

# Halving or doubling it changes no report of 16 wrong layers (`python -m benchmarks.thresholds`).
# Results in int8 are off by 1/127 at each step, which adds up over a few steps.
ROUGH = 0.1
"""The largest relative error of a gradient that rounding of the results may explain."""
# Halving or doubling it changes no report of 16 wrong layers (`python -m benchmarks.thresholds`).
# It limits the number of calls for each failing rule.
MOST_STARTS = 3
"""The number of cases that are checked again to find a failure that recurs."""


class FaultKind(Enum):
    """The kinds of faults, in the order of the search."""

    BLOCKED = "the subject was stopped before anything could be checked"
    RESULTS = "output or h_n is wrong"
    GRADIENTS = "a gradient is wrong although output and h_n are right"
    REQUIREMENT = "a requirement of another sort is broken"


OF_NUMBERS = (FaultKind.RESULTS, FaultKind.GRADIENTS)
KIND_OF_FACT = {
    Fact.CALL: FaultKind.BLOCKED,
    Fact.RESULTS: FaultKind.RESULTS,
    Fact.GRADIENTS: FaultKind.GRADIENTS,
}
FACT_OF_KIND = {kind: fact for fact, kind in KIND_OF_FACT.items()}


@dataclass(frozen=True)
class Event(Generic[CaseT]):
    """A failure of a rule on a case.

    case     the failing case
    shown    the case that shows the fact that does not hold, which differs from `case` if the rule
             made another call
    kind     the kind of the fault that the failure is part of
    blocker  the failure that stopped the subject, if any
    """

    rule: str
    case: FailingCase[CaseT]
    shown: CaseT
    kind: FaultKind
    blocker: Blocker | None = None

    @property
    def finding(self) -> Finding[CaseT]:
        """The failure that the rule reports."""
        return self.case.findings[self.rule]

    @property
    def is_small(self) -> bool:
        """Whether the wrong numbers are nearly right, as with a lack of precision.

        If the rule reports no wrong number, the numbers of other rules on the same case decide.
        """
        own = self.finding.difference
        all_wrong = [each.difference for each in self.case.findings.values() if each.difference]
        if own is None:
            return bool(all_wrong) and all(map(is_small, all_wrong))
        return is_small(own) or any(_is_as_small(own, each) for each in all_wrong)

    @property
    def is_checked(self) -> bool:
        """Whether the rule was checked, and not only stopped."""
        return self.finding.kind is not FindingKind.SUBJECT_ERROR


def is_small(wrong: Difference) -> bool:
    """Return whether a wrong number is nearly right, as with a lack of precision."""
    relative = abs(wrong.got - wrong.expected) / max(1.0, abs(wrong.expected))
    return relative <= SMALL_ERROR or wrong.excess <= SMALL_EXCESS


def _is_as_small(wrong: Difference, other: Difference) -> bool:
    """Return whether a number is at most as wrong as another of its tensor, which is small."""
    # Rounding makes a number that allows no rounding just as wrong as its neighbours: in 16 bits,
    # eight roundings of an exact 1 are off by 6 %, which otherwise counts as a second fault.
    if wrong.quantity != other.quantity or not is_small(other):
        return False
    return abs(wrong.got - wrong.expected) <= abs(other.got - other.expected)


def may_be_rounded(wrong: Difference) -> bool:
    """Return whether a wrong gradient may be the gradient of rounded results."""
    # Rounding has no slope, so a layer passes on a gradient of zero, or nearly the right one.
    return wrong.got == 0.0 or abs(wrong.got - wrong.expected) <= ROUGH * abs(wrong.expected)


def list_events(
    rules: Mapping[str, Rule[Any, Any]], cases: Iterable[FailingCase[CaseT]]
) -> Iterator[Event[CaseT]]:
    """Yield an event for each rule that fails on each case."""
    for case in cases:
        for name in case.findings:
            yield _classify(rules[name], case)


def _classify(rule: Rule[Any, Any], case: FailingCase[CaseT]) -> Event[CaseT]:
    finding = case.findings[rule.id]
    blocker = finding.blocker
    if blocker is not None and blocker == case.blocker:
        return Event(rule.id, case, case.case, FaultKind.BLOCKED, blocker)
    if finding.kind is not FindingKind.CHECKER_ERROR:
        concerns = rule.establishes | rule.presupposes
        for fact, shown in case.broken.items():
            if fact is Fact.CALL and _is_checked_anyway(rule, case):
                continue
            if fact in concerns or (fact is Fact.CALL and Fact.RESULTS in concerns):
                return Event(rule.id, case, shown, KIND_OF_FACT[fact], case.blocker)
        if rule.id in case.misled:
            fact, shown = case.misled[rule.id]
            if fact in concerns:
                return Event(rule.id, case, shown, KIND_OF_FACT[fact])
    if blocker is not None:
        return Event(rule.id, case, case.case, FaultKind.BLOCKED, blocker)
    return Event(rule.id, case, case.case, FaultKind.REQUIREMENT)


def _is_checked_anyway(rule: Rule[Any, Any], case: FailingCase[Any]) -> bool:
    """Return whether a rule without numbers was checked although results had a wrong form."""
    # A call that returns allows all other checks, whatever the form of its results.
    is_form = case.blocker is not None and case.blocker.is_form
    was_checked = case.findings[rule.id].kind is FindingKind.VIOLATION
    return is_form and was_checked and rule.part in (Part.MODULE, Part.INTERFACE)


def sort_simplest(space: CaseSpace[CaseT], events: Iterable[Event[CaseT]]) -> list[Event[CaseT]]:
    """Return the events sorted by their cases, the simplest first."""
    events = list(events)  # keep the cases alive: `known` is keyed by their identities
    # A case where ten rules fail has ten events, and a search sorts its events a dozen times.
    known: dict[int, tuple[int, int]] = {}

    def measure(event: Event[CaseT]) -> tuple[int, int, int]:
        shown = event.shown
        if id(shown) not in known:
            known[id(shown)] = len(space.list_raised(shown)), space.measure_size(shown)
        return *known[id(shown)], event.case.index

    return sorted(events, key=measure)


def find_steady(
    suite: Suite[CaseT, Any], rules: Mapping[str, Rule[Any, Any]], events: Iterable[Event[CaseT]]
) -> Event[CaseT] | None:
    """Return one of the simplest failures that recurs when its case is checked again, or None."""
    # The behaviour of a subject may depend on chance, or on the addresses of tensors.
    for event in sort_simplest(suite.space, events)[:MOST_STARTS]:
        if probe_rule(suite, rules[event.rule], event.finding)(event.case.case) is not None:
            return event
    return None

"""Failures that are explained by a layer which makes only the mistakes found so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic

from rnnspec.cases.case import SIZES
from rnnspec.contract.parts import Part
from rnnspec.diagnosis.events import FACT_OF_KIND, Event, FaultKind, is_small, may_be_rounded
from rnnspec.diagnosis.fault import CIRCUMSTANCES, Fault
from rnnspec.diagnosis.search import Search
from rnnspec.diagnosis.suite import ExplainedSuite
from rnnspec.engine.explanations import LikelyCause
from rnnspec.engine.minimise import MinimalFailure, is_in_any
from rnnspec.engine.outcome import (
    CaseT,
    Finding,
    FindingKind,
    ObservedT,
    RuleOutcome,
    UnsupportedCase,
    check_case,
)
from rnnspec.rulekit.rule import Fact, Rule, Theme
from rnnspec.rulekit.violation import Difference, show_apart
from rnnspec.subjects.settings import restore_settings

LEFT_OUT = (*SIZES, "initial_state")
"""Fields that a rule may choose differently from the case that shows a fault."""
# Halving or doubling it changes no report of 16 wrong layers (`python -m benchmarks.thresholds`).
# Two runs of the same mistake differ by rounding, which is 2**-8 of a number in bfloat16.
CLOSE = 0.01
"""The largest difference of two numbers with the same mistake, relative to their error."""


@dataclass(frozen=True)
class Known(Generic[CaseT, ObservedT]):
    """The faults of a kind with a likely cause, and a layer that makes only these mistakes.

    The layer shows which failures they explain. It does not repeat what a rule did before the call,
    so faults that need an earlier use, or another circumstance, are left out. Rules share its
    observations, which are kept in `seen`, and the fields of each situation that only make the
    mistake visible, kept in `showing`.
    """

    search: Search[CaseT, ObservedT]
    kind: FaultKind
    faults: list[Fault[CaseT]]
    seen: dict[CaseT, ObservedT] = field(default_factory=dict)
    showing: dict[int, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def collect(cls, search: Search[CaseT, ObservedT], kind: FaultKind) -> Known[CaseT, ObservedT]:
        """Return the faults of a kind, results or gradients, that have a likely cause."""
        return cls(search, kind, [each for each in search.faults if is_known(each, kind)])

    def make_mistaken(self, case: CaseT) -> ExplainedSuite[CaseT, ObservedT] | None:
        """Return the suite of the layer that makes these mistakes in a case, or None.

        It makes a mistake only where the fault shows, for example in a single dtype, but with any
        sizes and initial states, since a rule may choose others.
        """
        shown = [fault for fault in self.faults if self._is_made(fault, case)]
        return self._make_layer([fault.cause for fault in shown if fault.cause is not None], case)

    def _make_layer(
        self, causes: Sequence[LikelyCause], case: CaseT
    ) -> ExplainedSuite[CaseT, ObservedT] | None:
        return self.search.suite.make_mistaken(causes, case, gradients=self._has_gradients)

    def _is_made(self, fault: Fault[CaseT], case: CaseT) -> bool:
        """Return whether a mistake is made in a case, because the needs of its fault are there.

        A choice that only makes the mistake visible, such as larger numbers, is not necessary.
        """
        space = self.search.suite.space
        if is_in_any(space, case, fault.situations, LEFT_OUT):
            return True
        return any(
            is_in_any(space, case, [each], (*LEFT_OUT, *self._list_showing(fault, each)))
            for each in fault.situations
        )

    def _list_showing(
        self, fault: Fault[CaseT], situation: MinimalFailure[CaseT]
    ) -> tuple[str, ...]:
        """Return the fields without which all numbers are right although the mistake is made."""
        if id(situation) not in self.showing:
            space, case = self.search.suite.space, situation.finding.case
            other = {name: space.list_others(case, name) for name in situation.required}
            other |= {name: [simpler] for name, simpler in situation.passed.items()}
            self.showing[id(situation)] = tuple(
                name
                for name, values in other.items()
                if name not in LEFT_OUT
                and all(self._hides_with(fault, situation, name, value) for value in values)
            )
        return self.showing[id(situation)]

    def _hides_with(
        self, fault: Fault[CaseT], situation: MinimalFailure[CaseT], name: str, simpler: Any
    ) -> bool:
        suite = self.search.suite
        case = suite.space.change_field(situation.finding.case, name, simpler)
        if case is None or fault.cause is None:
            return False
        mistaken = self._make_layer([fault.cause], case)
        with restore_settings():
            return mistaken is not None and self._is_right(mistaken, case)

    def _is_right(self, suite: ExplainedSuite[CaseT, ObservedT], case: CaseT) -> bool:
        """Return whether the numbers of a layer are right in a case."""
        return not suite.find_broken_facts(suite.observe(case), with_gradients=self._has_gradients)

    @property
    def _has_gradients(self) -> bool:
        return self.kind is FaultKind.GRADIENTS

    def check(self, rule: Rule[Any, Any], case: CaseT) -> RuleOutcome[CaseT]:
        """Return the outcome of a rule on the layer, or UnsupportedCase if there is none."""
        if case not in self.seen:
            mistaken = self.make_mistaken(case)
            if mistaken is None:
                return UnsupportedCase("no layer makes only these mistakes")
            self.seen[case] = mistaken.observe(case)
        with restore_settings():
            return check_case(rule, self.seen[case])

    def prefer_seen(self, events: Sequence[Event[CaseT]]) -> list[Event[CaseT]]:
        """Return the failures, cases with an observation of the layer first, then the simplest."""
        simplest = self.search.sort_simplest(events)
        return sorted(simplest, key=lambda event: event.finding.case not in self.seen)

    def explain(self, rule: Rule[Any, Any], finding: Finding[CaseT]) -> bool | None:
        """Return whether the mistakes make a rule fail in a case, or None if undecided.

        Where the subject's numbers are wrong, the mistakes must make them wrong too. A gradient
        must be the gradient of the wrong results.
        """
        wrong = finding.difference if rule.part is Part.GRADIENTS else None
        # Layers differ in the gradients of rounded results: some pass them on, and others return
        # zero.
        if wrong is not None and may_be_rounded(wrong) and self._rounds_in(finding.case):
            return None
        return self._explain(rule, finding, self.check(rule, finding.case))

    def _explain(
        self, rule: Rule[Any, Any], finding: Finding[CaseT], found: RuleOutcome[CaseT]
    ) -> bool | None:
        """Return the same for a known outcome of the rule on the layer."""
        if found is None:
            # A small error may come from the rounding of the subject, which the layer does not
            # share.
            is_rounding = finding.difference is not None and is_small(finding.difference)
            return None if is_rounding or self._is_wrong_otherwise(finding.case) else False
        if not isinstance(found, Finding) or found.kind is not FindingKind.VIOLATION:
            return None
        made, seen = found.difference, finding.difference
        if made is None or seen is None:
            return True
        # Mistakes with small errors do not explain a large error.
        if is_small(made) and not is_small(seen):
            return False
        # The layer draws other dropout masks than the subject, so gradients of dropout are not
        # compared.
        is_determined = rule.part is Part.GRADIENTS and rule.theme is not Theme.DROPOUT
        return not (is_determined and is_other_number(made, seen))

    def _rounds_in(self, case: CaseT) -> bool:
        """Return whether a mistake of rounding is made in a case."""
        rounding = [each for each in self.faults if each.cause is not None and each.cause.rounding]
        return any(self._is_made(fault, case) for fault in rounding)

    def explain_fault(self, fault: Fault[CaseT]) -> bool:
        """Return whether the mistakes break the rule of another fault on its minimal case.

        If both faults make the same numbers wrong, the mistakes must make them equally wrong.
        """
        finding = fault.minimum.finding
        found = self.check(fault.root, finding.case)
        if not self._explain(fault.root, finding, found):
            return False
        if fault.kind is not self.kind:
            return True
        return isinstance(found, Finding) and _shows_the_same(found, finding)

    def _is_wrong_otherwise(self, case: CaseT) -> bool:
        """Return whether the subject has wrong numbers that the mistakes leave right."""
        fact, mistaken = FACT_OF_KIND[self.kind], self.make_mistaken(case)
        with restore_settings():
            suite, seen = self.search.suite, self.search.observe(case)
            broken = suite.find_broken_facts(seen, with_gradients=self._has_gradients)
            shown = broken.get(Fact.CALL) or broken.get(fact)
            if shown is None or mistaken is None:
                return False
            return self._is_right(mistaken, shown)


def is_other_number(made: Difference, seen: Difference) -> bool:
    """Return whether different numbers are wrong at the same place."""
    if (made.quantity, made.index) != (seen.quantity, seen.index):
        return False
    # A difference that is small relative to the error is no other number: in 16 bits, a tanh that
    # is rounded to 1 has a slope of zero, and the layer that makes the mistake with more digits
    # does not.
    error = max(abs(made.got - made.expected), abs(seen.got - seen.expected))
    return abs(made.got - seen.got) > CLOSE * error


def is_known(fault: Fault[Any], kind: FaultKind) -> bool:
    """Return whether a fault of a kind has a cause. A wrong form of results counts as results."""
    is_plain = not any(each.needed & CIRCUMSTANCES for each in fault.situations)
    is_form = kind is FaultKind.RESULTS and fault.kind is FaultKind.BLOCKED
    return (fault.kind is kind or is_form) and fault.cause is not None and is_plain


def _shows_the_same(made: Finding[Any], seen: Finding[Any]) -> bool:
    """Return whether two findings of a rule on a case show the same error, in four digits."""
    # The ratio of the error to its bound may differ, because the bound is rounded itself.
    one, other = made.difference, seen.difference
    if one is None or other is None:
        return replace(made, index=seen.index, snippet=seen.snippet) == seen
    return _read_difference(one) == _read_difference(other)


def _read_difference(difference: Difference) -> tuple[object, ...]:
    """Return the wrong quantity, its index, and the numbers there."""
    numbers = show_apart(difference.got, difference.expected)
    return difference.quantity, difference.index, numbers

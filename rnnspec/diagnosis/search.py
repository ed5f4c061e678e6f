"""The state of the search for faults: the failures, and the faults found so far."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from rnnspec.contract.clauses import Level
from rnnspec.contract.parts import Part
from rnnspec.diagnosis.events import FACT_OF_KIND, Event, FaultKind, list_events, sort_simplest
from rnnspec.diagnosis.fault import CIRCUMSTANCES, Fault
from rnnspec.diagnosis.suite import Budget, CauseQuery, ExplainedSuite
from rnnspec.engine.campaign import Watcher, check_by_all
from rnnspec.engine.explanations import LikelyCause
from rnnspec.engine.minimise import MinimalFailure, is_in_any
from rnnspec.engine.outcome import CaseT, FailingCase, Finding, ObservedT
from rnnspec.engine.suite import CaseSpace
from rnnspec.rulekit.rule import Fact, Rule
from rnnspec.subjects.failures import Failure

ValueT = TypeVar("ValueT")
# Halving or doubling it changes no report of three wrong layers
# (`python -m benchmarks.thresholds`); the gradient of one of them is cut every 32 steps. The
# numbers lie on both sides of the periods of up to 10 steps (`PERIODS`).
SHORT = (3, 12)
"""Numbers of steps that represent all short sequences."""
# Halving or doubling it changes no report of 16 wrong layers (`python -m benchmarks.thresholds`).
# It limits the number of calls, which is this number times the number of fields.
MOST_NEAR = 2
"""The number of other values of each field that are tried near a stopped call."""


def widen(space: CaseSpace[CaseT], case: CaseT) -> CaseT | None:
    """Return a case in the simplest dtype, or None if the case has that dtype already."""
    simpler = space.list_simpler(case, "dtype") if "dtype" in space.fields else []
    return space.change_field(case, "dtype", simpler[0]) if simpler else None


@dataclass
class Search(Generic[CaseT, ObservedT]):
    """The search for the faults behind the failing cases of a suite.

    events       the failures, an event for each rule that fails on each case
    faults       the faults found so far
    until        the search ends at the first fault of one of these levels
    watch        called with the number of failures that faults explain, and the number of all
                 failures, whenever one of them has changed
    budget       the work left for the search for likely causes
    """

    suite: ExplainedSuite[CaseT, ObservedT]
    cases: list[FailingCase[CaseT]]
    faults: list[Fault[CaseT]] = field(default_factory=list)
    until: Collection[Level] = ()
    watch: Watcher | None = None
    budget: Budget = field(default_factory=Budget)

    @property
    def is_done(self) -> bool:
        """Whether the search has found the fault at which it ends."""
        return any(fault.root.level in self.until for fault in self.faults)

    def __post_init__(self) -> None:
        self.rules = {rule.id: rule for rule in self.suite.rules}
        self.events: list[Event[CaseT]] = []
        self.has_stopped = False
        self._observed: dict[CaseT, ObservedT] = {}
        self._remembered: dict[Hashable, Any] = {}
        self._failures, self._reported = 0, (-1, -1)
        self.add_cases(self.cases)

    def add_cases(self, cases: Iterable[FailingCase[CaseT]]) -> list[Event[CaseT]]:
        """Add failing cases, also ones that are checked later, and return their failures."""
        events = list(list_events(self.rules, cases))
        self.events.extend(events)
        self._failures += len(events)
        self._report()
        self.has_stopped |= any(event.kind is FaultKind.BLOCKED for event in events)
        return events

    def _report(self) -> None:
        """Report to `watch` how many failures are explained, if the number has changed."""
        explained = sum(len(fault.events) for fault in self.faults)
        found = min(explained, self._failures), self._failures
        if self.watch is not None and found != self._reported:
            self._reported = found
            self.watch(*found)

    def observe(self, case: CaseT) -> ObservedT:
        """Return the observation of a failing case, which is kept for the next use."""
        self._report()
        if case not in self._observed:
            self._observed[case] = self.suite.observe(case)
        return self._observed[case]

    def find_broken_facts(
        self, case: CaseT, *, with_gradients: bool = False
    ) -> Mapping[Fact, CaseT]:
        """Return the first fact that does not hold for a new layer in a case."""

        def find() -> Mapping[Fact, CaseT]:
            seen = self._observed.get(case) or self.suite.observe(case)
            return self.suite.find_broken_facts(seen, with_gradients=with_gradients)

        # Several failures are minimised over the same cases, so each case is checked only once.
        return self.remember(("broken facts", case, with_gradients), find)

    def find_blocker(self, case: CaseT) -> Failure | None:
        """Return the failure that stops the call of a new layer in a case, or None."""

        def find() -> Failure | None:
            return self.suite.find_blocker(self._observed.get(case) or self.suite.observe(case))

        return self.remember(("blocker", case), find)

    def remember(self, key: Hashable, make: Callable[[], ValueT]) -> ValueT:
        """Return a value that is computed once for each key."""
        if key not in self._remembered:
            self._remembered[key] = make()
        found: ValueT = self._remembered[key]
        return found

    def merge(self, fault: Fault[CaseT], other: Fault[CaseT]) -> None:
        """Merge a fault into another."""
        other.take_in(fault)
        self.faults.remove(fault)

    def add_or_merge(self, fault: Fault[CaseT]) -> None:
        """Add a fault, or merge it into the fault with the same name."""
        same = next((each for each in self.faults if each.root.id == fault.root.id), None)
        if same is None:
            self.faults.append(fault)
        else:
            same.take_in(fault)

    def share_circumstance(self, one: MinimalFailure[CaseT], other: MinimalFailure[CaseT]) -> bool:
        """Return whether two situations need the same way of building or calling a layer."""
        shared = one.needed & other.needed & CIRCUMSTANCES
        valued = shared - {"memory_layout"}
        cases, space = (one.finding.case, other.finding.case), self.suite.space
        are_equal = space.is_covered(*cases, valued) and space.is_covered(*cases[::-1], valued)
        return bool(shared) and are_equal

    def is_minor(self, fault: Fault[CaseT], rule: Rule[Any, Any]) -> bool:
        """Return whether a fault is named by a SHOULD and the rule is a MUST."""
        return fault.root.level is not Level.MUST and rule.level is Level.MUST

    def lies_in(self, case: CaseT, fault: Fault[CaseT], *, needs_something: bool = True) -> bool:
        """Return whether a case lies in a situation of a fault."""
        return is_in_any(self.suite.space, case, fault.situations, needs_something=needs_something)

    def is_stopped(self, case: CaseT) -> bool:
        """Return whether the subject is stopped in a case, so that the case shows nothing else."""
        return self.has_stopped and self.find_blocker(case) is not None

    def hides_gradients(self, case: CaseT) -> bool:
        """Return whether no rule about gradients applies to a case, or it is stopped."""
        rules = (rule for rule in self.suite.rules if rule.part is Part.GRADIENTS)
        return self.is_stopped(case) or not any(rule.when(case) for rule in rules)

    def widen(self, case: CaseT) -> CaseT | None:
        """Return a case in the simplest dtype, or None if the case has that dtype already."""
        return widen(self.suite.space, case)

    def classify_minimum(
        self, rule: Rule[Any, Any], finding: Finding[CaseT]
    ) -> tuple[FaultKind, Fact | None]:
        """Return the kind of fault that a minimal case shows, and the fact that does not hold."""
        _, failing = check_by_all(self.suite, [rule], finding.index, finding.case)
        if failing is None:
            return FaultKind.REQUIREMENT, None
        event = next(list_events(self.rules, [failing]))
        fact = FACT_OF_KIND.get(event.kind)
        # If the rule made a call with other numbers, the case of that call must show the fault as
        # well.
        if (
            fact is not None
            and fact not in failing.broken
            and fact not in self.find_broken_facts(event.shown, with_gradients=True)
        ):
            return FaultKind.REQUIREMENT, None
        return event.kind, fact

    def list_rules_about(self, minimum: MinimalFailure[CaseT], kind: FaultKind) -> list[str]:
        """Return the rules that fail in a situation and are about fields that it needs.

        Failures that are explained by another fact do not count.
        """
        found = {}
        for event in self.events:
            rule = self.rules[event.rule]
            is_other = event.case.broken and kind not in (event.kind, FaultKind.REQUIREMENT)
            if not event.is_checked or is_other:
                continue
            if rule.about and rule.about <= minimum.characteristic:
                # A rule may bring about the circumstance that it is about by itself, in any case.
                rest = minimum.needed - (rule.about & CIRCUMSTANCES)
                if self.suite.space.is_covered(event.case.case, minimum.finding.case, rest):
                    found[rule.id] = True
        return list(found)

    def find_cause(
        self,
        kind: FaultKind,
        events: list[Event[CaseT]],
        fact: Fact | None,
        *,
        is_partial: bool = False,
        besides: LikelyCause | None = None,
        part: str = "",
        minimum: MinimalFailure[CaseT] | None = None,
    ) -> LikelyCause | None:
        """Return the likely cause of these events, or None.

        is_partial  the cause may explain only some of the events
        besides     this cause is present too
        part        the cause explains this result only
        minimum     the cause explains this case and larger cases of the same situation; a cause is
                    preferred if it also predicts that the fault is absent in simpler cases
        """
        if fact is None:
            return None
        shown = dict.fromkeys(event.shown for event in self.sort_simplest(events))
        simplest = [] if minimum is None else self._list_alike(minimum, fact)
        passing = [] if minimum is None else self._list_beside(minimum, kind)
        return self.explain_cases(
            kind,
            dict.fromkeys([*simplest, *shown]),
            passing,
            is_partial=is_partial,
            besides=besides,
            part=part,
        )

    def explain_cases(
        self,
        kind: FaultKind,
        failing: Iterable[CaseT],
        passing: Iterable[CaseT] = (),
        *,
        is_partial: bool = False,
        besides: LikelyCause | None = None,
        part: str = "",
    ) -> LikelyCause | None:
        """Return the likely cause of the failing cases, as far as the budget allows, or None.

        The options are the same as in `find_cause`.
        """
        query = CauseQuery(
            failing=map(self.observe, failing),
            passing=map(self.observe, passing),
            gradients=kind is FaultKind.GRADIENTS,
            is_partial=is_partial,
            besides=besides,
            part=part,
            budget=self.budget,
        )
        return self.suite.find_likely_cause(query)

    def find_common_cause(
        self, kind: FaultKind, events: list[Event[CaseT]], fact: Fact | None
    ) -> LikelyCause | None:
        """Return the likely cause of failures in several cases, or None."""
        # A single case is left to the search with a minimal case, which refutes most mistakes in
        # much less time.
        return self.find_cause(kind, events, fact) if _show_in_several(events) else None

    def find_main_cause(
        self,
        kind: FaultKind,
        events: list[Event[CaseT]],
        fact: Fact | None,
        minimum: MinimalFailure[CaseT],
    ) -> LikelyCause | None:
        """Return the likely cause of failures in one or several cases, or None."""
        return (
            self.find_common_cause(kind, events, fact)
            or self.find_cause(kind, events, fact, minimum=minimum)
            or (None if _show_in_several(events) else self.find_cause(kind, events, fact))
        )

    def find_cause_beside(self, kind: FaultKind, events: list[Event[CaseT]]) -> LikelyCause | None:
        """Return the mistake that explains failures together with a known cause, or None."""
        # A call counts as stopped if its results have a wrong form, so their cause may be one of
        # results.
        kinds = (kind, FaultKind.RESULTS) if kind is FaultKind.BLOCKED else (kind,)
        known = [fault.cause for fault in self.faults if fault.cause and fault.kind in kinds]
        fact = FACT_OF_KIND.get(kind)
        found = (self.find_cause(kind, events, fact, besides=each) for each in known)
        return next(filter(None, found), None)

    def _list_alike(self, minimum: MinimalFailure[CaseT], fact: Fact) -> list[CaseT]:
        """Return a minimal case and larger cases with the same choices that show the same fault."""
        # Few of the drawn cases may distinguish between mistakes, so add larger ones.
        case, space = minimum.finding.case, self.suite.space
        larger = [space.reseed(space.enlarge(case), space.get_seed(case) + each) for each in (0, 1)]
        gradients = fact is Fact.GRADIENTS

        def is_broken(each: CaseT) -> bool:
            return fact in self.find_broken_facts(each, with_gradients=gradients)

        return [case, *filter(is_broken, larger)]

    def _list_passed(self, minimum: MinimalFailure[CaseT]) -> list[CaseT]:
        """Return cases near a minimal case that do not show the fault.

        They have a simpler value of a field that the fault needs, or another value where it needs
        the simplest.
        """
        space, case = self.suite.space, minimum.finding.case
        others = (
            (name, value)
            for name in minimum.required
            for value in space.list_others(case, name)[:MOST_NEAR]
        )
        pairs = [*minimum.passed.items(), *others]
        changed = [space.change_field(case, name, value) for name, value in pairs]
        # A short sequence without the fault refutes most mistakes if its other sizes are large
        # enough to show them.
        for steps in SHORT:
            if minimum.passed.get("steps", 0) > steps:
                short = space.change_field(case, "steps", steps)
                changed.append(short and space.enlarge(short))
        return [each for each in changed if each is not None]

    def _list_beside(self, minimum: MinimalFailure[CaseT], kind: FaultKind) -> list[CaseT]:
        """Return cases near a minimal case that help to choose between causes of the fault."""
        if kind is FaultKind.BLOCKED:
            return self._list_near(minimum.finding.case)
        return self._list_passed(minimum)

    def _list_near(self, case: CaseT) -> list[CaseT]:
        """Return cases that differ in one field, or in two sizes that are exchanged."""
        # A call may be stopped in all dtypes but one, which is neither simpler nor less simple.
        space = self.suite.space
        changed = [
            space.change_field(case, name, value)
            for name in space.fields
            for values in (space.list_simpler(case, name), space.list_others(case, name))
            for value in values[:MOST_NEAR]
        ]
        near = [
            *(each for each in changed if each is not None),
            *space.exchange_sizes(case),
            *space.list_other_dtypes(case),
        ]
        return [each for each in dict.fromkeys(near) if each != case]

    def choose_representative(self, events: Sequence[Event[CaseT]]) -> Rule[Any, Any]:
        """Return the rule that is stopped most often, preferably a rule about gradients."""
        names = [event.rule for event in events]
        return max(
            (rule for rule in self.suite.rules if rule.id in names),
            key=lambda rule: (rule.part is Part.GRADIENTS, names.count(rule.id)),
        )

    def is_covered(self, event: Event[CaseT], minimum: MinimalFailure[CaseT]) -> bool:
        """Return whether an event lies in a situation."""
        return is_in_any(self.suite.space, event.shown, [minimum])

    def choose_simplest(self, events: Sequence[Event[CaseT]]) -> Event[CaseT]:
        """Return the event with the simplest case."""
        return self.sort_simplest(events)[0]

    def sort_simplest(self, events: Iterable[Event[CaseT]]) -> list[Event[CaseT]]:
        """Return the events sorted by their cases, the simplest first."""
        return sort_simplest(self.suite.space, events)


def _show_in_several(events: Sequence[Event[Any]]) -> bool:
    """Return whether the failures come from more than one case."""
    return len({event.shown for event in events}) > 1

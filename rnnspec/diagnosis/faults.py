"""Faults: what is behind the broken rules, each told once.

A rule that was stopped, or whose failure rests on a broken fact, is part of that fault. What is
left fails by itself. Each fault is minimised once, and named by one of the rules that fail on its
minimal case.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Generic, TypeVar

from rnnspec.contract.clauses import Level
from rnnspec.diagnosis.events import KIND_OF_FACT, Event, FaultKind, list_events
from rnnspec.diagnosis.likely_cause import LikelyCause
from rnnspec.diagnosis.naming import CIRCUMSTANCES, rank_rules
from rnnspec.diagnosis.recheck import judge_without
from rnnspec.engine.campaign import judge_by_all, list_applicable_rules
from rnnspec.engine.minimise import MinimalFailure, minimise, probe_rule
from rnnspec.engine.outcome import (
    Blocker,
    FailingCase,
    Finding,
    FindingKind,
    Progress,
    describe_blocker,
)
from rnnspec.engine.suite import Observed, Suite
from rnnspec.rulekit.rule import Fact, Part, Rule

CaseT = TypeVar("CaseT")
ObservedT = TypeVar("ObservedT", bound=Observed[Any])
MOST_FAULTS = 4
"""After so many faults, the rest of the wrong cases are added to the last one."""
RULE_EVALUATIONS = 60
"""So many cases are judged to minimise the failure of a rule that fails by itself."""
TRIED_SEEDS = 24
"""So many seeds are tried to find one of which a rule that is checked in some cases applies."""


@dataclass
class Fault(Generic[CaseT]):
    """One thing that is wrong.

    kind          what sort of thing
    root          the rule that names it
    situations    minimal cases that show what is wrong, each with what it needs
    minimum       the first of them, with what the root says there; another if it does not fail
    events        the failures that are part of it
    consequences  the other rules that fail because of it
    waiting       the rules that could not be judged because of it
    cause         what would explain all its cases, if that is known
    """

    kind: FaultKind
    root: Rule[Any, Any]
    situations: list[MinimalFailure[CaseT]]
    minimum: MinimalFailure[CaseT]
    events: list[Event[CaseT]]
    consequences: set[str] = field(default_factory=set)
    waiting: set[str] = field(default_factory=set)
    cause: LikelyCause | None = None

    @property
    def situation(self) -> MinimalFailure[CaseT]:
        """The minimal case by which the fault was found."""
        return self.situations[0]

    @property
    def cases(self) -> dict[int, FailingCase[CaseT]]:
        """The failing cases that it explains, by index."""
        return {event.case.index: event.case for event in self.events}

    def count_events(self, rule: str) -> int:
        """Return how many failures of a rule are part of this fault."""
        return sum(event.rule == rule for event in self.events)


@dataclass
class FaultFinder(Generic[CaseT, ObservedT]):
    """The search for the faults behind the failing cases of a suite."""

    suite: Suite[CaseT, ObservedT]
    cases: list[FailingCase[CaseT]]
    faults: list[Fault[CaseT]] = field(default_factory=list)
    unexplained: list[Event[CaseT]] = field(default_factory=list)
    """Failures whose broken fact shows only in the course of a rule, not on a case by itself."""

    def __post_init__(self) -> None:
        self.rules = {rule.id: rule for rule in self.suite.rules}
        self.events = list(list_events(self.rules, self.cases))

    def add_case(self, case: FailingCase[CaseT]) -> None:
        """Add a failing case that was judged later."""
        self.cases.append(case)
        self.events.extend(list_events(self.rules, [case]))

    def find_common(self) -> None:
        """Find the one mistake that explains everything that is wrong with calls, if there is one.

        It may stop the subject in some cases, and give wrong results in others.
        """
        events = [
            event
            for event in self.events
            if event.kind is FaultKind.RESULTS
            or (event.kind is FaultKind.BLOCKED and event.blocker == event.case.blocker)
        ]
        kinds = {event.kind for event in events}
        cause = self._find_cause(FaultKind.BLOCKED, events, Fact.CALL) if len(kinds) == 2 else None
        if cause is None:
            return
        start = self._choose_simplest(events)
        fact = Fact.CALL if start.kind is FaultKind.BLOCKED else Fact.RESULTS

        def probe(case: CaseT) -> Finding[CaseT] | None:
            broken = self.suite.find_broken_facts(self.suite.observe(case))
            return Finding(start.case.index, case, fact.value) if fact in broken else None

        found = probe(start.shown)
        if found is None:
            return
        minimum = minimise(self.suite.space, found, probe)
        self._add_fault(start.kind, minimum, events, fact, cause)
        taken = {id(event) for event in events}
        self.events = [event for event in self.events if id(event) not in taken]

    def group_blocked(self) -> dict[Blocker, list[Event[CaseT]]]:
        """Return the events in which the subject was stopped by what stopped it, most first."""
        groups: dict[Blocker, list[Event[CaseT]]] = {}
        for event in self.events:
            if event.kind is FaultKind.BLOCKED and event.blocker is not None:
                groups.setdefault(event.blocker, []).append(event)
        return dict(sorted(groups.items(), key=lambda pair: -len(pair[1])))

    def find_blocked_calls(self) -> None:
        """Find the faults that stop the judged call."""
        for blocker, events in self.group_blocked().items():
            stopped = [event for event in events if event.case.blocker == blocker]
            if stopped and not self._join_wider(FaultKind.BLOCKED, events):
                self._add_blocked_call(blocker, events, self._choose_simplest(stopped))

    def find_blocked_elsewhere(self) -> None:
        """Find the faults that stop the subject in what a rule does besides the judged call."""
        for blocker, events in self.group_blocked().items():
            if any(event.case.blocker == blocker for event in events):
                continue
            rest = [event for event in events if not self._join_other(event.rule, [event])]
            if rest:
                self._add_blocked_elsewhere(rest)

    def _add_blocked_call(
        self, blocker: Blocker, events: list[Event[CaseT]], start: Event[CaseT]
    ) -> None:
        finding = start.finding

        def probe(case: CaseT) -> Finding[CaseT] | None:
            failure = self.suite.find_blocker(self.suite.observe(case))
            if failure is None or describe_blocker(failure) != blocker:
                return None
            kind = FindingKind.SUBJECT_ERROR
            return Finding(finding.index, case, str(failure), kind=kind, blocker=blocker)

        minimum = minimise(self.suite.space, finding, probe)
        self._add_fault(FaultKind.BLOCKED, minimum, events, Fact.CALL)

    def _add_blocked_elsewhere(self, events: list[Event[CaseT]]) -> None:
        rule = self._choose_representative(events)
        start = self._choose_simplest([event for event in events if event.rule == rule.id])
        probe = probe_rule(self.suite, rule, start.finding)
        minimum = minimise(self.suite.space, start.finding, probe, rule.when, RULE_EVALUATIONS)
        case = minimum.finding.case
        broken = self.suite.find_broken_facts(self.suite.observe(case), with_gradients=True)
        if any(self._join_covering(case, events, KIND_OF_FACT[fact]) for fact in broken):
            return
        differentiates = any(self.rules[each.rule].part is Part.GRADIENTS for each in events)
        fact = Fact.GRADIENTS if differentiates else None
        self._add_fault(FaultKind.REQUIREMENT, minimum, events, fact)

    def _choose_representative(self, events: Sequence[Event[CaseT]]) -> Rule[Any, Any]:
        names = [event.rule for event in events]
        return max(
            (rule for rule in self.suite.rules if rule.id in names),
            key=lambda rule: (rule.part is Part.GRADIENTS, names.count(rule.id)),
        )

    def find_wrong(self, kind: FaultKind, fact: Fact) -> None:
        """Find the faults in results or gradients: situations that cover all wrong cases.

        If one mistake explains all of them, or all are only inaccurate, they are one fault.
        """
        events = [event for event in self.events if event.kind is kind]
        cause = self._find_cause(kind, events, fact) if events else None
        for _ in range(MOST_FAULTS):
            if not events or self._join_wider(kind, events):
                return
            start = self._choose_simplest(events)

            def probe(case: CaseT, index: int = start.case.index) -> Finding[CaseT] | None:
                is_wrong = fact in self.suite.find_broken_facts(
                    self.suite.observe(case), with_gradients=fact is Fact.GRADIENTS
                )
                return Finding(index, case, fact.value) if is_wrong else None

            found = probe(start.shown)
            if found is None:
                self.unexplained += [event for event in events if event.shown == start.shown]
                events = [event for event in events if event.shown != start.shown]
                continue
            minimum = minimise(self.suite.space, found, probe)
            if fact is Fact.GRADIENTS and self._is_hidden(minimum.finding.case, events):
                return
            covered = [
                event
                for event in events
                if cause or self._is_covered(event, minimum) or (event.is_small and start.is_small)
            ]
            fault = self._add_fault(kind, minimum, covered or [start], fact, cause)
            taken = {id(event) for event in fault.events}
            events = [event for event in events if id(event) not in taken]
        same = [fault for fault in self.faults if fault.kind is kind]
        if same:
            same[-1].events.extend(events)
        else:
            self.unexplained += events

    def _is_hidden(self, case: CaseT, events: list[Event[CaseT]]) -> bool:
        """Make wrong gradients part of a fault whose wrong results rounding hides, if so."""
        wider = self._widen(case)
        if wider is None or not self.suite.find_broken_facts(self.suite.observe(wider)):
            return False
        return self._join_covering(wider, events, FaultKind.RESULTS)

    def find_others(self) -> None:
        """Find the requirements that are broken by themselves."""
        own: dict[str, list[Event[CaseT]]] = {}
        by_itself = [event for event in self.events if event.kind is FaultKind.REQUIREMENT]
        for event in [*by_itself, *self.unexplained]:
            own.setdefault(event.rule, []).append(event)
        order = [rule.id for rule in self.suite.rules]
        for name in sorted(own, key=lambda name: (-len(own[name]), order.index(name))):
            if not self._join_other(name, own[name]):
                self._add_other(self.rules[name], own[name])

    def _join_other(self, name: str, events: list[Event[CaseT]]) -> bool:
        """Make the failures of a rule part of a fault that explains them, if there is one."""
        rule = self.rules[name]
        for fault in self.faults:
            is_root = fault.root.id == rule.id
            if is_root or self._is_presupposed(fault, rule) or self._coincides(fault, rule, events):
                fault.events.extend(events)
                return True
        return False

    def _is_presupposed(self, fault: Fault[CaseT], rule: Rule[Any, Any]) -> bool:
        broken = {fault.root.id, *(event.rule for event in fault.events if event.is_judged)}
        patterns = [each for each in rule.presupposes if isinstance(each, str)]
        return any(fnmatchcase(name, pattern) for name in broken for pattern in patterns)

    def _coincides(
        self, fault: Fault[CaseT], rule: Rule[Any, Any], events: list[Event[CaseT]]
    ) -> bool:
        """Return whether a rule fails by itself only in cases of a fault of the same sort."""
        if fault.root.part is not rule.part or rule.part is Part.INTERFACE:
            return False
        if rule.part is Part.MODULE and fault.root.theme is not rule.theme:
            return False
        return {event.case.index for event in events} <= fault.cases.keys()

    def _add_other(self, rule: Rule[Any, Any], events: list[Event[CaseT]]) -> None:
        """Add the fault of a rule that fails by itself.

        On its minimal case, a fact that it rests on may turn out not to hold: what was seen in a
        dtype whose rounding hides the fault is wrong in another.
        """
        start = self._choose_simplest(events)
        probe = probe_rule(self.suite, rule, start.finding)
        minimum = minimise(self.suite.space, start.finding, probe, rule.when, RULE_EVALUATIONS)
        kind, fact = self._classify_minimum(rule, minimum.finding)
        case = minimum.finding.case
        if fact is not None:
            hidden = fact is Fact.GRADIENTS and self._is_hidden(case, events)
            if not hidden and not self._join_covering(case, events, kind):
                self._add_fault(kind, minimum, events, fact)
        elif not self._join_hidden(rule, case, events):
            self.faults.append(Fault(kind, rule, [minimum], minimum, events))

    def _join_hidden(self, rule: Rule[Any, Any], case: CaseT, events: list[Event[CaseT]]) -> bool:
        """Make events part of a fault in which their minimal case lies, or does in a wider dtype.

        A fault in results may be too small for the rounding of a dtype, and still show in what
        rests on them. What a constructor accepts or a call refuses is never hidden so.
        """
        if rule.part is Part.INTERFACE:
            return False
        if self._join_covering(case, events):
            return True
        wider = self._widen(case)
        if wider is None:
            return False
        broken = self.suite.find_broken_facts(self.suite.observe(wider))
        return any(self._join_covering(wider, events, KIND_OF_FACT[fact]) for fact in broken)

    def _widen(self, case: CaseT) -> CaseT | None:
        """Return a case in the simplest dtype, or None if it is in that already."""
        space = self.suite.space
        simpler = space.list_simpler(case, "dtype") if "dtype" in space.fields else []
        return space.change_field(case, "dtype", simpler[0]) if simpler else None

    def _classify_minimum(
        self, rule: Rule[Any, Any], finding: Finding[CaseT]
    ) -> tuple[FaultKind, Fact | None]:
        _, failing = judge_by_all(self.suite, [rule], finding.index, finding.case)
        if failing is None:
            return FaultKind.REQUIREMENT, None
        kind = next(list_events(self.rules, [failing])).kind
        facts = {each: fact for fact, each in KIND_OF_FACT.items()}
        return kind, facts.get(kind)

    def _join_covering(
        self, case: CaseT, events: list[Event[CaseT]], kind: FaultKind | None = None
    ) -> bool:
        """Make events part of the fault in whose situation their minimal case lies.

        Without a kind, a fault that needs nothing is left out, since every case lies in it.
        """
        for fault in self.faults:
            matches = fault.kind is not FaultKind.REQUIREMENT and kind in (None, fault.kind)
            if matches and self._lies_in(case, fault, needs_something=kind is None):
                fault.events.extend(events)
                return True
        return False

    def _lies_in(self, case: CaseT, fault: Fault[CaseT], *, needs_something: bool = True) -> bool:
        """Return whether a case lies in a situation of a fault."""
        return any(
            self.suite.space.is_covered(case, each.finding.case, each.needed)
            for each in fault.situations
            if each.needed or not needs_something
        )

    def _add_fault(
        self,
        kind: FaultKind,
        minimum: MinimalFailure[CaseT],
        events: list[Event[CaseT]],
        fact: Fact | None,
        cause: LikelyCause | None = None,
    ) -> Fault[CaseT]:
        """Name a fault, and add it to one of the same name if there is one."""
        at_minimum = self._judge(minimum.finding)
        cause = cause or self._find_cause(kind, events, fact)
        judged = {event.rule for event in events if event.is_judged}
        judged |= {name for name, each in at_minimum.items() if each.blocker is None}
        judged |= set(self._list_rules_about(minimum.telling))
        names = {*at_minimum, *(event.rule for event in events)}
        names.update(self._list_rules_about(minimum.telling))
        ranked = rank_rules(
            [rule for rule in self.suite.rules if rule.id in names],
            minimum.telling,
            fact,
            judged,
            cause.rules if cause else (),
        )
        candidates = ranked or [self._choose_representative(events)]
        root, told = self._tell(candidates, minimum, at_minimum, events)
        fault = self._find_same(root, minimum, cause)
        if fault is None:
            fault = Fault(kind, root, [], told, [], cause=cause)
            self.faults.append(fault)
        fault.situations.append(minimum)
        fault.cause = fault.cause or cause
        fault.events.extend(events)
        return fault

    def _find_same(
        self,
        root: Rule[Any, Any],
        situation: MinimalFailure[CaseT],
        cause: LikelyCause | None,
    ) -> Fault[CaseT] | None:
        """Return the fault of the same name or cause, or one that needs the same circumstance.

        What goes wrong only then is one fault, whatever else it needs.
        """
        same = (
            fault
            for fault in self.faults
            if fault.root.id == root.id
            or (cause and fault.cause and cause.text == fault.cause.text)
        )
        alike = (
            fault
            for fault in self.faults
            if any(self._share_circumstance(situation, each) for each in fault.situations)
        )
        return next(same, None) or next(alike, None)

    def _share_circumstance(self, one: MinimalFailure[CaseT], other: MinimalFailure[CaseT]) -> bool:
        shared = one.needed & other.needed & CIRCUMSTANCES
        valued = shared - {"memory_layout"}
        covered = self.suite.space.is_covered(one.finding.case, other.finding.case, valued)
        return bool(shared) and covered

    def _list_rules_about(self, fields: Collection[str]) -> list[str]:
        """Return the rules that fail somewhere and are about nothing but some of these fields."""
        failing = {event.rule for event in self.events if event.is_judged}
        return [
            rule.id
            for rule in self.suite.rules
            if rule.id in failing and rule.about and rule.about <= set(fields)
        ]

    def _judge(self, finding: Finding[CaseT]) -> dict[str, Finding[CaseT]]:
        """Judge a minimal case by all rules, and return what those that fail say."""
        rules = list_applicable_rules(self.suite, finding.case)
        _, failing = judge_by_all(self.suite, rules, finding.index, finding.case)
        return {} if failing is None else dict(failing.findings)

    def _tell(
        self,
        candidates: Sequence[Rule[Any, Any]],
        minimum: MinimalFailure[CaseT],
        at_minimum: dict[str, Finding[CaseT]],
        events: list[Event[CaseT]],
    ) -> tuple[Rule[Any, Any], MinimalFailure[CaseT]]:
        """Return the best rule that fails on the minimal case, with what it says there.

        A rule that is checked in some cases only is tried with other seeds. If none of the best
        rules fails there, return the best with a minimal case of its own.
        """
        for rule in candidates[:3]:
            found = at_minimum.get(rule.id) or self._try_seeds(rule, minimum.finding)
            if found is not None:
                told = MinimalFailure(
                    found,
                    minimum.passed,
                    minimum.required,
                    minimum.evaluations,
                    minimum.interrupted,
                )
                return rule, told
        rule = candidates[0]
        own = [event for event in events if event.rule == rule.id]
        if not own:
            return rule, minimum
        start = self._choose_simplest(own)
        probe = probe_rule(self.suite, rule, start.finding)
        return rule, minimise(self.suite.space, start.finding, probe, rule.when, RULE_EVALUATIONS)

    def _try_seeds(self, rule: Rule[Any, Any], finding: Finding[CaseT]) -> Finding[CaseT] | None:
        space = self.suite.space
        # Seeds of the same parity come first: some prior uses have two ways, and it chooses one.
        steps = sorted(range(TRIED_SEEDS), key=lambda step: step % 2)
        seeds = [space.get_seed(finding.case) + 7 * step for step in steps]
        cases = [space.reseed(finding.case, seed) for seed in seeds]
        case = next((each for each in cases if rule.when(each)), None)
        if case is None:
            return None
        return self._judge_one(rule, case, finding.index)

    def _judge_one(self, rule: Rule[Any, Any], case: CaseT, index: int) -> Finding[CaseT] | None:
        outcomes, _ = judge_by_all(self.suite, [rule], index, case)
        found = outcomes[rule.id]
        return found if isinstance(found, Finding) else None

    def _find_cause(
        self, kind: FaultKind, events: list[Event[CaseT]], fact: Fact | None
    ) -> LikelyCause | None:
        if fact is None:
            return None
        shown = dict.fromkeys(event.shown for event in self._sort_simplest(events))
        return self.suite.find_likely_cause(list(shown), gradients=kind is FaultKind.GRADIENTS)

    def _join_wider(self, kind: FaultKind, events: list[Event[CaseT]]) -> bool:
        """Make events part of a fault that stops the subject, if they lie in its situation."""
        for fault in self.faults:
            if fault.kind is not FaultKind.BLOCKED:
                continue
            if all(self._lies_in(event.shown, fault) for event in events):
                fault.events.extend(events)
                return True
        return False

    def _is_covered(self, event: Event[CaseT], minimum: MinimalFailure[CaseT]) -> bool:
        return self.suite.space.is_covered(event.shown, minimum.finding.case, minimum.needed)

    def _choose_simplest(self, events: Sequence[Event[CaseT]]) -> Event[CaseT]:
        return self._sort_simplest(events)[0]

    def _sort_simplest(self, events: Iterable[Event[CaseT]]) -> list[Event[CaseT]]:
        space = self.suite.space

        def measure(event: Event[CaseT]) -> tuple[int, int, int]:
            raised = len(space.list_raised(event.shown))
            return raised, space.measure_size(event.shown), event.case.index

        return sorted(events, key=measure)


def find_faults(suite: Suite[CaseT, ObservedT], progress: Progress[CaseT]) -> list[Fault[CaseT]]:
    """Return the faults behind the failing cases, the most important first."""
    finder = FaultFinder(suite, sorted(progress.failing.values(), key=lambda each: each.index))
    finder.find_common()
    finder.find_blocked_calls()
    stopping = [situation for fault in finder.faults for situation in fault.situations]
    for case in judge_without(suite, progress, stopping):
        finder.add_case(case)
    finder.find_wrong(FaultKind.RESULTS, Fact.RESULTS)
    finder.find_wrong(FaultKind.GRADIENTS, Fact.GRADIENTS)
    finder.find_others()
    finder.find_blocked_elsewhere()
    for fault in finder.faults:
        _list_members(fault)
    kinds = list(FaultKind)
    return sorted(
        finder.faults,
        key=lambda fault: (
            fault.root.level is not Level.MUST,
            kinds.index(fault.kind),
            -len(fault.events),
        ),
    )


def _list_members(fault: Fault[Any]) -> None:
    judged = {event.rule for event in fault.events if event.is_judged}
    fault.consequences = judged - {fault.root.id}
    fault.waiting = {event.rule for event in fault.events} - judged - {fault.root.id}

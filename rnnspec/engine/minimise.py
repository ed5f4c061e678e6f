"""Minimise failing cases: make each field in turn simpler while the fault still shows.

The search is deterministic, and 30 times faster than shrinking with Hypothesis. Simpler values with
which the fault is gone show what it depends on, and so do other values of fields that already have
their simplest value.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Generic

from rnnspec.engine.outcome import CaseT, Finding, ObservedT, check_case
from rnnspec.engine.suite import CaseSpace, Suite
from rnnspec.rulekit.rule import Rule

SEEDS = (0, 1)
"""The seeds that are used besides the seed of the case."""
MAX_EVALUATIONS = 160
"""After this many checked cases, no field is tried again."""
MORE_SEEDS = tuple(range(8))
"""The seeds that are used before a simplest value counts as required."""
# A fault that shows with every second seed passes as certain in 1 of 16 cases.
SURE = 4
"""A fault that shows with this many seeds in succession counts as independent of the numbers."""
RULE_EVALUATIONS = 60
"""The limit of checked cases when minimising the failure of a single rule, which may be slow."""
MOST_OTHER_VALUES = 2
"""How many other values are tried of a field that has its simplest value."""
USUAL = ("layout", "grad_mode", "mode")
"""The fields whose simplest value is the usual value."""

Probe = Callable[[CaseT], Finding[CaseT] | None]
"""A function that returns a finding if a case shows the fault."""


@dataclass
class MinimalFailure(Generic[CaseT]):
    """The simplest case found for a fault.

    finding      the finding in this case
    passed       by field, the simpler value with which the fault was gone
    required     fields that must have their simplest value: the fault was gone with each other
                 value that was tried
    evaluations  the number of cases that were checked
    interrupted  whether KeyboardInterrupt ended the search
    """

    finding: Finding[CaseT]
    passed: dict[str, Any] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    evaluations: int = 0
    interrupted: bool = False

    @property
    def characteristic(self) -> frozenset[str]:
        """The fields whose value characterises the fault.

        Some fields have a usual value, which a fault may need although it is about something else.
        But if a batch must have one sample, the fault is about its layout.
        """
        usual = () if "batch" in self.required else USUAL
        return frozenset((*self.passed, *(set(self.required) - set(usual))))

    @property
    def needed(self) -> frozenset[str]:
        """The fields whose value matters."""
        return frozenset((*self.passed, *self.required))

    def leave_out(self, *names: str) -> MinimalFailure[CaseT]:
        """Return the same failure with some fields ignored."""
        passed = {each: value for each, value in self.passed.items() if each not in names}
        required = tuple(each for each in self.required if each not in names)
        return replace(self, passed=passed, required=required)


def is_in_any(
    space: CaseSpace[CaseT],
    case: CaseT,
    situations: Iterable[MinimalFailure[CaseT]],
    ignored: Collection[str] = (),
    *,
    needs_something: bool = False,
) -> bool:
    """Return whether a case meets the needs of any situation, apart from ignored fields.

    A situation without needs covers every case. Use `needs_something` to ignore such
    situations.
    """
    needed = ((each, each.needed.difference(ignored)) for each in situations)
    return any(
        space.is_covered(case, each.finding.case, names)
        for each, names in needed
        if names or not needs_something
    )


def minimise(
    space: CaseSpace[CaseT],
    finding: Finding[CaseT],
    probe: Probe[CaseT],
    applies: Callable[[CaseT], bool] = lambda case: True,
    most: int = MAX_EVALUATIONS,
    is_hidden: Callable[[CaseT], bool] = lambda case: False,
) -> MinimalFailure[CaseT]:
    """Make a failing case as simple as possible, field by field.

    `probe` checks a case, and `applies` is a cheap test whether it can be checked. `is_hidden`
    returns whether another fault hides this fault in a case, so that its absence shows nothing.
    After KeyboardInterrupt, return the simplest case so far.
    """
    minimum = MinimalFailure(finding)
    search = _Search(space, minimum, probe, applies, is_hidden)
    is_simpler = True
    try:
        while is_simpler and minimum.evaluations < most:
            minimum.passed.clear()
            is_simpler = sum(search.simplify_field(name) for name in space.fields) > 0
        # The fault shows in the first case, so it needs only fields that this case has as well.
        minimum.required = tuple(
            name
            for name in search.find_required()
            if space.is_covered(finding.case, minimum.finding.case, {name})
        )
    except KeyboardInterrupt:
        minimum.interrupted = True
    return minimum


def probe_rule(
    suite: Suite[CaseT, ObservedT], rule: Rule[CaseT, ObservedT], finding: Finding[CaseT]
) -> Probe[CaseT]:
    """Return a probe that returns a finding of a rule if it is of the same kind."""

    def probe(case: CaseT) -> Finding[CaseT] | None:
        outcome = check_case(rule, suite.observe(case), finding.index)
        same = isinstance(outcome, Finding) and outcome.kind is finding.kind
        return outcome if same and isinstance(outcome, Finding) else None

    return probe


@dataclass
class _Search(Generic[CaseT]):
    space: CaseSpace[CaseT]
    minimum: MinimalFailure[CaseT]
    probe: Probe[CaseT]
    applies: Callable[[CaseT], bool]
    is_hidden: Callable[[CaseT], bool]
    known: dict[Any, Finding[CaseT] | None] = field(default_factory=dict)

    @cached_property
    def needs_luck(self) -> bool:
        """Whether the fault may show in the minimal case only with some numbers."""
        case = self.minimum.finding.case
        others = (self.space.reseed(case, seed) for seed in MORE_SEEDS)
        tried = [each for each in others if each != case and self.applies(each)][: SURE - 1]
        return len(tried) < SURE - 1 or any(self._probe_once(each) is None for each in tried)

    def simplify_field(self, name: str) -> bool:
        """Try simpler values of a field, and keep the first with which the fault shows."""
        case = self.minimum.finding.case
        for value in self.space.list_simpler(case, name):
            candidate = self.space.change_field(case, name, value)
            if candidate is None:
                continue
            simpler = self.find_failure(candidate) or self.find_equal(case, name, value)
            if simpler is not None:
                self.minimum.finding = simpler
                return True
            if self.space.keeps_rest(case, candidate, name) and not self.is_hidden(candidate):
                self.minimum.passed[name] = value
        return False

    def find_equal(self, case: CaseT, name: str, value: Any) -> Finding[CaseT] | None:
        """Return a finding on the case with this size and all equal sizes changed, or None."""
        changed = self.space.change_equal_sizes(case, name, value)
        return None if changed in (None, case) else self.find_failure(changed)

    def find_required(self) -> tuple[str, ...]:
        """Return the fields at their simplest value for which no other value shows the fault."""
        case = self.minimum.finding.case
        return tuple(
            name
            for name in self.space.fields
            if name not in self.minimum.passed and self._is_required(case, name)
        )

    def _is_required(self, case: CaseT, name: str) -> bool:
        """Return whether the fault is gone with other values of a field.

        It must also be gone with sizes that differ from each other, because equal sizes may hide
        it.
        """
        others = self.space.list_others(case, name)[:MOST_OTHER_VALUES]
        changed = [self.space.change_field(case, name, value) for value in others]
        candidates = [
            each
            for each in changed
            if each is not None and self.applies(each) and self.space.keeps_rest(case, each, name)
        ]
        if not candidates or any(self.find_failure(each) is not None for each in candidates):
            return False
        found = (self.find_failure(each, MORE_SEEDS) for each in candidates)
        if self.needs_luck and any(each is not None for each in found):
            return False
        spread = [self.space.spread_sizes(each) for each in candidates]
        known = [each for each in spread if each is not None and self.applies(each)]
        if any(self.find_failure(each) is not None for each in known):
            return False
        return any(not self.is_hidden(each) for each in candidates)

    def find_failure(self, case: CaseT, seeds: Sequence[int] = SEEDS) -> Finding[CaseT] | None:
        """Return a finding on a case, with its own seed or another, or None."""
        reseeded = (
            self.space.reseed(case, seed)
            for seed in dict.fromkeys((self.space.get_seed(case), *seeds))
        )
        found = map(self._probe_once, filter(self.applies, reseeded))
        return next((each for each in found if each is not None), None)

    def _probe_once(self, case: CaseT) -> Finding[CaseT] | None:
        if case not in self.known:
            self.minimum.evaluations += 1
            self.known[case] = self.probe(case)
        return self.known[case]

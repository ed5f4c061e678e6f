"""Separating two faults that show in the same cases, one of them in all or most of these cases.

A case shows both faults if the first fault cannot explain it alone: the likely cause predicts other
numbers, or the first fault makes small errors and this error is large, or the first fault returns
no numbers and this case has some.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic

from rnnspec.diagnosis.events import Event, FaultKind
from rnnspec.diagnosis.search import Search
from rnnspec.engine.explanations import LikelyCause
from rnnspec.engine.minimise import MinimalFailure, Probe, minimise
from rnnspec.engine.outcome import CaseT, Finding, ObservedT
from rnnspec.rulekit.rule import Fact
from rnnspec.rulekit.violation import ErrorSize

GROWTH = frozenset(
    {
        "steps",
        "batch",
        "input_size",
        "hidden_size",
        "num_layers",
        "nonlinearity",
        "distribution",
        "dtype",
    }
)
"""The fields along which errors grow by themselves, or become visible more often."""
# Halving or doubling it changes no report of 16 wrong layers (`python -m benchmarks.thresholds`).
# It is the smallest number of cases that cannot be a single coincidence.
FEWEST = 2
"""The number of cases that the first fault must leave unexplained."""
# Halving or doubling it changes no report of 16 wrong layers (`python -m benchmarks.thresholds`).
# By coincidence, only few cases of a fault lie outside the situation that causes it.
MOST_ASTRAY = 0.1
"""If the first fault has no likely cause: the largest share of cases with the second fault that lie
outside its situation, and of cases without it that lie inside."""
# Halving or doubling it changes no report of 16 wrong layers (`python -m benchmarks.thresholds`).
# The shares inside a situation that has nothing to do with a fault differ only by coincidence.
LEAST_DIFFERENCE = 0.3
"""If the first fault has a likely cause: the smallest difference between the shares of cases with
and without the second fault that lie in its situation."""
TERMS = frozenset({"bias", "initial_state"})
"""The choices that decide which terms the equations have."""


@dataclass(frozen=True)
class PossibleFault(Generic[CaseT]):
    """A fault that may not be the only fault in its cases.

    kind    the kind of fault
    cause   its likely cause, if it is known
    size    the size of its errors
    """

    search: Search[CaseT, Any]
    kind: FaultKind
    cause: LikelyCause | None
    size: ErrorSize | None

    def fits(self, case: CaseT) -> bool:
        """Return whether the fault alone can explain a case."""
        explained = self._is_explained(case)
        if explained is not None:
            return explained
        if self.size in (None, ErrorSize.LARGE):
            return True
        seen, gradients = self.search.observe(case), self.kind is FaultKind.GRADIENTS
        return self.search.suite.measure_error(seen, gradients=gradients) in (self.size, None)

    def is_shown(self, case: CaseT) -> bool:
        """Return whether the likely cause alone explains a case."""
        return self._is_explained(case) is True

    def _is_explained(self, case: CaseT) -> bool | None:
        """Return whether the likely cause predicts a case, or None if it predicts nothing there."""
        if self.cause is None:
            return None
        seen, gradients = self.search.observe(case), self.kind is FaultKind.GRADIENTS
        return self.search.suite.is_explained(self.cause, seen, gradients=gradients)


@dataclass(frozen=True)
class Mixture(Generic[CaseT]):
    """Two faults in the same cases.

    minimum   a minimal case of the first fault
    cause     the likely cause of the first fault
    events    the failures that are part of the first fault
    others    the failures that are part of the second fault
    hidden    a minimal case of the second fault, which the first cannot explain
    further   the likely cause of the second fault
    """

    minimum: MinimalFailure[CaseT]
    cause: LikelyCause | None
    events: list[Event[CaseT]]
    others: list[Event[CaseT]]
    hidden: MinimalFailure[CaseT]
    further: LikelyCause | None


def separate_faults(
    search: Search[CaseT, ObservedT],
    kind: FaultKind,
    fact: Fact,
    minimum: MinimalFailure[CaseT],
    events: list[Event[CaseT]],
    probe: Probe[CaseT],
    cause: LikelyCause | None = None,
) -> Mixture[CaseT] | None:
    """Split the failures in a situation into two faults, or return None if there is only one.

    The cases that the first fault cannot explain must be the cases in the situation of the second.
    Pass the `cause` of the first fault if it is known from some of its cases.
    """
    gradients = kind is FaultKind.GRADIENTS
    shown = list(dict.fromkeys(event.shown for event in search.sort_simplest(events)))
    if len(shown) < 2:
        return None
    case = minimum.finding.case
    is_sure = cause is not None
    cause = cause or _find_partial_cause(search, kind, case, shown)
    if cause is None:
        mixture = _separate_hidden(search, kind, minimum, events, shown, probe)
        if mixture is not None:
            return mixture
    size = search.suite.measure_error(search.observe(case), gradients=gradients)
    first: PossibleFault[CaseT] = PossibleFault(search, kind, cause, size)
    fitting = {each: first.fits(each) for each in shown}
    others = [event for event in events if not fitting[event.shown]]
    if not others or not fitting.get(case, first.fits(case)):
        return None
    if len({event.shown for event in others}) < FEWEST:
        return None
    hidden = _minimise_where(
        search, search.choose_simplest(others), probe, lambda case: not first.fits(case)
    )
    if hidden is None:
        return None
    further = _find_further(search, kind, hidden, others, cause)
    if further is None and cause is not None and not is_sure:
        # The cause that explains the simplest cases may be another mistake with the same effect
        # there.
        mixture = _separate_hidden(search, kind, minimum, events, shown, probe)
        if mixture is not None:
            return mixture
    if further is None and not _is_distinct(search, minimum, hidden, fitting, cause):
        return None
    narrow = _narrow(search, minimum, probe, first)
    mine = [event for event in events if fitting[event.shown]]
    return Mixture(narrow, cause, mine, others, hidden, further)


def _narrow(
    search: Search[CaseT, Any],
    minimum: MinimalFailure[CaseT],
    probe: Probe[CaseT],
    first: PossibleFault[CaseT],
) -> MinimalFailure[CaseT]:
    """Return a minimal case of the first fault that it explains completely."""
    return minimise(
        search.suite.space,
        minimum.finding,
        lambda case: probe(case) if first.fits(case) else None,
    )


def _find_partial_cause(
    search: Search[CaseT, ObservedT], kind: FaultKind, first: CaseT, shown: Sequence[CaseT]
) -> LikelyCause | None:
    """Return the likely cause of a case and of some of the other cases shown, or None."""
    return search.explain_cases(kind, (first, *shown), is_partial=True)


def _separate_hidden(
    search: Search[CaseT, ObservedT],
    kind: FaultKind,
    minimum: MinimalFailure[CaseT],
    events: list[Event[CaseT]],
    shown: Sequence[CaseT],
    probe: Probe[CaseT],
) -> Mixture[CaseT] | None:
    """Split failures into two faults if both show in the minimal case and only one elsewhere.

    Both faults must have a likely cause, the second together with the first, and the first fault
    must show alone in cases that differ only in terms of the equations or in sizes.
    """
    space = search.suite.space
    for start in _list_elsewhere(search, minimum.finding.case, shown):
        alike = [space.reseed(start, space.get_seed(start) + each) for each in range(1, FEWEST + 1)]
        cause = _find_partial_cause(search, kind, start, [*alike, *shown])
        found = cause and _separate_beside(search, kind, cause, events, probe)
        if found and found.minimum.needed <= minimum.needed | GROWTH | TERMS:
            return found
    return None


def _separate_beside(
    search: Search[CaseT, ObservedT],
    kind: FaultKind,
    cause: LikelyCause,
    events: list[Event[CaseT]],
    probe: Probe[CaseT],
) -> Mixture[CaseT] | None:
    """Split failures into two faults if a second mistake explains all cases that a cause leaves."""
    first: PossibleFault[CaseT] = PossibleFault(search, kind, cause, None)
    mine = [event for event in events if first.fits(event.shown)]
    others = [event for event in events if not first.fits(event.shown)]
    if not mine or len({event.shown for event in others}) < FEWEST:
        return None
    simplest = search.choose_simplest(others)
    hidden = _minimise_where(search, simplest, probe, lambda case: not first.fits(case))
    further = None if hidden is None else _find_further(search, kind, hidden, others, cause)
    if hidden is None or further is None:
        return None
    clear = [event for event in mine if search.widen(event.shown) is None]
    shown = [event for event in clear or mine if first.is_shown(event.shown)]
    if not shown:
        return None
    narrow = _minimise_where(search, search.choose_simplest(shown), probe, first.is_shown)
    return None if narrow is None else Mixture(narrow, cause, mine, others, hidden, further)


def _list_elsewhere(
    search: Search[CaseT, ObservedT], case: CaseT, shown: Sequence[CaseT]
) -> list[CaseT]:
    """Return the simplest cases whose initial state or bias differs from a minimal case."""
    # Different terms vanish from the equations in these cases, together with the mistakes in them.
    # The case that differs in its bias alone comes first, and has as many steps as the minimal
    # case: without an earlier step, only the new state is computed.
    space = search.suite.space

    def list_others(name: str) -> list[CaseT]:
        return [each for each in shown if not space.is_covered(each, case, {name})]

    groups = {name: list_others(name) for name in sorted(TERMS & set(space.fields))}
    found = [group[0] for group in groups.values() if len(group) >= FEWEST]
    alone = (
        each
        for each in groups.get("bias", [])
        if space.is_covered(each, case, TERMS - {"bias"})
        and not space.has_other_size(each, case, "steps")
    )
    return list(dict.fromkeys([*islice(alone, 1), *found]))


def _find_further(
    search: Search[CaseT, ObservedT],
    kind: FaultKind,
    hidden: MinimalFailure[CaseT],
    others: list[Event[CaseT]],
    cause: LikelyCause | None,
) -> LikelyCause | None:
    """Return the mistake that the subject makes in addition to the cause of the first fault."""
    if cause is None:
        return None
    shown = dict.fromkeys(event.shown for event in search.sort_simplest(others))
    return search.explain_cases(kind, (hidden.finding.case, *shown), besides=cause)


def _is_distinct(
    search: Search[CaseT, ObservedT],
    minimum: MinimalFailure[CaseT],
    hidden: MinimalFailure[CaseT],
    fitting: Mapping[CaseT, bool],
    cause: LikelyCause | None,
) -> bool:
    """Return whether the situation of a second fault separates cases with it from cases without it.

    `fitting` maps each case to whether the first fault can explain it.
    """
    # Without h_0 or biases, some terms of the equations vanish. There, a mistake may have the same
    # effect as another mistake, which the other cases refute. So these fields alone do not separate
    # a fault from a cause that can change something in the hidden case.
    fields = hidden.needed - minimum.needed - GROWTH
    if cause is not None and search.suite.can_explain(cause, hidden.finding.case):
        terms = ({"initial_state"} & hidden.passed.keys()) | ({"bias"} & {*hidden.required})
        if fields <= terms:
            return False
    if not fields:
        return False

    def measure_share(fits: bool) -> float:
        cases = [case for case, each in fitting.items() if each is fits]
        covered = [
            search.suite.space.is_covered(case, hidden.finding.case, fields) for case in cases
        ]
        return sum(covered) / max(1, len(cases))

    outside, inside = 1.0 - measure_share(False), measure_share(True)
    if cause is not None:
        return 1.0 - outside - inside >= LEAST_DIFFERENCE
    return outside <= MOST_ASTRAY and inside <= MOST_ASTRAY


def _minimise_where(
    search: Search[CaseT, ObservedT],
    start: Event[CaseT],
    probe: Probe[CaseT],
    condition: Callable[[CaseT], bool],
) -> MinimalFailure[CaseT] | None:
    """Return a minimal case where the probe fails and a condition holds, or None."""

    def probe_both(case: CaseT) -> Finding[CaseT] | None:
        found = probe(case)
        return found if found is not None and condition(case) else None

    found = probe_both(start.shown)
    return None if found is None else minimise(search.suite.space, found, probe_both)

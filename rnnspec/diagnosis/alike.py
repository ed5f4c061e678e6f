"""Whether what was found in two situations is one fault."""

from __future__ import annotations

from typing import Any, TypeVar

from rnnspec.cases.case import SIZES
from rnnspec.diagnosis.events import FaultKind
from rnnspec.diagnosis.fault import Fault
from rnnspec.diagnosis.naming import NUMERIC
from rnnspec.diagnosis.search import Search
from rnnspec.engine.explanations import LikelyCause
from rnnspec.engine.minimise import MinimalFailure, is_in_any
from rnnspec.engine.observed import Observed
from rnnspec.mistakes.hypothesis import Hypothesis
from rnnspec.rulekit.rule import Rule

CaseT = TypeVar("CaseT")
ObservedT = TypeVar("ObservedT", bound=Observed[Any])
PREVIOUS_STATE = frozenset({"steps", "initial_state"})
"""The fields that decide whether there is a state before a step that is not zero."""
TERMS = PREVIOUS_STATE | {"bias"}
"""The fields that decide which terms of the equations are not zero."""


def is_same_cause(one: LikelyCause | None, other: LikelyCause | None) -> bool:
    """Return whether two likely causes are known and the same.

    Two causes are also the same if they round the same numbers to about as many bits.
    """
    if one is None or other is None:
        return False
    return one.key == other.key or (one.rounding == other.rounding != "")


def are_of_one_family(one: LikelyCause | None, other: LikelyCause | None) -> bool:
    """Return whether two likely causes are known mistakes that may look like each other."""
    families = [
        each.origin.family if each is not None and isinstance(each.origin, Hypothesis) else ""
        for each in (one, other)
    ]
    return families[0] == families[1] != ""


def find_same(
    search: Search[CaseT, ObservedT],
    kind: FaultKind,
    root: Rule[Any, Any],
    situation: MinimalFailure[CaseT],
    cause: LikelyCause | None,
) -> Fault[CaseT] | None:
    """Return the fault of the same name or cause, one that needs the same circumstance, or one of
    the same kind in whose wider situation this one lies.

    What goes wrong only under a circumstance is one fault, whatever else it needs. What no known
    mistake explains is one fault if it needs a term that is not zero, whichever that is.
    """
    same = (
        fault
        for fault in search.faults
        if fault.root.id == root.id or is_same_cause(cause, fault.cause)
    )
    alike = (
        fault
        for fault in search.faults
        if any(_are_alike(search, situation, each) for each in fault.situations)
        or (
            fault.kind is kind
            and cause is fault.cause is None
            and any(need_other_terms(situation, each) for each in fault.situations)
        )
    )
    wider = (
        fault
        for fault in search.open_faults
        if fault.kind is kind is not FaultKind.BLOCKED
        and search.lies_in(situation.finding.case, fault)
        and any(each.needed and each.needed < situation.needed for each in fault.situations)
    )
    return next(same, None) or next(alike, None) or next(wider, None)


def tells_better(
    search: Search[CaseT, ObservedT],
    minimum: MinimalFailure[CaseT],
    kind: FaultKind,
    fault: Fault[CaseT],
    cause: LikelyCause | None,
) -> bool:
    """Return whether another situation of a fault tells it better than the one known so far.

    It does if it has the likely cause, needs less, or needs the same in a case with fewer choices
    that are not the simplest. A situation of another kind must have the cause and be that in which
    the known one lies: the call may be stopped there for that reason.
    """
    has_cause = cause is not None and fault.cause is None
    known = fault.situation
    if fault.kind is kind:
        if minimum.needed == known.needed:
            return has_cause or count_raised(search, minimum) < count_raised(search, known)
        return has_cause or minimum.needed < known.needed
    return has_cause and is_in_any(
        search.suite.space, known.finding.case, [minimum], needs_something=True
    )


def count_raised(search: Search[CaseT, ObservedT], situation: MinimalFailure[CaseT]) -> int:
    """Return how many fields of a minimal case do not have their simplest value."""
    return len(search.suite.space.list_raised(situation.finding.case))


def _are_alike(
    search: Search[CaseT, ObservedT], one: MinimalFailure[CaseT], other: MinimalFailure[CaseT]
) -> bool:
    """Return whether two situations need the same fields, circumstance, dropout, or state.

    The state before a step is not zero at the second step, or at the first if h_0 is given. So two
    situations are alike if one needs several steps, the other h_0, and both the same besides. Few
    faults need the simplest value of a choice, so those that need the same one are alike, whatever
    sizes they need, if their other choices are the same.
    """
    if search.share_circumstance(one, other) or "dropout" in one.needed & other.needed:
        return True
    if one.needed and one.needed == other.needed and _need_equal_values(search, one, other):
        return True
    choices = one.needed - set(SIZES)
    if (
        choices == other.needed - set(SIZES)
        and choices.intersection(one.required) & set(other.required)
        and search.suite.space.is_covered(one.finding.case, other.finding.case, choices)
    ):
        return True
    rest = one.needed - PREVIOUS_STATE - NUMERIC
    return (
        bool(rest)
        and rest == other.needed - PREVIOUS_STATE - NUMERIC
        and one.needed ^ other.needed >= PREVIOUS_STATE
    )


def need_other_terms(one: MinimalFailure[Any], other: MinimalFailure[Any]) -> bool:
    """Return whether two situations need different terms that are not zero, and else the same.

    A situation that requires a single step or no h_0, or needs biases to be left out, needs a term
    that is zero.
    """
    for each in (one, other):
        if PREVIOUS_STATE.intersection(each.required) or "bias" in each.passed:
            return False
    terms, others = one.needed & TERMS, other.needed & TERMS
    are_other = bool(terms) and bool(others) and not terms & others
    return are_other and one.needed - TERMS - NUMERIC == other.needed - TERMS - NUMERIC


def _need_equal_values(
    search: Search[CaseT, ObservedT], one: MinimalFailure[CaseT], other: MinimalFailure[CaseT]
) -> bool:
    """Return whether two situations need the same values, or sizes that both may be larger."""
    space = search.suite.space
    cases = one.finding.case, other.finding.case
    known = {
        name for name in one.needed & set(SIZES) if name not in (*one.required, *other.required)
    }
    return space.is_covered(*cases, one.needed - known)

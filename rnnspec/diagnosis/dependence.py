"""What a failure depends on: the fields of its case that cannot be simplified any further."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, TypeVar

from rnnspec.diagnosis.fault import NUMERIC
from rnnspec.engine.explanations import (
    ANY_CASE,
    ANY_MODEL_CASE,
    INTERRUPTED,
    Dependence,
    DependenceKind,
)
from rnnspec.engine.minimise import MinimalFailure, is_in_any
from rnnspec.engine.observed import Observed
from rnnspec.engine.suite import Suite
from rnnspec.text import join_words

CaseT = TypeVar("CaseT")
ObservedT = TypeVar("ObservedT", bound=Observed[Any])
PREVIOUS_STATE = frozenset({"steps", "initial_state"})
"""The fields that decide whether there is a state before a step that is not zero."""
TERMS = PREVIOUS_STATE | {"bias"}
"""The fields that decide which terms of the equations are not zero."""
MENTIONED_IF_FREE = ("dtype", "layout", "memory_layout", "prior_use")
"""Fields that a description names even if the failure does not depend on them."""


# Half and twice as much change no report of 16 wrong layers (`python -m benchmarks.thresholds`).
# The least number that one case of another fault does not reach.
CONTRADICTIONS = 2
"""In so many failing cases a condition must not hold, so that it is not told as one: a single case
may be one of another fault that is taken for this one."""


def leave_out_contradicted(
    suite: Suite[CaseT, ObservedT],
    minimum: MinimalFailure[CaseT],
    situations: Iterable[MinimalFailure[CaseT]],
    failing: Iterable[CaseT],
) -> MinimalFailure[CaseT]:
    """Return a minimal case that needs only what the failing cases of its fault have, too.

    In a minimal case, a fault that needs large numbers may be gone with any change. Failing cases
    that lie in other `situations` of the fault say nothing about this one.
    """
    case, space = minimum.finding.case, suite.space
    others = [each for each in situations if each.needed != minimum.needed]
    own = [each for each in failing if not is_in_any(space, each, others)]
    for name in minimum.needed:
        if sum(not space.is_covered(each, case, {name}) for each in own) >= CONTRADICTIONS:
            minimum = minimum.leave_out(name)
    return minimum


def describe_dependence(
    suite: Suite[CaseT, ObservedT],
    minimum: MinimalFailure[CaseT],
    situations: Iterable[MinimalFailure[CaseT]] = (),
) -> Dependence:
    """Return a description of the choices and sizes without which the rule passes.

    It also names the fields in `MENTIONED_IF_FREE` on which the failure does not depend. Other
    `situations` of the same fault are mentioned if they need another term of the equations.
    """
    if minimum.interrupted:
        return INTERRUPTED
    if not minimum.needed:
        return ANY_MODEL_CASE if suite.kind == "model" else ANY_CASE
    free = [name for name in MENTIONED_IF_FREE if name not in minimum.needed]
    free = [name for name in free if name in suite.space.fields]
    others = [each for each in situations if need_other_terms(minimum, each)]
    situation = (
        _describe_either(suite, minimum, others[0])
        if others
        else describe_situation(suite, minimum)
    )
    return Dependence(DependenceKind.NEEDED, f"{situation}{_describe_free(free)}")


def _describe_free(names: Sequence[str]) -> str:
    """Return that some fields do not matter, as the end of a sentence; empty if there are none."""
    if not names:
        return ""
    return f"; {join_words(names)} {'do' if len(names) > 1 else 'does'} not matter"


def describe_situation(suite: Suite[CaseT, ObservedT], minimum: MinimalFailure[CaseT]) -> str:
    """Return the choices and sizes that a fault needs, in words; empty if it needs none."""
    return _describe(suite, minimum, minimum.needed)


def _describe_either(
    suite: Suite[CaseT, ObservedT], minimum: MinimalFailure[CaseT], other: MinimalFailure[CaseT]
) -> str:
    """Return what two situations need, of which one needs other terms of the equations."""
    either = " or ".join(_describe(suite, each, TERMS) for each in (minimum, other))
    both = _describe(suite, minimum, minimum.needed - TERMS)
    return f"{both} and ({either})" if both else either


def _describe(
    suite: Suite[CaseT, ObservedT], minimum: MinimalFailure[CaseT], names: Collection[str]
) -> str:
    case = minimum.finding.case
    fields = [name for name in suite.space.fields if name in minimum.needed and name in names]
    return " and ".join(suite.space.describe_field(case, name) for name in fields)


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

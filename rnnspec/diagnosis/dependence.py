"""The fields of a case that a failure depends on, because they cannot be simplified any further."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from rnnspec.diagnosis.fault import NUMERIC
from rnnspec.engine.explanations import (
    ANY_CASE,
    ANY_MODEL_CASE,
    INTERRUPTED,
    Dependence,
    DependenceKind,
)
from rnnspec.engine.minimise import MinimalFailure, is_in_any
from rnnspec.engine.outcome import CaseT, ObservedT
from rnnspec.engine.suite import Suite
from rnnspec.text import join_words

PREVIOUS_STATE = frozenset({"steps", "initial_state"})
"""The fields that decide whether a step has a previous state that is not zero."""
TERMS = PREVIOUS_STATE | {"bias"}
"""The fields that decide which terms of the equations are not zero."""
MENTIONED_IF_FREE = ("dtype", "layout", "memory_layout", "prior_use")
"""Fields that a description mentions even if the failure does not depend on them."""


# Halving or doubling it changes no report of 16 wrong layers (`python -m benchmarks.thresholds`). A
# single case may belong to another fault, so two are the minimum.
CONTRADICTIONS = 2
"""The number of failing cases without a condition that show that the fault does not need it."""


def leave_out_contradicted(
    suite: Suite[CaseT, ObservedT],
    minimum: MinimalFailure[CaseT],
    situations: Iterable[MinimalFailure[CaseT]],
    failing: Iterable[CaseT],
) -> MinimalFailure[CaseT]:
    """Return a minimal case that needs only conditions which the failing cases of its fault share.

    Ignore failing cases that lie in other `situations` of the fault.
    """
    # A fault that needs large numbers may vanish from its minimal case with any change.
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
    """Return a description of the choices and sizes without which the rule holds.

    The description also mentions the fields in `MENTIONED_IF_FREE` that the failure does not depend
    on, and other `situations` of the same fault if they need another term of the equations.
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
    """Return the end of a sentence about fields that do not matter, or "" if there are none."""
    if not names:
        return ""
    return f"; {join_words(names)} {'do' if len(names) > 1 else 'does'} not matter"


def describe_situation(suite: Suite[CaseT, ObservedT], minimum: MinimalFailure[CaseT]) -> str:
    """Return the choices and sizes that a fault needs, in words, or "" if it needs none."""
    return _describe(suite, minimum, minimum.needed)


def _describe_either(
    suite: Suite[CaseT, ObservedT], minimum: MinimalFailure[CaseT], other: MinimalFailure[CaseT]
) -> str:
    """Return the needs of two situations that need different terms of the equations."""
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
    """Return whether two situations differ only in the terms of the equations that they need."""
    # A situation that requires a single step or no h_0, or needs biases to be left out, needs a
    # term that is zero.
    for each in (one, other):
        if PREVIOUS_STATE.intersection(each.required) or "bias" in each.passed:
            return False
    terms, others = one.needed & TERMS, other.needed & TERMS
    are_other = bool(terms) and bool(others) and not terms & others
    return are_other and one.needed - TERMS - NUMERIC == other.needed - TERMS - NUMERIC

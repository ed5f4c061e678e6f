"""What a failure depends on: the fields of its case that cannot be simplified any further."""

from __future__ import annotations

from typing import Any, TypeVar

from rnnspec.engine.minimise import MinimalFailure
from rnnspec.engine.suite import Observed, Suite

CaseT = TypeVar("CaseT")
ObservedT = TypeVar("ObservedT", bound=Observed[Any])
MENTIONED_IF_FREE = ("dtype", "layout", "memory_layout", "prior_use")
"""Fields that a description names even if the failure does not depend on them."""


def describe_dependence(suite: Suite[CaseT, ObservedT], minimum: MinimalFailure[CaseT]) -> str:
    """Return a description of the choices and sizes without which the rule passes.

    It also names the fields in `MENTIONED_IF_FREE` on which the failure does not depend.
    """
    case, passed = minimum.finding.case, minimum.passed
    if minimum.interrupted:
        return "unknown: interrupted before the case was minimised"
    if not passed:
        return "happens with every configuration, size and way of calling"
    free = [name for name in suite.space.fields if name not in passed and name in MENTIONED_IF_FREE]
    needed = " and ".join(suite.space.describe_field(case, name) for name in passed)
    return f"only with {needed}" + (f"; any {', '.join(free)}" if free else "")

"""What a failure depends on: the fields that cannot be made simpler without the rule passing."""

from __future__ import annotations

from typing import Any, TypeVar

from rnnspec.engine.minimise import MinimalFailure
from rnnspec.engine.suite import Observed, Suite

CaseT = TypeVar("CaseT")
ObservedT = TypeVar("ObservedT", bound=Observed[Any])
WORTH_SAYING = ("dtype", "layout", "memory_layout", "prior_use")


def describe_dependence(
    suite: Suite[CaseT, ObservedT], minimum: MinimalFailure[CaseT]
) -> str:
    """Return in words the choices and sizes that the minimal case needs."""
    case, passed = minimum.finding.case, minimum.passed
    if minimum.interrupted:
        return "unknown: interrupted before the case was minimised"
    if not passed:
        return "happens with every configuration, size and way of calling"
    free = [name for name in suite.space.fields if name not in passed and name in WORTH_SAYING]
    needed = " and ".join(suite.space.describe_field(case, name) for name in passed)
    return f"only with {needed}" + (f"; any {', '.join(free)}" if free else "")

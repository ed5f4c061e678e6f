"""What a failure depends on: the fields that could not be made simpler without the rule passing."""

from __future__ import annotations

from rnnspec.engine.minimise import MinimalFailure
from rnnspec.engine.suite import Suite

WORTH_SAYING = ("dtype", "layout", "memory", "history")


def describe_dependence(suite: Suite, minimum: MinimalFailure) -> str:
    """In words: the choices and sizes that the smallest failing case needs; everything else may be anything."""
    case, passed = minimum.finding.case, minimum.passed
    if minimum.interrupted:
        return "unknown: interrupted before the case was made small"
    if not passed:
        return "nothing: any configuration, size and way of calling"
    free = [name for name in suite.space.fields if name not in passed and name in WORTH_SAYING]
    needed = " and ".join(suite.space.describe_field(case, name) for name in passed)
    return needed + (f"; any {', '.join(free)}" if free else "")

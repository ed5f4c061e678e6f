"""What a failure depends on: the fields that could not be made simpler without the rule passing."""

from __future__ import annotations

from typing import Any

from rnnspec.cases.axes import AXES, AXIS
from rnnspec.cases.case import SIZES
from rnnspec.engine.minimise import Minimum


def depends_on(minimum: Minimum) -> str:
    """In words: the axes and sizes that the smallest failing case needs; everything else may be anything."""
    case, passed = minimum.finding.case, minimum.passed
    needed = [f"{name}={_shown(case.axis(name))}" for name in passed if name in AXIS and name != "num_layers"]
    needed += [f"{name} >= {case.size(name)}" for name in SIZES if name in passed]
    needed += ["lengths that differ"] if "lengths" in passed else []
    if not needed:
        return "nothing: any configuration, size and way of calling"
    free = [axis.name for axis in AXES if axis.name not in passed and axis.name in ("dtype", "layout", "memory", "history")]
    return " and ".join(needed) + (f"; any {', '.join(free)}" if free else "")


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, bool) else str(value)

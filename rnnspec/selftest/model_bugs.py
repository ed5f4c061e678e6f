"""All models with a planted bug, and the rule that each names."""

from __future__ import annotations

import re

from rnnspec.selftest import model_bugs_calls, model_bugs_readout, model_bugs_shapes
from rnnspec.selftest.model_plain import LastStep

SEEN_BY = re.compile(r"(\S+\.\S+) sees it")

BUGS: tuple[type[LastStep], ...] = (*model_bugs_shapes.BUGS, *model_bugs_readout.BUGS, *model_bugs_calls.BUGS)


def seen_by(bug: type[LastStep]) -> str:
    """The id of the rule that must see this bug, from its docstring. Raises ValueError where it names none."""
    match = SEEN_BY.search(" ".join((bug.__doc__ or "").split()))
    if match is None:
        raise ValueError(f"the docstring of {bug.__name__} names no rule")
    return match[1]

"""All models with a planted bug, and the rule that each names."""

from __future__ import annotations

import re

from torch import nn

from rnnspec.selftest import model_bugs_calls, model_bugs_readout, model_bugs_shapes
from rnnspec.selftest.model_plain import LastStep

SEEN_BY = re.compile(r"(\S+\.\S+) sees it")

BUGS: tuple[type[LastStep], ...] = (
    *model_bugs_shapes.BUGS,
    *model_bugs_readout.BUGS,
    *model_bugs_calls.BUGS,
)


def seen_by(bug: type[nn.Module]) -> str:
    """The id of the rule that must see this bug, from its docstring. Raises ValueError where it names none."""
    match = SEEN_BY.search(_text(bug))
    if match is None:
        raise ValueError(f"the docstring of {bug.__name__} names no rule")
    return match[1]


def story_of(bug: type[nn.Module]) -> str:
    """What is wrong with it, in one sentence."""
    return _text(bug).partition(";")[0]


def _text(bug: type[nn.Module]) -> str:
    return " ".join((bug.__doc__ or "").split())

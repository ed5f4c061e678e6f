"""All models with a planted bug, and the rule that each of them names.

The docstring of a bug reads `STORY; RULE-ID sees it.`
"""

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


def find_named_rule(bug: type[nn.Module]) -> str:
    """Return the id of the rule that must detect this bug, read from its docstring.

    Raises ValueError if the docstring names no rule.
    """
    match = SEEN_BY.search(_read_docstring(bug))
    if match is None:
        raise ValueError(f"the docstring of {bug.__name__} names no rule")
    return match[1]


def read_story(bug: type[nn.Module]) -> str:
    """Return what is wrong with this bug, as one sentence without a full stop."""
    return _read_docstring(bug).partition(";")[0]


def _read_docstring(bug: type[nn.Module]) -> str:
    return " ".join((bug.__doc__ or "").split())

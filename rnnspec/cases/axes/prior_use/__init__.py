"""Uses of a layer before the checked call, with a module for each family of values."""

from __future__ import annotations

from rnnspec.cases.axes.prior_use.base import LayerInPreparation, PriorUse
from rnnspec.cases.axes.prior_use.calls import PLAIN_CALLS, EarlierCalls
from rnnspec.cases.axes.prior_use.modules import ModuleUses
from rnnspec.cases.axes.prior_use.parameters import ParameterUpdates
from rnnspec.cases.axes.prior_use.passing import PassingUses

__all__ = [
    "HISTORY_USES",
    "PLAIN_CALLS",
    "PRIOR_USES",
    "EarlierCalls",
    "LayerInPreparation",
    "ModuleUses",
    "ParameterUpdates",
    "PassingUses",
    "PriorUse",
    "parse_use",
]

PRIOR_USES: tuple[PriorUse, ...] = (*EarlierCalls, *ParameterUpdates, *ModuleUses)
"""Every prior use, the simplest first."""
HISTORY_USES = (*(use for use in PRIOR_USES if use.is_passing), *PassingUses)
"""Every use that may occur before the prior use."""


def parse_use(text: str) -> PriorUse:
    """Return the use in a history that is called `text`. Raises KeyError if there is none."""
    known: dict[str, PriorUse] = {use.text: use for use in HISTORY_USES}
    return known[text]

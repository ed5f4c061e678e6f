"""What happened to a layer before the call that is judged, one module for each family of values."""

from __future__ import annotations

from rnnspec.cases.axes.prior_use.base import LayerInPreparation, PriorUse
from rnnspec.cases.axes.prior_use.calls import PLAIN_CALLS, EarlierCalls
from rnnspec.cases.axes.prior_use.modules import ModuleUses
from rnnspec.cases.axes.prior_use.parameters import ParameterUpdates

__all__ = [
    "PLAIN_CALLS",
    "PRIOR_USES",
    "EarlierCalls",
    "LayerInPreparation",
    "ModuleUses",
    "ParameterUpdates",
    "PriorUse",
]

PRIOR_USES: tuple[PriorUse, ...] = (*EarlierCalls, *ParameterUpdates, *ModuleUses)
"""Every prior use, the simplest first."""

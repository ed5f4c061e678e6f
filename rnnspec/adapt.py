"""Adapters for layers that do not use the documented names, layouts or states."""

from __future__ import annotations

from rnnspec.adapters.adapter import Adapter, module
from rnnspec.adapters.arrays import function, layer
from rnnspec.adapters.cells import cell

__all__ = ["Adapter", "cell", "function", "layer", "module"]

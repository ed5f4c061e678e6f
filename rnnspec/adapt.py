"""Adapters for layers that do not use the documented names, layouts or states.

Use `module` if your layer is a torch module, `cell` if your module computes a single step, and
`function` or `layer` if you have a function on arrays. `rnnspec adapt` writes the call for you.
"""

from __future__ import annotations

from rnnspec.adapters.adapter import Adapter, module
from rnnspec.adapters.arrays import function, layer
from rnnspec.adapters.cells import cell

__all__ = ["Adapter", "cell", "function", "layer", "module"]

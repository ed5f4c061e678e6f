"""Adapters for implementations whose names, layouts or states are not the documented ones."""

from __future__ import annotations

from rnnspec.adapters.adapter import Adapter, module

__all__ = ["Adapter", "module"]

"""The checks as Python functions.

They are imported on first use, since the known mistakes of a check of layers take 2 s to import,
and a comparison of two modules does not need them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rnnspec.api.layer import check, prepare_check, prepare_suite, run_check, run_undisturbed
    from rnnspec.api.model import check_model, prepare_model_suite, run_model_check

__all__ = [
    "check",
    "check_model",
    "prepare_check",
    "prepare_model_suite",
    "prepare_suite",
    "run_check",
    "run_model_check",
    "run_undisturbed",
]


def __getattr__(name: str) -> Any:
    """Import a function. Raises AttributeError for any other name."""
    if name not in __all__:
        raise AttributeError(f"module 'rnnspec.api' has no attribute {name!r}")
    place = "model" if "model" in name else "layer"
    return getattr(importlib.import_module(f"rnnspec.api.{place}"), name)

"""Functions of Python and NumPy that a subject could replace for the whole process."""

from __future__ import annotations

import builtins
import time
from itertools import chain
from operator import itemgetter
from types import ModuleType
from typing import Any

import numpy as np

USED = """
abs all any bool dict enumerate float getattr hasattr int isinstance issubclass iter len list map
max min next open print range repr set sorted str sum super tuple type vars zip
"""
"""The built-in functions that a check itself uses."""
WATCHED: tuple[tuple[ModuleType, tuple[str, ...]], ...] = (
    (builtins, tuple(USED.split())),
    (time, ("monotonic", "perf_counter", "sleep", "time")),
    (np, ("abs", "all", "any", "array_equal", "isfinite", "isnan", "sqrt")),
)
"""The watched modules, with the watched names in each."""
_GETTERS = [(itemgetter(*names), vars(module)) for module, names in WATCHED]
_NAMES = [f"{module.__name__}.{name}" for module, names in WATCHED for name in names]


class ReplaceableFunctions(tuple[tuple[Any, ...], ...]):
    """The watched functions of each module at one time; None for a function that is missing."""

    __slots__ = ()

    def describe_change(self, later: ReplaceableFunctions) -> str:
        """Return the names of the functions that differ later, to follow the setting's name."""
        pairs = zip(_NAMES, chain(*self), chain(*later), strict=True)
        return f": {', '.join(name for name, old, new in pairs if old is not new)}"


def read_functions() -> ReplaceableFunctions:
    """Return the current watched functions."""
    try:
        return ReplaceableFunctions([get(owned) for get, owned in _GETTERS])
    except KeyError:  # a function was deleted
        owners = [(vars(module).get, names) for module, names in WATCHED]
        return ReplaceableFunctions([tuple(map(get, names)) for get, names in owners])


def write_functions(functions: ReplaceableFunctions) -> None:
    """Restore functions that were read before."""
    for (module, names), read in zip(WATCHED, functions, strict=True):
        vars(module).update(zip(names, read, strict=True))

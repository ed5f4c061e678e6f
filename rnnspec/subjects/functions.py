"""The functions of Python and NumPy that a subject could replace by its own, for everybody else."""

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
"""What a check itself uses of the functions that are built in."""
WATCHED: tuple[tuple[ModuleType, tuple[str, ...]], ...] = (
    (builtins, tuple(USED.split())),
    (time, ("monotonic", "perf_counter", "sleep", "time")),
    (np, ("abs", "all", "any", "array_equal", "isfinite", "isnan", "sqrt")),
)
"""The watched modules, with the names in each."""
_GETTERS = [(itemgetter(*names), vars(module)) for module, names in WATCHED]
_NAMES = [f"{module.__name__}.{name}" for module, names in WATCHED for name in names]


class Functions(tuple[Any, ...]):
    """The watched functions, as they are at one time; None for one that is missing."""

    __slots__ = ()

    def describe_change(self, later: Functions) -> str:
        """Return which functions are others later, as an addition to the name of the setting."""
        pairs = zip(_NAMES, self, later, strict=True)
        return f": {', '.join(name for name, old, new in pairs if old is not new)}"


def read_functions() -> Functions:
    """Return the watched functions as they are now."""
    try:
        return Functions(chain.from_iterable([get(owned) for get, owned in _GETTERS]))
    except KeyError:  # one was deleted
        owners = [(vars(module).get, names) for module, names in WATCHED]
        return Functions([get(name) for get, names in owners for name in names])


def write_functions(functions: Functions) -> None:
    """Put functions that were read before in their places again."""
    remaining = iter(functions)
    for module, names in WATCHED:
        vars(module).update(zip(names, remaining, strict=False))

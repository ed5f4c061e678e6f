"""A cache of bounds, shared by the observations of a case.

A wrong layer is called again and again with the same values: in another mode, as a new layer, in
the search for faults. A bound takes ten times as long as the reference, and does not depend on how
the layer is used.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, TypeVar

import numpy as np

from rnnspec import oracle

Found = TypeVar("Found")
MOST_NUMBERS = 20_000
"""Bounds of problems with more numbers are not cached."""
MOST_KEPT = 512
"""Number of cached bounds; the least recently used bound is dropped first."""


class KeptBounds:
    """Caches values computed for small problems."""

    def __init__(self, most: int = MOST_KEPT) -> None:
        self.most = most
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()

    def find(
        self,
        name: Hashable,
        problem: oracle.Problem,
        more: Iterable[Any],
        make: Callable[[], Found],
    ) -> Found:
        """Return the value that `make` computes from a problem and further arrays, cached if small.

        `name` identifies the computation.
        """
        arrays = [*_list_arrays(problem), *more]
        if sum(array.size for array in arrays) > MOST_NUMBERS:
            return make()
        key = (name, problem.config, _digest(arrays))
        if key not in self._kept:
            self._kept[key] = make()
        self._kept.move_to_end(key)
        if len(self._kept) > self.most:
            self._kept.popitem(last=False)
        found: Found = self._kept[key]
        return found

    def __len__(self) -> int:
        """Return the number of cached bounds."""
        return len(self._kept)


def _list_arrays(problem: oracle.Problem) -> list[Any]:
    named: tuple[Mapping[Any, Any], ...] = (problem.weights, problem.initial, problem.masks)
    arrays = [array for each in named for _, array in sorted(each.items())]
    return [problem.input, problem.lengths, *arrays]


def _digest(arrays: Iterable[Any]) -> bytes:
    found = hashlib.blake2b(digest_size=16)
    for array in arrays:
        found.update(str(array.shape).encode())
        found.update(np.ascontiguousarray(array).data)
    return found.digest()


BOUNDS = KeptBounds()
"""The bounds computed in this process."""

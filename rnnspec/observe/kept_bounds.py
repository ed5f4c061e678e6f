"""Bounds that were computed before for the same numbers, which many observations of a case share.

A wrong layer is called again and again with the numbers of the cases in which it is wrong: in
another mode, as a new layer, in the search for faults. A bound takes ten times as long as the
reference, and what it is does not depend on how the layer is used.
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
"""The bounds of problems with more numbers are not kept."""
MOST_KEPT = 512
"""So many bounds are kept, those that were used last."""


class KeptBounds:
    """Keeps what is computed for a problem, as long as it is small."""

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
        """Return what `make` computes from a problem and more arrays, or computed before.

        `name` says what is computed.
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
        """Return how many bounds are kept."""
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
"""The bounds that this process has computed."""

"""Blocks of numbers side by side.

On small arrays, an operation on all blocks takes as long as an operation on a single block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from rnnspec.oracle.enclosures import Enclosed, Number


def stack(numbers: Sequence[Number]) -> Number:
    """Return blocks (..., H) of numbers side by side."""
    first = numbers[0]
    if not isinstance(first, Enclosed):
        return np.concatenate(numbers, axis=-1)
    enclosed: Sequence[Enclosed] = numbers
    return Enclosed(np.concatenate([each.parts for each in enclosed], axis=-1), first.rounding)


def split(numbers: Number, blocks: int) -> tuple[Number, ...]:
    """Return the blocks of numbers that are side by side."""
    values = numbers.value if isinstance(numbers, Enclosed) else numbers
    size = values.shape[-1] // blocks
    return tuple(numbers[..., size * block : size * (block + 1)] for block in range(blocks))


def apply_to_each(function: Callable[..., Number], *blocks: Sequence[Number]) -> Sequence[Number]:
    """Return the result of a function for each block of numbers, evaluated together if enclosed."""
    if not isinstance(blocks[0][0], Enclosed):
        return [function(*each) for each in zip(*blocks, strict=True)]
    return split(function(*map(stack, blocks)), len(blocks[0]))

"""A small pool of sizes, for targets that are slow or that compile for every new shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from rnnspec.cases.sizes import BEYOND_BLOCKS, DIMENSIONS, Sizes, cap_sizes

LARGE = 33
PLAIN = (4, 5, 3, 2)
"""Input, hidden state, steps and batch."""


def _name_sizes(*sizes: int) -> Sizes:
    return dict(zip(DIMENSIONS, sizes, strict=True))


POOL: tuple[Sizes, ...] = tuple(
    _name_sizes(*sizes)
    for sizes in (
        PLAIN,
        (2, 5, 3, 4),
        (4, 2, 3, 1),
        (4, 4, 2, 3),
        (3, 4, 1, 3),
        (4, LARGE, 3, 2),
        (3, 4, LARGE, 2),
        (2, 5, 3, LARGE),
        (LARGE, 4, 2, 3),
        (4, LARGE, LARGE, 2),
        (LARGE, LARGE, 2, 3),
    )
)
"""The sizes of the pool.

The first four are sizes of opening cases. Then follow a single step, each size large alone, and the
two pairs of large sizes for which kernels most often have separate code.
"""
BEYOND_POOL: tuple[Sizes, ...] = tuple(
    {**_name_sizes(*PLAIN), name: size}
    for name, sizes in BEYOND_BLOCKS.items()
    for size in (129, *sizes)
)
"""Sizes with a single dimension beyond the blocks of kernels, for rows that need it large alone.

They cost a slow subject far more than the others, so no other row draws them.
"""


def draw_from_pool(
    row: Mapping[str, Any], large_dimensions: tuple[str, ...] | None
) -> st.SearchStrategy[Sizes]:
    """Draw sizes of the pool for a row of values of the axes."""
    return st.sampled_from(list_fitting_sizes(row, large_dimensions))


def list_fitting_sizes(
    row: Mapping[str, Any], large_dimensions: tuple[str, ...] | None
) -> list[Sizes]:
    """Return the sizes of the pool for a row of values of the axes.

    They are the sizes that match `large_dimensions` best, or all sizes if it is None. Sizes that
    would cost too much are made smaller, and unbatched input gets a batch of 1.
    """
    known = [*POOL]
    if large_dimensions is not None:
        known += BEYOND_POOL
        fitting = max(_count_fitting(sizes, large_dimensions) for sizes in known)
        known = [each for each in known if _count_fitting(each, large_dimensions) == fitting]
    return [_fit_to_row(row, each, large_dimensions or ()) for each in known]


def _count_fitting(sizes: Sizes, large: tuple[str, ...]) -> int:
    """Return how many dimensions are large exactly if they should be."""
    return sum((sizes[name] >= LARGE) == (name in large) for name in DIMENSIONS)


def _fit_to_row(row: Mapping[str, Any], sizes: Sizes, kept: tuple[str, ...]) -> Sizes:
    if not row["layout"].is_batched:
        sizes = {**sizes, "batch": 1}
    return cap_sizes(row, sizes, kept)


def list_pool_lengths(steps: int, batch: int) -> tuple[int, ...]:
    """Return the lengths of the sequences of a packed batch, in the caller's order.

    They are always the same for the same sizes: 2, 3 and so on to `steps`, then again from 1.
    """
    lengths = tuple((place + 1) % steps + 1 for place in range(batch))
    return lengths if steps in lengths else (steps, *lengths[1:])

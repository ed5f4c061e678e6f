"""The ranges of cases that workers are given."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

RANGES = 12
"""So many ranges of cases there are for each worker, so that all end at about the same time."""
LONGEST_RANGE = 32


def divide_cases(size: int, jobs: int, known: Container[int]) -> Iterator[tuple[int, int]]:
    """Yield ranges [start, stop) of the cases that are not known yet, in order."""
    length = max(1, min(LONGEST_RANGE, -(-size // (jobs * RANGES))))
    missing = [index for index in range(size) if index not in known]
    for start in range(0, len(missing), length):
        yield from find_ranges(missing[start : start + length])


def find_ranges(indices: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield ranges [start, stop) that have these increasing indices and no others."""
    start = 0
    for place in range(1, len(indices) + 1):
        if place == len(indices) or indices[place] != indices[place - 1] + 1:
            yield indices[start], indices[place - 1] + 1
            start = place

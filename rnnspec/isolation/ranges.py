"""The ranges of cases that are handed out to workers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

RANGES = 12
"""Number of ranges per worker. With several, all workers finish at about the same time."""
LONGEST_RANGE = 32


class Ranges:
    """The ranges [start, stop) of cases that remain to be checked, in order."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, int]] = deque()

    def divide(self, indices: Sequence[int], jobs: int) -> None:
        """Divide cases among `jobs` workers."""
        self._waiting.extend(divide_cases(indices, jobs))

    def take(self) -> tuple[int, int] | None:
        """Return the next range to check, or None if there is none at present."""
        return self._waiting.popleft() if self._waiting else None

    def put_back(self, start: int, stop: int) -> None:
        """Hand out the rest of a range next, before all other ranges."""
        self._waiting.appendleft((start, stop))

    def stop(self, reason: str) -> None:
        """Hand out no more ranges. The reason is empty if a checked case ends the run."""
        self._waiting.clear()

    @property
    def is_finished(self) -> bool:
        """Whether all ranges are handed out, so that the run ends when no worker is busy."""
        return not self._waiting


def choose_length(size: int, parts: int, longest: int = LONGEST_RANGE) -> int:
    """Return the length of a range when `size` cases are divided among `parts` workers."""
    return max(1, min(longest, -(-size // (parts * RANGES))))


def divide_cases(
    indices: Sequence[int], jobs: int, longest: int = LONGEST_RANGE
) -> Iterator[tuple[int, int]]:
    """Yield ranges [start, stop) that cover exactly these increasing indices, in order."""
    length = choose_length(len(indices), jobs, longest)
    for start in range(0, len(indices), length):
        yield from find_ranges(indices[start : start + length])


def find_ranges(indices: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the longest ranges [start, stop) that cover exactly these increasing indices."""
    start = 0
    for place in range(1, len(indices) + 1):
        if place == len(indices) or indices[place] != indices[place - 1] + 1:
            yield indices[start], indices[place - 1] + 1
            start = place

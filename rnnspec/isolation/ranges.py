"""The ranges of cases that workers are given."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

RANGES = 12
"""So many ranges of cases there are for each worker, so that all end at about the same time."""
LONGEST_RANGE = 32


class Ranges:
    """The ranges [start, stop) of cases that are still to be judged, in order."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, int]] = deque()

    def divide(self, indices: Sequence[int], jobs: int) -> None:
        """Divide cases between so many workers."""
        self._waiting.extend(divide_cases(indices, jobs))

    def take(self) -> tuple[int, int] | None:
        """Return the range to judge next, or None if there is none now."""
        return self._waiting.popleft() if self._waiting else None

    def put_back(self, start: int, stop: int) -> None:
        """Have the rest of a range judged, before all others."""
        self._waiting.appendleft((start, stop))

    def stop(self, reason: str) -> None:
        """Hand out no more ranges. Without a reason, the run ends with a case that was judged."""
        self._waiting.clear()

    @property
    def is_finished(self) -> bool:
        """Whether everything was judged that will be, once no worker is busy."""
        return not self._waiting


def choose_length(size: int, parts: int, longest: int = LONGEST_RANGE) -> int:
    """Return how many cases a range has if so many cases are divided among so many parts."""
    return max(1, min(longest, -(-size // (parts * RANGES))))


def divide_cases(
    indices: Sequence[int], jobs: int, longest: int = LONGEST_RANGE
) -> Iterator[tuple[int, int]]:
    """Yield ranges [start, stop) that have these increasing indices and no others, in order."""
    length = choose_length(len(indices), jobs, longest)
    for start in range(0, len(indices), length):
        yield from find_ranges(indices[start : start + length])


def find_ranges(indices: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the longest ranges [start, stop) that have these increasing indices and no others."""
    start = 0
    for place in range(1, len(indices) + 1):
        if place == len(indices) or indices[place] != indices[place - 1] + 1:
            yield indices[start], indices[place - 1] + 1
            start = place

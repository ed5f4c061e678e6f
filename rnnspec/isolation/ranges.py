"""The ranges of cases that are handed out to workers, and the share of one of several machines."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rnnspec.errors import SelectionError

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


@dataclass(frozen=True)
class Share:
    """One of several shares of about equal size; each case is in exactly one share.

    A share consists of short ranges of cases from everywhere, so that all shares take about the
    same time. It depends only on the number of cases.

    number  the number of the share, from 1
    count   the number of shares
    """

    number: int = 1
    count: int = 1

    @property
    def is_whole(self) -> bool:
        """Whether this is the only share."""
        return self.count == 1

    def select(self, size: int) -> list[int]:
        """Return the cases of this share, in order, if there are `size` cases in all."""
        length = choose_length(size, self.count)
        return [index for index in range(size) if index // length % self.count == self.number - 1]

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def parse_share(text: str) -> Share:
    """Parse a share such as 3/8. Raises SelectionError if the text is not a valid share."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if found is None:
        raise SelectionError(f"{text!r}: write which shard of how many, e.g. 3/8.", "shard")
    number, count = int(found[1]), int(found[2])
    if count < 1:
        raise SelectionError(f"{text!r}: there must be at least one shard.", "shard")
    if not 1 <= number <= count:
        raise SelectionError(f"{text!r}: shards are numbered 1 to {count}.", "shard")
    return Share(number, count)

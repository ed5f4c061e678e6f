"""The share of a run that one of several machines judges: `--shard 3/8`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rnnspec.errors import SelectionError
from rnnspec.isolation.ranges import choose_length


@dataclass(frozen=True)
class Share:
    """One of several shares that have about the same number of cases, and each case once.

    A share has short ranges of cases from everywhere, so that all take about the same time. It is a
    function of the number of cases alone, whatever judges them.

    number  which one it is, from 1
    count   how many there are
    """

    number: int = 1
    count: int = 1

    @property
    def is_whole(self) -> bool:
        """Whether there is no other share."""
        return self.count == 1

    def select(self, size: int) -> list[int]:
        """Return the cases of this share, in order, if there are so many cases in all."""
        length = choose_length(size, self.count)
        return [index for index in range(size) if index // length % self.count == self.number - 1]

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"


def parse_share(text: str) -> Share:
    """Return the share that is written like 3/8. Raises SelectionError if there is none."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if found is None:
        raise SelectionError(f"{text!r}: write which shard of how many, e.g. 3/8.", "shard")
    number, count = int(found[1]), int(found[2])
    if count < 1:
        raise SelectionError(f"{text!r}: there must be at least one shard.", "shard")
    if not 1 <= number <= count:
        raise SelectionError(f"{text!r}: shards are numbered 1 to {count}.", "shard")
    return Share(number, count)

"""The share of a run that is checked by one of several machines: `--shard 3/8`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rnnspec.errors import SelectionError
from rnnspec.isolation.ranges import choose_length


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

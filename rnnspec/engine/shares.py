"""One campaign shared by several processes: each judges a range of the cases, and the results merge."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from rnnspec.engine.campaign import Watcher, run
from rnnspec.engine.outcome import Progress
from rnnspec.engine.protocol import Checks


class Others(Protocol):
    """The processes that judge the other shares of a campaign."""

    @property
    def parts(self) -> int:
        """How many shares there are, that of this process included."""

    @property
    def lost(self) -> Sequence[str]:
        """A line for each process that died; known once they are collected."""

    def collect(self, stopped: bool) -> list[Progress]:
        """What each of them found; where the run was stopped they are stopped too."""


def share(size: int, number: int, parts: int) -> tuple[int, int]:
    """The range of case indices that is one of so many shares; the shares are as equal as can be."""
    return size * number // parts, size * (number + 1) // parts


def run_share(checks: Checks, number: int, parts: int) -> Progress:
    """Judge one share of the cases."""
    return run(checks, *share(checks.size, number, parts))


def run_shared(checks: Checks, others: Others | None, *, until: Collection[str] = (), watch: Watcher | None = None) -> Progress:
    """Judge the first share here while others judge theirs, or every case where there are none; the result of all shares together."""
    if others is None:
        return run(checks, until=until, watch=watch)
    progress = run(checks, *share(checks.size, 0, others.parts), watch=_of_all(watch, checks.size, others.parts))
    for found in others.collect(progress.stopped):
        progress = progress.merged(found)
    return progress


def _of_all(watch: Watcher | None, size: int, parts: int) -> Watcher | None:
    """Shares advance alike, so the whole has come as far as this one."""
    return None if watch is None else lambda done, _: watch(min(done * parts, size), size)

"""One campaign shared by several processes: each judges a range of the cases, and the results merge."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from rnnspec.engine.campaign import Watcher, run_campaign
from rnnspec.engine.outcome import Progress
from rnnspec.engine.suite import Suite


class OtherProcesses(Protocol):
    """The processes that judge the other shares of a campaign."""

    @property
    def parts(self) -> int:
        """How many shares there are, that of this process included."""

    @property
    def lost(self) -> Sequence[str]:
        """A line for each process that died; known once they are collected."""

    def collect(self, stopped: bool) -> list[Progress]:
        """What each of them found; where the run was stopped they are stopped too."""


def split_range(size: int, number: int, parts: int) -> tuple[int, int]:
    """The range of case indices that is one of so many shares; the shares are as equal as can be."""
    return size * number // parts, size * (number + 1) // parts


def run_share(suite: Suite, number: int, parts: int) -> Progress:
    """Judge one share of the cases."""
    return run_campaign(suite, *split_range(suite.size, number, parts))


def run_shared(
    suite: Suite,
    others: OtherProcesses | None,
    *,
    until: Collection[str] = (),
    watch: Watcher | None = None,
) -> Progress:
    """Judge the first share here while others judge theirs, or every case where there are none; the result of all shares together."""
    if others is None:
        return run_campaign(suite, until=until, watch=watch)
    progress = run_campaign(
        suite,
        *split_range(suite.size, 0, others.parts),
        watch=_of_all(watch, suite.size, others.parts),
    )
    for found in others.collect(progress.stopped):
        progress = progress.merge(found)
    return progress


def _of_all(watch: Watcher | None, size: int, parts: int) -> Watcher | None:
    """Shares advance alike, so the whole has come as far as this one."""
    return None if watch is None else lambda done, _: watch(min(done * parts, size), size)

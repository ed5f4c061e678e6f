"""Share a campaign among processes: each judges a range of cases, then the results are merged."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Protocol, TypeVar

from rnnspec.contract.clauses import Level
from rnnspec.engine.campaign import Watcher, run_campaign
from rnnspec.engine.outcome import Progress
from rnnspec.engine.suite import Observed, Suite

CaseT = TypeVar("CaseT")
ObservedT = TypeVar("ObservedT", bound=Observed[Any])


class OtherProcesses(Protocol):
    """The processes that judge the other shares of a campaign."""

    @property
    def parts(self) -> int:
        """The number of shares, including that of this process."""

    @property
    def lost(self) -> Sequence[str]:
        """A line for each process that died, after the results were collected."""

    def collect(self, stopped: bool) -> list[Progress[Any]]:
        """Return the results of each process. If `stopped` is true, stop them first."""


def split_range(size: int, number: int, parts: int) -> tuple[int, int]:
    """Return the range [start, stop) of case indices of one of several almost equal shares."""
    return size * number // parts, size * (number + 1) // parts


def run_share(suite: Suite[CaseT, ObservedT], number: int, parts: int) -> Progress[CaseT]:
    """Judge one share of the cases."""
    return run_campaign(suite, *split_range(suite.size, number, parts))


def run_shared(
    suite: Suite[CaseT, ObservedT],
    others: OtherProcesses | None,
    *,
    until: Collection[Level] = (),
    watch: Watcher | None = None,
) -> Progress[CaseT]:
    """Judge the first share while other processes judge the others, and return all results.

    If there are no other processes, judge all cases. `until` and `watch` are those of
    `run_campaign`; `until` is used only if there are no other processes.
    """
    if others is None:
        return run_campaign(suite, until=until, watch=watch)
    own = split_range(suite.size, 0, others.parts)
    progress = run_campaign(suite, *own, watch=_scale_watcher(watch, suite.size, others.parts))
    for found in others.collect(progress.stopped):
        progress = progress.merge(found)
    return progress


def _scale_watcher(watch: Watcher | None, size: int, parts: int) -> Watcher | None:
    """Return a watcher of this share that reports on all, as if they advanced at the same pace."""
    if watch is None:
        return None
    return lambda done, _: watch(min(done * parts, size), size)

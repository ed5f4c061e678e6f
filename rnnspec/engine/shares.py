"""One campaign shared by several processes: each judges a range of the cases, the results merge."""

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
        """How many shares there are, that of this process included."""

    @property
    def lost(self) -> Sequence[str]:
        """A line for each process that died; known once the results are collected."""

    def collect(self, stopped: bool) -> list[Progress[Any]]:
        """Return what each of them found; stop them too if the run was stopped."""


def split_range(size: int, number: int, parts: int) -> tuple[int, int]:
    """Return the range of case indices of one share; the shares are as equal as possible."""
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
    """Judge the first share here while others judge theirs, and return the result of all.

    Without other processes every case is judged here.
    """
    if others is None:
        return run_campaign(suite, until=until, watch=watch)
    own = split_range(suite.size, 0, others.parts)
    progress = run_campaign(suite, *own, watch=_scale_watcher(watch, suite.size, others.parts))
    for found in others.collect(progress.stopped):
        progress = progress.merge(found)
    return progress


def _scale_watcher(watch: Watcher | None, size: int, parts: int) -> Watcher | None:
    """Return a watcher of the whole: shares advance at the same pace."""
    if watch is None:
        return None
    return lambda done, _: watch(min(done * parts, size), size)

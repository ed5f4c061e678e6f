"""The results of a running check: its cases and their results so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from rnnspec.isolation.journal import Journal
from rnnspec.isolation.messages import CheckedCase
from rnnspec.isolation.sources import Sources
from rnnspec.isolation.standing import Standing, StandingWatcher

Selection = Callable[[int], Sequence[int]]
"""A function that takes the number of all cases and returns the cases of a run, in order."""


class Results:
    """The results of the cases of a run, by index.

    size     the number of all cases, or None if it is not known yet
    drawn    identifies the cases, see `Ready`
    sources  the source files of the target, see `Ready`
    wanted   the cases of this run
    checked  the results so far, some of them perhaps from a file
    failing  the number of cases on which a rule fails
    """

    def __init__(
        self,
        select: Selection,
        *,
        checked: Mapping[int, CheckedCase] | None = None,
        journal: Journal | None = None,
        watch: StandingWatcher | None = None,
    ) -> None:
        self.select = select
        self.journal = journal
        self.watch = watch
        self.size: int | None = None
        self.drawn = ""
        self.sources: Sources = {}
        self.wanted: Sequence[int] = ()
        self.checked = dict(checked or {})
        self.failing = sum(bool(each.failed) for each in self.checked.values())
        self.begun = time.monotonic()
        self._known = len(self.checked)
        self._first = ""

    def begin(
        self, size: int, drawn: str = "", sizes: str = "", sources: Sources | None = None
    ) -> None:
        """Record the number of all cases, unless it is already known.

        `drawn` and `sizes` identify the cases and `sources` the target, see `Journal.begin`. Raises
        SelectionError if the file of results is about other cases or another target.
        """
        if self.size is not None:
            return
        self.size, self.drawn, self.sources = size, drawn, sources or {}
        self.wanted, self.begun = self.select(size), time.monotonic()
        if self.journal is not None:
            self.journal.begin(size, drawn, sizes, self.sources)

    def add(self, checked: CheckedCase) -> None:
        """Add the result of a case, and write it to the file if there is one."""
        self.checked[checked.index] = checked
        if self.journal is not None:
            self.journal.add(checked)
        self.failing += bool(checked.failed)
        self._first = self._first or next(iter(checked.failed), "")
        self.report_standing()

    def report_standing(self, doing: tuple[str, ...] = ()) -> None:
        """Report the progress of the run to its watcher, once the number of cases is known."""
        if self.watch is None or self.size is None:
            return
        done, wanted = len(self.checked), len(self.wanted)
        self.watch(
            Standing(
                done, wanted, self.failing, self.read_seconds(), self._known, self._first, doing
            )
        )

    def read_seconds(self) -> float:
        """Return the seconds since the number of cases became known."""
        return round(time.monotonic() - self.begun, 3)

    def list_missing(self) -> list[int]:
        """Return the cases without a result, in order."""
        return [index for index in self.wanted if index not in self.checked]

    def list_packed(self) -> list[bytes]:
        """Return the results of all cases for the worker that writes the report, in order."""
        return [self.checked[index].result for index in sorted(self.checked)]

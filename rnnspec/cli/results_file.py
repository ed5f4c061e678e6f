"""The file with the results of a run, which outlives a run that was ended.

Without --stream or --resume it is a temporary one, which is removed when the run is complete.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import click

from rnnspec.isolation.journal import read_file
from rnnspec.report.data import Report, RunVerdict

END_OF_RUN = "\nrnnspec: the run ends"


@dataclass
class Kept:
    """The file with the results of a run.

    path          where it is, or None if there is none
    is_temporary  whether the user has not asked for it
    can_resume    whether another run can go on with it
    is_done       whether the run has done all that it should
    """

    path: str | None
    is_temporary: bool
    can_resume: bool = True
    is_done: bool = False

    def say_end(self) -> str:
        """Return what is said at once when the run is ended, with the end of the line."""
        has_results = self.path is not None and os.path.getsize(self.path) > 0
        where = f"; the results are kept in {self.path}" if has_results else ""
        return f"{END_OF_RUN}{where}\n"

    @property
    def note(self) -> str:
        """The note of the report on a run that was ended, on how to go on, or an empty string."""
        if self.path is None:
            return ""
        resume = f"--resume {self.path} judges the other cases" if self.can_resume else ""
        merge = f"'rnnspec merge {self.path}' looks for the faults of those that were judged"
        ways = ", and ".join(filter(None, (resume, merge)))
        return f"the results are kept in {self.path}: {ways}"

    @property
    def remark(self) -> str:
        """What is said after a while of a run, or an empty string."""
        if self.path is None or not self.is_temporary:
            return ""
        return f"the results so far are in {self.path}"

    def drop(self) -> None:
        """Remove a temporary file that nobody needs any more."""
        if self.is_temporary and self.path is not None:
            with suppress(OSError):
                os.unlink(self.path)


@contextmanager
def keep_results(asked: str | None, *, can_resume: bool) -> Iterator[Kept]:
    """Return a context with the file of results that was asked for, or else a temporary one.

    A temporary file stays if the run is not done, or fails and has results; then its name is said.
    """
    kept = Kept(asked or _make_temporary(), asked is None, can_resume)
    try:
        yield kept
    except BaseException:
        if kept.is_temporary and kept.path is not None and _has_results(kept.path):
            click.echo(f"rnnspec: {kept.note}", err=True)
        else:
            kept.drop()
        raise
    if kept.is_done:
        kept.drop()


def is_complete(report: Report, *, fail_fast: bool) -> bool:
    """Return whether a run has done all that it should, so that nobody goes on with it."""
    return not report.stopped or (fail_fast and report.verdict is RunVerdict.VIOLATES)


def _make_temporary() -> str | None:
    """Return the path of a new file, or None if the system has no place for one."""
    try:
        descriptor, path = tempfile.mkstemp(prefix="rnnspec-", suffix=".jsonl")
    except OSError:
        return None
    os.close(descriptor)
    return path


def _has_results(path: str) -> bool:
    with suppress(Exception):
        return bool(read_file(Path(path)).results)
    return False

"""The file with the results of a run, which is kept if the run is ended.

Without --stream or --resume it is a temporary file, which is removed when the run is complete.
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

    path          the path, or None if there is no file
    is_temporary  whether the user has not named it
    can_resume    whether another run can resume it
    is_done       whether the run has finished all its work
    """

    path: str | None
    is_temporary: bool
    can_resume: bool = True
    is_done: bool = False

    def describe_end(self) -> str:
        """Return the text to print when a signal ends the run, with a line break."""
        has_results = self.path is not None and os.path.getsize(self.path) > 0
        where = f"; the results are kept in {self.path}" if has_results else ""
        return f"{END_OF_RUN}{where}\n"

    @property
    def note(self) -> str:
        """A note on how to continue a run that was ended, or an empty string."""
        if self.path is None:
            return ""
        resume = f"--resume {self.path} checks the other cases" if self.can_resume else ""
        merge = f"'rnnspec merge {self.path}' looks for the faults of those that were checked"
        ways = ", and ".join(filter(None, (resume, merge)))
        return f"the results are kept in {self.path}: {ways}"

    @property
    def remark(self) -> str:
        """A remark for a run that takes long, or an empty string."""
        if self.path is None or not self.is_temporary:
            return ""
        return f"the results so far are in {self.path}"

    def drop(self) -> None:
        """Remove the file if it is temporary."""
        if self.is_temporary and self.path is not None:
            with suppress(OSError):
                os.unlink(self.path)


@contextmanager
def keep_results(asked: str | None, *, can_resume: bool) -> Iterator[Kept]:
    """Return a context with the file for results: the path in `asked`, or a temporary file.

    A temporary file is kept if the run is not done, or if it fails with results; in the latter case
    its name is printed.
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
    """Return whether a run has finished all its work, so that there is nothing to resume."""
    return not report.stopped or (fail_fast and report.verdict is RunVerdict.VIOLATES)


def _make_temporary() -> str | None:
    """Return the path of a new file, or None if the system has no place for it."""
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

"""A file of what a run has found so far, from which the run can go on after it was ended.

Its lines are JSON: a header that says what is checked, one line for each case, and a footer with
the verdict. Each line is written as soon as its case is judged, by one call of the system, so that
nothing is lost when a process is killed. The field `result` of a case holds all that a worker needs
to write the report; it is a compressed pickle, so a file is resumed only by whoever trusts it.
"""

from __future__ import annotations

import base64
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rnnspec._version import __version__
from rnnspec.errors import SelectionError
from rnnspec.isolation.messages import Judged
from rnnspec.options import RunOptions
from rnnspec.report.data import Report
from rnnspec.text import make_data_printable

SCHEMA = "rnnspec-run-1"
PACKAGES = ("torch", "numpy", "hypothesis")


def describe_run(target: str, options: RunOptions) -> dict[str, Any]:
    """Return what the results of a run depend on, as plain data: two runs that agree can be one."""
    given = {name: _make_plain(value) for name, value in asdict(options).items()}
    versions = {"rnnspec": __version__} | {name: _read_version(name) for name in PACKAGES}
    return {"schema": SCHEMA, "target": target, "options": given, "versions": versions}


def _make_plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): repr(each) for key, each in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _read_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


@dataclass
class Journal:
    """A file with the results of a run.

    run         what is checked, as `describe_run` returns it
    results     the results that the file had, by the index of their case
    size        the number of cases that the file says there are, or None if it is new
    descriptor  the open file
    """

    path: Path
    run: dict[str, Any]
    results: dict[int, bytes] = field(default_factory=dict)
    size: int | None = None
    descriptor: int = field(default=-1, repr=False)

    @classmethod
    def create(cls, path: Path, run: dict[str, Any]) -> Journal:
        """Return a new file. Raises SelectionError if it cannot be written."""
        journal = cls(path, run)
        journal.open(os.O_TRUNC, "stream")
        return journal

    @classmethod
    def resume(cls, path: Path, run: dict[str, Any]) -> Journal:
        """Return a file with the results that it has, to which more can be added.

        Raises SelectionError if it is no such file, or is about something else than `run`.
        """
        try:
            lines = path.read_bytes().splitlines(keepends=True)
        except OSError as error:
            raise SelectionError(
                f"{path}: it cannot be read ({error.strerror}).", "resume"
            ) from error
        header, *rest = list(_read_lines(lines)) or [{}]
        if header.get("schema") != SCHEMA:
            raise SelectionError(f"{path}: it was not written by --stream.", "resume")
        for name, value in run.items():
            if header.get(name) != value:
                found = f"its {name} is {header.get(name)!r}, not {value!r}"
                raise SelectionError(f"{path}: it is about another run: {found}.", "resume")
        results = {each["case"]: _unpack(each["result"]) for each in rest if "result" in each}
        journal = cls(path, run, results, header["cases"])
        journal.open(0, "resume")
        if not lines[-1].endswith(b"\n"):  # the last line was being written
            os.write(journal.descriptor, b"\n")
        return journal

    def open(self, flags: int, option: str) -> None:
        """Open the file for writing. Raises SelectionError, about this option, if that fails."""
        mode = os.O_WRONLY | os.O_CREAT | os.O_APPEND | flags
        try:
            self.descriptor = os.open(self.path, mode, 0o644)
        except OSError as error:
            reason = f"it cannot be written there ({error.strerror}); nothing was checked."
            raise SelectionError(f"{self.path}: {reason}", option) from error

    def begin(self, size: int) -> None:
        """Write the header. Raises SelectionError if a run that is resumed had other cases."""
        if self.size is None:
            self.size = size
            self._write({**self.run, "cases": size})
        elif self.size != size:
            raise SelectionError(
                f"{self.path}: the target has changed: it had {self.size} cases and has {size}.",
                "resume",
            )

    def add(self, judged: Judged) -> None:
        """Write the result of a case."""
        self._write(
            {
                "case": judged.index,
                "passed": judged.passed,
                "failed": dict(judged.failed),
                "result": base64.b85encode(zlib.compress(judged.result)).decode(),
            }
        )

    def finish(self, report: Report) -> None:
        """Write the footer."""
        self._write(
            {
                "verdict": report.verdict.value,
                "exit_status": report.exit_status,
                "judged": report.cases,
                "stopped": report.stopped,
                "faults": [fault.rule for fault in report.faults],
            }
        )
        os.close(self.descriptor)

    def _write(self, data: dict[str, Any]) -> None:
        os.write(self.descriptor, json.dumps(make_data_printable(data)).encode() + b"\n")


def _read_lines(lines: list[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the lines that are whole."""
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:
            continue


def _unpack(text: str) -> bytes:
    return zlib.decompress(base64.b85decode(text))

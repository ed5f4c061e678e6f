"""A file with the findings of a run so far, from which the run can be resumed after it was ended.

Its lines are JSON: a header that identifies the run, one line per case, and a footer with the
outcome. Each line is written by a single system call as soon as its case is checked, so nothing is
lost when the process is killed. The field `result` of a case holds everything that a worker needs
for the report. It is a compressed pickle, so resume and merge only files that you trust.
"""

from __future__ import annotations

import json
import os
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version_tuple
from typing import Any

from rnnspec._version import __version__
from rnnspec.errors import SelectionError
from rnnspec.isolation.messages import CheckedCase, Precautions, check_packed
from rnnspec.isolation.ranges import Share
from rnnspec.isolation.sources import Sources, find_change
from rnnspec.options import AUTOMATIC, RunOptions
from rnnspec.text import count_cases, make_data_printable

SCHEMA = "rnnspec-run-3"
HEADER = frozenset({"target", "shard", "imports", "options", "versions", "cases", "drawn"})
"""The fields that every header has."""
PACKAGES = ("torch", "numpy", "hypothesis")


def describe_run(
    target: str, options: RunOptions, imports: Sequence[str] = (), share: Share | None = None
) -> dict[str, Any]:
    """Return everything that the results of a run depend on, as plain data.

    Two files belong to the same run if this is equal.
    """
    given = {name: _make_plain(value) for name, value in asdict(options).items()}
    return {
        "schema": SCHEMA,
        "target": target,
        "shard": str(share or Share()),
        "imports": list(imports),
        "options": given,
        "versions": read_versions(),
    }


def read_versions() -> dict[str, str]:
    """Return the versions of all software that a result depends on."""
    python = ".".join(python_version_tuple()[:2])
    packages = {name: _read_version(name) for name in PACKAGES}
    return {"rnnspec": __version__, "python": python, **packages}


def _make_plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): repr(each) for key, each in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _read_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


def describe_difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Describe the first difference between two runs, or return an empty string."""
    for name in other:
        found, expected = one.get(name), other[name]
        if found == expected:
            continue
        if isinstance(found, dict) and isinstance(expected, dict):
            return describe_difference(found, expected)
        return f"it has {name} {found!r}, not {expected!r}"
    return ""


@dataclass(frozen=True)
class Recorded:
    """The content of a file.

    header   the description of the run from `describe_run`, and the number of cases
    results  the results of cases, by index
    footer   the outcome, or None if the run was killed
    damaged  the numbers of the lines that cannot be read, from 1
    is_cut   whether the last line is incomplete, and therefore among the damaged lines
    """

    path: Path
    header: Mapping[str, Any]
    results: Mapping[int, CheckedCase]
    footer: Mapping[str, Any] | None
    damaged: tuple[int, ...]
    is_cut: bool

    @property
    def sources(self) -> Sources:
        """The source files of the target. Older files do not contain them."""
        found: Sources = self.header.get("sources", {})
        return found

    @property
    def size(self) -> int:
        """The number of all cases, regardless of the share of this run."""
        return int(self.header["cases"])


def read_file(path: Path, option: str | None = None) -> Recorded:
    """Return the content of a file without its damaged lines.

    Raises SelectionError, with `option` as the option at fault, if the file was not written by
    `--stream`.
    """
    try:
        first, *rest = path.read_bytes().split(b"\n")
    except OSError as error:
        raise SelectionError(f"{path}: it cannot be read ({error.strerror}).", option) from error
    header = _read_line(first)
    if header.get("schema") != SCHEMA or not header.keys() >= HEADER:
        reason = "it was not written by --stream, or its first line is damaged."
        raise SelectionError(f"{path}: {reason}", option)
    results: dict[int, CheckedCase] = {}
    footer, damaged = None, []
    is_cut = not rest or rest[-1] != b""
    for number, line in enumerate(rest if is_cut else rest[:-1], start=2):
        found = _read_line(line)
        try:
            if "checked" in found:
                footer = found
            else:
                case = _read_case(found)
                results[case.index] = case
        except (ValueError, LookupError, TypeError):
            damaged.append(number)
    return Recorded(path, header, results, footer, tuple(damaged), is_cut)


def _read_line(line: bytes) -> dict[str, Any]:
    """Return the content of a line, or an empty dictionary if it is damaged."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _read_case(data: Mapping[str, Any]) -> CheckedCase:
    """Return a case. Raises ValueError, LookupError or TypeError if its line is damaged."""
    result = b64decode(data["result"], validate=True)
    check_packed(result)
    return CheckedCase(
        int(data["case"]),
        result,
        passed=tuple(data["passed"]),
        failed=data["failed"],
        refused=data["refused"],
    )


@dataclass
class Journal:
    """A file with the results of a run.

    run         the description of the run from `describe_run`
    results     the results that the file had, by the index of their case
    size        the number of cases according to the file, or None if it is new
    sources     the source files of the target that the file lists
    descriptor  the open file
    option      the option with which the user named the file; empty for a temporary file, without
                which a run can go on
    """

    path: Path
    run: dict[str, Any]
    results: Mapping[int, CheckedCase] = field(default_factory=dict)
    size: int | None = None
    sources: Sources = field(default_factory=dict)
    descriptor: int = field(default=-1, repr=False)
    option: str = "stream"

    @classmethod
    def create(cls, path: Path, run: dict[str, Any]) -> Journal:
        """Create a file, which may replace a file without results.

        Raises SelectionError if there is any other file, or if the file cannot be written.
        """
        _refuse_replacing(path)
        journal = cls(path, run)
        journal.open(os.O_TRUNC, "stream")
        return journal

    @classmethod
    def resume(cls, path: Path, run: dict[str, Any]) -> Journal:
        """Open a file to which more results will be added.

        Raises SelectionError if it was not written by `--stream`, or belongs to another run than
        `run`.
        """
        found = read_file(path, "resume")
        run = _adopt_sizes(run, found.header)
        difference = describe_difference(found.header, run)
        if difference:
            raise SelectionError(f"{path}: it is about another run: {difference}.", "resume")
        journal = cls(path, run, found.results, found.size, found.sources)
        journal.open(0, "resume")
        if found.is_cut:
            os.write(journal.descriptor, b"\n")
        return journal

    @classmethod
    def keep(cls, path: Path, run: dict[str, Any]) -> Journal:
        """Open a temporary file, which exists already and is empty."""
        journal = cls(path, run)
        journal.open(os.O_TRUNC, "")
        return journal

    def open(self, flags: int, option: str) -> None:
        """Open the file for writing. Raises SelectionError, about `option`, if that fails."""
        self.option = option
        mode = os.O_WRONLY | os.O_CREAT | os.O_APPEND | flags
        try:
            self.descriptor = os.open(self.path, mode, 0o644)
        except OSError as error:
            if not option:
                return
            reason = f"it cannot be written there ({error.strerror}); nothing was checked."
            raise SelectionError(f"{self.path}: {reason}", option) from error

    def begin(
        self, size: int, drawn: str = "", sizes: str = "", sources: Sources | None = None
    ) -> None:
        """Write the header, or compare it with the file if the run is resumed.

        `drawn` identifies the cases, see `Ready`; `sizes` names the source of their sizes, which
        the user may have left open; `sources` are the source files of the target.

        Raises SelectionError if a resumed run had another target or other cases.
        """
        if self.size is None:
            self.size = size
            if sizes:
                self.run = {**self.run, "options": {**self.run["options"], "sizes": sizes}}
            self._write({**self.run, "cases": size, "drawn": drawn, "sources": sources or {}})
            return
        # Otherwise an edited layer could conform because of results of its old code.
        if changed := find_change(self.sources, sources or {}):
            raise SelectionError(
                f"{changed} has changed since {self.path} was written, so its results may be "
                f"those of another layer; restore the file, or delete {self.path} and start anew "
                f"with --stream {self.path}."
            )
        if self.size != size:
            raise SelectionError(
                f"{self.path}: the target has changed: it had {count_cases(self.size)} and has "
                f"{size}.",
                "resume",
            )

    def add(self, checked: CheckedCase) -> None:
        """Write the result of a case. Raises SelectionError if that fails."""
        self._write(
            {
                "case": checked.index,
                "passed": checked.passed,
                "failed": dict(checked.failed),
                "refused": dict(checked.refused),
                "result": b64encode(checked.result).decode(),
            }
        )

    def finish(
        self,
        *,
        is_stopped: bool,
        notes: Sequence[str],
        precautions: Precautions,
        outcome: Mapping[str, Any],
    ) -> None:
        """Write the footer: the outcome, and whatever a merged report needs besides the cases."""
        known = {
            "tried": sorted(precautions.tried),
            "always_tried": sorted(precautions.always_tried),
            "is_slow": precautions.is_slow,
            "tries_none": precautions.tries_none,
        }
        self._write({**outcome, "stopped": is_stopped, "notes": list(notes), "precautions": known})
        self._close()

    def _close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
        self.descriptor = -1

    def _write(self, data: dict[str, Any]) -> None:
        """Write a line. Raises SelectionError if the line cannot be written completely."""
        if self.descriptor < 0:  # a temporary file that could not be written
            return
        line = json.dumps(make_data_printable(data)).encode() + b"\n"
        try:
            while line:
                line = line[os.write(self.descriptor, line) :]
        except OSError as error:
            if not self.option:
                self._close()
                return
            raise SelectionError(
                f"{self.path}: it cannot be written any more ({error.strerror}). Its results so "
                "far are kept: when the cause is mended, continue with --resume "
                f"{self.path}.",
                self.option,
            ) from error


def _refuse_replacing(path: Path) -> None:
    """Raise SelectionError if the file has checked cases, or was not written by `--stream`."""
    if not path.is_file() or path.stat().st_size == 0:
        return
    try:
        count = len(read_file(path).results)
    except SelectionError as error:
        reason = "there is such a file, which --stream has not written; choose another name."
        raise SelectionError(f"{path}: {reason}", "stream") from error
    if count:
        raise SelectionError(
            f"{path}: it holds {count} checked {'case' if count == 1 else 'cases'}; go on with "
            f"--resume {path}, or delete it.",
            "stream",
        )


def read_precautions(footer: Mapping[str, Any]) -> Precautions:
    """Return the precautions in a footer, about steps that end a worker."""
    known = footer.get("precautions", {})
    return Precautions(
        frozenset(known.get("tried", ())),
        frozenset(known.get("always_tried", ())),
        is_slow=bool(known.get("is_slow")),
        tries_none=bool(known.get("tries_none")),
    )


def _adopt_sizes(run: dict[str, Any], header: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run with the sizes of the file that it resumes, if the user leaves them open."""
    options, known = run["options"], header.get("options")
    if options.get("sizes") != AUTOMATIC or not isinstance(known, dict):
        return run
    return {**run, "options": {**options, "sizes": known.get("sizes", AUTOMATIC)}}

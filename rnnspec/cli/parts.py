"""What the commands share: reports that are shown and written, modules to import, progress."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rnnspec.errors import SelectionError
from rnnspec.subjects.steps import IMPORTING, announce_step, is_from_user
from rnnspec.text import read_message

if TYPE_CHECKING:
    from rnnspec.report.data import Report

Watcher = Callable[[int, int], None]
SECONDS_BETWEEN_LINES = 30.0
"""So often a line says how far a long run is, where there is no terminal."""
COLOURS = {"FAIL": "red", "CHECKER ERROR": "red", "unreached": "yellow", "note": "cyan"}


def check_files(json_path: str | None, files: Mapping[str, str | None]) -> None:
    """Raise SelectionError before the run if a file for the report cannot be written."""
    check_writable(json_path)
    for name, path in files.items():
        check_writable(path, name)


def show_report(
    report: Report, json_path: str | None, files: Mapping[str, str | None] | None = None
) -> None:
    """Print a report as text, and write it as JSON to a path; - prints the JSON instead.

    `files` has paths for other forms, see `rnnspec.report.files`. The report is printed also if a
    file cannot be written. Raises SelectionError then.
    """
    from rnnspec.report.files import write_file, write_files

    data = json.dumps(report.as_dict(), indent=2)
    try:
        write_files(report, files or {})
        if json_path not in (None, "-"):
            write_file(str(json_path), data + "\n", "json")
    finally:
        print_text(data if json_path == "-" else _format_text(report))


def _format_text(report: Report) -> str:
    """Return a report as text in colours."""
    from rnnspec.report.console import format_report

    *body, conclusion = format_report(report).splitlines()
    verdict = click.style(conclusion, fg="green" if report.ok else "red", bold=True)
    return "\n".join([*map(_colour_line, body), verdict])


def _colour_line(line: str) -> str:
    """Return the line with its first word in colour; `click.echo` leaves colours out of a pipe."""
    for word, colour in COLOURS.items():
        if line.startswith(f"{word}  "):
            return click.style(word, fg=colour, bold=True) + line[len(word) :]
    return line


def print_text(text: str) -> None:
    """Write to standard output; a reader who has seen enough does not change the exit status.

    Raises SelectionError if it cannot be written there for another reason.
    """
    try:
        click.echo(text)
    except BrokenPipeError:
        _drop_output()
    except OSError as error:
        _drop_output()
        reason = f"standard output cannot be written ({error.strerror})."
        raise SelectionError(reason) from error


def _drop_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def check_writable(path: str | None, option: str = "json") -> None:
    """Raise SelectionError before the run, not after it, if a path cannot be written."""
    if path in (None, "-"):
        return
    place = Path(str(path))
    existed = place.exists()
    try:
        with place.open("a", encoding="utf-8"):
            pass
    except OSError as error:
        reason = f"it cannot be written there ({error.strerror}); nothing was checked."
        raise SelectionError(f"{path}: {reason}", option) from error
    if not existed:
        place.unlink()


def import_module(name: str) -> None:
    """Import a module, found as the target is. Raises SelectionError if that fails."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        with redirect_stdout(sys.stderr), announce_step(f"{IMPORTING} {name}"):
            importlib.import_module(name)
    except BaseException as error:
        if is_from_user(error):
            raise
        text = read_message(error)
        raise SelectionError(f"{name}: {type(error).__name__}: {text}", "import") from error
    finally:
        if here in sys.path:
            sys.path.remove(here)


def make_bar(**options: Any) -> Any:
    """Return a bar on standard error that counts cases; the options are those of click's bar."""
    return click.progressbar(
        length=1, label="cases", file=sys.stderr, show_pos=True, update_min_steps=1, **options
    )


@contextmanager
def show_progress() -> Iterator[Watcher]:
    """Show a bar on standard error if it is a terminal, and else a line every half minute.

    What a target prints goes to standard error too, not into the report.
    """
    if not sys.stderr.isatty():
        begun, writer = time.monotonic(), LineWriter()

        def write(done: int, total: int) -> None:
            seconds = time.monotonic() - begun
            writer.write(seconds, lambda: _describe_done(done, total, seconds))

        with redirect_stdout(sys.stderr):
            yield write
        return
    bar = make_bar()
    with redirect_stdout(sys.stderr), bar:

        def watch(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        yield watch


class LineWriter:
    """Writes a line each time that enough seconds of a run have passed."""

    def __init__(self) -> None:
        self.due = SECONDS_BETWEEN_LINES

    def write(self, seconds: float, describe: Callable[[], str]) -> None:
        """Write what `describe` returns, if a line is due after so many seconds of the run."""
        if seconds >= self.due:
            self.due = seconds + SECONDS_BETWEEN_LINES
            click.echo(f"rnnspec: {describe()}", err=True)


def _describe_done(done: int, total: int, seconds: float) -> str:
    left = seconds / max(done, 1) * (total - done)
    return f"{done} of {total} after {seconds:.0f} s, about {left:.0f} s left"

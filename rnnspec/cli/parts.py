"""Common parts of the commands: show and write reports, import modules, show progress."""

from __future__ import annotations

import importlib
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import click

from rnnspec.errors import SelectionError
from rnnspec.isolation.standing import TaskWatcher
from rnnspec.subjects.steps import StepKind, announce_step, is_from_user
from rnnspec.subjects.target import Target, resolve_target, suggest_module
from rnnspec.text import read_message

if TYPE_CHECKING:
    from rnnspec.report.data import Report

SECONDS_BETWEEN_LINES = 30.0
"""The interval between lines about the progress of a long run, if there is no terminal."""
GITHUB = "GITHUB_ACTIONS"
"""The variable that is `true` in the jobs of GitHub, which show annotations."""
CLEAR_LINE = "\x1b[K"
BAR_WIDTH, USUAL_COLUMNS = 10, 80
LINE, NARROW_LINE = "%(label)s  [%(bar)s]  %(info)s", "%(info)s"
LEAST_COLUMNS = 48
"""A narrower terminal has no room for a bar."""
DOTS = " ..."
"""Placeholder for the part of a text that does not fit in the line."""
COLOURS = {"FAIL": "red", "CHECKER ERROR": "red", "unreached": "yellow", "note": "cyan"}


def check_files(json_path: str | None, files: Mapping[str, str | None]) -> None:
    """Raise SelectionError before the run if a file of the report cannot be made or written."""
    if files.get("html") is not None:
        from rnnspec.report.page import require_templates

        require_templates()
    check_writable(json_path)
    for name, path in files.items():
        check_writable(path, name)


def show_report(
    report: Report, json_path: str | None, files: Mapping[str, str | None] | None = None
) -> None:
    """Print a report as text, and write it as JSON to a path; `-` prints the JSON instead.

    `files` has paths for other forms, see `rnnspec.report.files`. If a file cannot be written, the
    report is printed before SelectionError is raised.
    """
    from rnnspec.report.files import write_file, write_files

    data = json.dumps(report.as_dict(), indent=2)
    try:
        write_files(report, files or {})
        if json_path not in (None, "-"):
            write_file(str(json_path), data + "\n", "json")
    finally:
        print_text(data if json_path == "-" else _format_text(report))
        if os.environ.get(GITHUB) == "true":
            from rnnspec.report.sarif import format_annotations

            # GitHub reads commands from standard error too, and --json - owns standard output.
            click.echo(format_annotations(report), err=True, nl=False)


def _format_text(report: Report) -> str:
    """Return a report as coloured text."""
    from rnnspec.report.console import format_report

    *body, conclusion = format_report(report).splitlines()
    verdict = click.style(conclusion, fg="green" if report.ok else "red", bold=True)
    return "\n".join([*map(_colour_line, body), verdict])


def _colour_line(line: str) -> str:
    """Return the line with its first word in colour; `click.echo` removes colours in a pipe."""
    for word, colour in COLOURS.items():
        if line.startswith(f"{word}  "):
            return click.style(word, fg=colour, bold=True) + line[len(word) :]
    return line


def print_text(text: str) -> None:
    """Write to standard output. A closed pipe does not change the exit status.

    Raises SelectionError if writing fails for another reason.
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
    """Import a module in the same way as the target. Raises SelectionError if that fails."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        with redirect_stdout(sys.stderr), announce_step(f"importing {name}", StepKind.IMPORT):
            importlib.import_module(name)
    except BaseException as error:
        if is_from_user(error):
            raise
        text = read_message(error)
        is_missing = isinstance(error, ModuleNotFoundError) and error.name == name
        near = suggest_module(name) if is_missing else ""
        near = f".{near}" if near else ""
        raise SelectionError(f"{name}: {type(error).__name__}: {text}{near}", "import") from error
    finally:
        if here in sys.path:
            sys.path.remove(here)


def import_first(modules: Sequence[str], target: str) -> str | Target:
    """Import modules, and return the target; its programs import the modules as well.

    Without modules, the target is resolved later. Raises SelectionError if a module cannot be
    imported, and TargetError if the target does not exist.
    """
    for module in modules:
        import_module(module)
    return resolve_target(target).import_first(modules) if modules else target


class Bar:
    """A line on a terminal's standard error, with a bar of cases and the current activity."""

    def __init__(self) -> None:
        self._bar: Any = click.progressbar(
            length=1,
            label="cases",
            file=sys.stderr,
            show_eta=False,
            show_percent=False,
            show_pos=True,
            update_min_steps=1,
            item_show_func=lambda text: text,
            width=BAR_WIDTH,
        )

    def __enter__(self) -> Bar:
        self._choose_form(read_columns())
        self._bar.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._bar.__exit__(*exception)

    def show(self, done: int, total: int, texts: Sequence[str]) -> None:
        """Show how much is done, followed by as many texts as fit in the line.

        If the first text does not fit, it is shortened.
        """
        bar, columns = self._bar, read_columns()
        self._choose_form(columns)
        bar.length, bar.pos = total, done
        bar.finished, bar.current_item = done >= total, None
        room = columns - len(bar.format_progress_line()) - len("  ") - 1  # the last may wrap
        lines = [", ".join(texts[:number]) for number in range(len(texts), 0, -1)]
        shortest = shorten(lines[-1], room, placeholder=DOTS) if room > len(DOTS) else ""
        bar.current_item = next((line for line in lines if len(line) <= room), shortest)
        bar.render_progress()

    def _choose_form(self, columns: int) -> None:
        self._bar.bar_template = NARROW_LINE if columns < LEAST_COLUMNS else LINE


def read_columns() -> int:
    """Return the width of the terminal behind standard error, or a usual width."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or USUAL_COLUMNS
    except (OSError, ValueError, AttributeError):
        return shutil.get_terminal_size().columns


@contextmanager
def show_progress() -> Iterator[TaskWatcher]:
    """Show a bar on standard error if it is a terminal, otherwise print a line every half minute.

    Output of a target goes to standard error too, and not into the report.
    """
    begun = time.monotonic()
    if not sys.stderr.isatty():
        writer = LineWriter()

        def write(done: int, total: int, doing: tuple[str, ...] = ()) -> None:
            seconds = time.monotonic() - begun
            writer.write(seconds, lambda: _describe_done(done, total, seconds, doing))

        with redirect_stdout(sys.stderr):
            yield write
        return
    with redirect_stdout(sys.stderr), Bar() as bar:

        def watch(done: int, total: int, doing: tuple[str, ...] = ()) -> None:
            left = (time.monotonic() - begun) / max(done, 1) * (total - done)
            bar.show(done, total, doing or (f"about {left:.0f} s left",))

        yield watch


class LineWriter:
    """Writes a line every time that enough seconds of a run have passed, or only the first time."""

    def __init__(self, *, is_repeated: bool = True) -> None:
        self.due = SECONDS_BETWEEN_LINES
        self.is_repeated = is_repeated

    def write(self, seconds: float, describe: Callable[[], str]) -> None:
        """Write the text from `describe` if a line is due after this many seconds of the run."""
        if seconds >= self.due:
            self.due = seconds + SECONDS_BETWEEN_LINES if self.is_repeated else math.inf
            start = f"\r{CLEAR_LINE}" if sys.stderr.isatty() else ""  # replaces the bar
            click.echo(f"{start}rnnspec: {describe()}", err=True)


def _describe_done(done: int, total: int, seconds: float, doing: tuple[str, ...]) -> str:
    left = seconds / max(done, 1) * (total - done)
    rest = f"; {', '.join(doing)}" if doing else f", about {left:.0f} s left"
    return f"{done} of {total} after {seconds:.0f} s{rest}"

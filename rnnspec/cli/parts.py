"""What the commands share: reports shown and written, arguments read, progress."""

from __future__ import annotations

import ast
import importlib
import json
import os
import sys
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import click

from rnnspec.errors import SelectionError


def show_report(report: Any, json_path: str | None) -> None:
    """Print a report as text and write it as JSON where a path is given; the path - prints the JSON instead."""
    from rnnspec.report.console import format_report

    text = json.dumps(report.as_dict(), indent=2)
    if json_path not in (None, "-"):
        Path(str(json_path)).write_text(text + "\n", encoding="utf-8")
    print_text(text if json_path == "-" else format_report(report))


def print_text(text: str) -> None:
    """Write to standard output; a reader who has seen enough does not change the exit status."""
    try:
        click.echo(text)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def check_writable(path: str | None, option: str = "--json") -> None:
    """Refuse a report path before the run, not after it."""
    if path in (None, "-"):
        return
    place = Path(str(path))
    existed = place.exists()
    try:
        with place.open("a", encoding="utf-8"):
            pass
    except OSError as error:
        raise SelectionError(
            f"{option} {path}: it cannot be written there ({error.strerror}); nothing was checked."
        ) from error
    if not existed:
        place.unlink()


def parse_argument(text: str) -> tuple[str, Any]:
    """A constructor argument KEY=VALUE; the value is read as a Python literal, else as a string."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise SelectionError(f"--arg {text!r}: written KEY=VALUE, e.g. --arg bias=False.")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def import_module(name: str) -> None:
    """Import a module, found as the target is, before that is looked for; raises SelectionError where that fails."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        with redirect_stdout(sys.stderr):
            importlib.import_module(name)
    except (Exception, SystemExit) as error:
        told = " ".join(str(error).split())
        raise SelectionError(f"--import {name}: {type(error).__name__}: {told}") from error
    finally:
        if here in sys.path:
            sys.path.remove(here)


@contextmanager
def show_progress() -> Any:
    """A bar on standard error where it is a terminal, nothing in a pipe; what a target prints goes there too, not into the report."""
    if not sys.stderr.isatty():
        with redirect_stdout(sys.stderr):
            yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with (
        redirect_stdout(sys.stderr),
        Progress(*columns, console=Console(stderr=True), transient=True) as bar,
    ):
        task = bar.add_task("cases", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)

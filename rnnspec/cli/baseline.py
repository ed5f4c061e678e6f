"""The command that records today's faults as known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rnnspec.cli.options import add_isolation, add_options, collect_options
from rnnspec.cli.parts import check_writable, print_text
from rnnspec.cli.targets import choose_targets
from rnnspec.cli.tasks import TaskIsolation, list_baseline, use_target
from rnnspec.declared.files import NAMES, find_file
from rnnspec.options import CheckOptions
from rnnspec.report.data import RunVerdict

EPILOG = """\b
Exit status:
  0  a check conforms with these entries
  1  some failures are not covered by the entries
  2  there is no such target
  3  interrupted: no entry was added
\b
Examples:
  rnnspec baseline mylib:RNN
  rnnspec check mylib:RNN
"""
WRITE = (
    "Add the entries to this file; - only prints them.  [default: the project's file, or else "
    "rnnspec.toml]"
)
IMPORT = "Import a module first, e.g. to register a device. Repeatable."


@click.command(short_help="Record today's failures as known.", epilog=EPILOG)
@click.argument("target")
@add_options(CheckOptions)
@click.option("--import", "imports", multiple=True, metavar="MODULE", help=IMPORT)
@add_isolation
@click.option("--write", "path", metavar="PATH", help=WRITE)
def baseline(
    target: str,
    imports: tuple[str, ...],
    path: str | None,
    timeout: float,
    memory: int | None,
    no_isolate: bool,
    **given: Any,
) -> int:
    """Record today's faults of TARGET as known, so that a check conforms until something changes.

    Each fault that is not declared yet becomes an entry in your project's file, `rnnspec.toml` or
    `pyproject.toml`, with its region, the rules that fail because of it, and its smallest case. Set
    `kind` in each entry to the reason: bug, difference or unsupported.
    """
    from rnnspec.declared.writing import add_entries

    place = None if path == "-" else _choose_place(path, given["known"])
    if place is not None:
        check_writable(str(place), "write")
    (choice,) = choose_targets(target, given)
    with choice.add_places():
        options = collect_options(CheckOptions, choice.options)
        try:
            entries, is_whole = use_target(
                list_baseline,
                choice.target,
                options,
                isolation=TaskIsolation(timeout, memory, no_isolate),
                device=options.device,
                imports=imports,
                shows_progress=True,
            )
        except KeyboardInterrupt:
            click.echo("rnnspec: interrupted; no entry was added", err=True)
            return RunVerdict.INCONCLUSIVE.exit_status
    name = "" if place is None else place.name
    text = add_entries("", entries, name)
    if place is not None and entries:
        before = place.read_text(encoding="utf-8") if place.exists() else ""
        place.write_text(add_entries(before, entries, name), encoding="utf-8")
    count = f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}"
    where = "" if place is None or not entries else f" added to {path or name}"
    whole = "" if is_whole else "; some failures are not covered by them"
    print_text("\n".join([*([text] if text else []), f"{target}: {count}{where}{whole}."]))
    return 0 if is_whole else 1


def _choose_place(path: str | None, known: str | None) -> Path:
    """Return the file to which entries are added: the user's path, or the project's file."""
    if path is not None:
        return Path(path)
    found = find_file(known)
    return Path(NAMES[0]) if found is None else found.path

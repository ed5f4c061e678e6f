"""The command that declares what fails today."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rnnspec.cli.options import add_isolation, add_options, collect_options
from rnnspec.cli.parts import check_writable, print_text
from rnnspec.cli.tasks import Isolation, list_baseline, use_target
from rnnspec.options import CheckOptions

EPILOG = """\b
Exit status:
  0  a check conforms with these entries
  1  something fails outside of them
  2  there is no such target
\b
Examples:
  rnnspec baseline mylib:RNN
  rnnspec check mylib:RNN
"""
WRITE = "The file to which entries are added; - prints them only."
IMPORT = "Import a module first, e.g. to register a device. Repeatable."


@click.command(epilog=EPILOG)
@click.argument("target")
@add_options(CheckOptions)
@click.option("--import", "imports", multiple=True, metavar="MODULE", help=IMPORT)
@add_isolation
@click.option("--write", "path", default="rnnspec.toml", show_default=True, help=WRITE)
def baseline(
    target: str,
    imports: tuple[str, ...],
    path: str,
    timeout: float,
    memory: int | None,
    no_isolate: bool,
    **given: Any,
) -> int:
    """Declare what fails today of TARGET, so that a check conforms until something changes.

    Each fault becomes an entry of `rnnspec.toml` with its region, the rules that fail because of
    it, and its smallest case. Say in each entry why: `kind` is bug, difference or unsupported.
    """
    if path != "-":
        check_writable(path, "write")
    options = collect_options(CheckOptions, given)
    entries, is_whole = use_target(
        list_baseline,
        target,
        options,
        isolation=Isolation(timeout, memory, no_isolate),
        device=options.device,
        imports=imports,
        shows_progress=True,
    )
    text = "\n".join(entries)
    if path != "-" and entries:
        place = Path(path)
        before = place.read_text(encoding="utf-8") if place.exists() else ""
        gap = "\n" if before else ""
        place.write_text(before + gap + text, encoding="utf-8")
    count = f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}"
    where = "" if path == "-" or not entries else f" added to {path}"
    whole = "" if is_whole else "; something fails outside of them"
    print_text("\n".join([*([text] if text else []), f"{target}: {count}{where}{whole}."]))
    return 0 if is_whole else 1

"""The command that infers an adapter for a layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rnnspec.cli.options import add_isolation, parse_argument
from rnnspec.cli.parts import check_writable, print_text
from rnnspec.cli.tasks import TaskIsolation, find_adapter, use_target
from rnnspec.contract.kinds import LAYER_KINDS
from rnnspec.errors import SelectionError
from rnnspec.options import AUTOMATIC, check_choice

EPILOG = """\b
Exit status:
  0  found: every parameter acts as declared
  1  not found; the closest candidate is shown
  2  the layer cannot be built or called
  3  ambiguous: more than one declaration fits
\b
Examples:
  rnnspec adapt path/to/layers.py:MyRNN
  rnnspec adapt mylib.layers:MyGRU --arg tile=64 --write adapters.py
  rnnspec check adapters.py:MyGRU
"""
ARG = "An argument of its constructor, which keeps this value. Repeatable."
WRITE = "Write the declaration to a new file."
KIND = f"The kind of layer: {', '.join(LAYER_KINDS)}, or auto, which detects it."


@click.command(short_help="Find an adapter for a layer in another form.", epilog=EPILOG)
@click.argument("target")
@click.option("--kind", default=AUTOMATIC, show_default=True, metavar="KIND", help=KIND)
@click.option("--arg", "arguments", multiple=True, metavar="KEY=VALUE", help=ARG)
@click.option("--write", "path", metavar="PATH", help=WRITE)
@add_isolation
def adapt(
    target: str, kind: str, arguments: tuple[str, ...], path: str | None, **isolation: Any
) -> int:
    """Find out the names of TARGET's weights, how to call it, and which features it lacks.

    TARGET is your class or factory of torch modules, which takes two sizes. The printed declaration
    is the source of an adapter, see docs/adapters.md. Use --write to keep it in a file of yours,
    and check your layer through the adapter in that file.
    """
    extra = dict(map(parse_argument, arguments))
    check_choice("kind", kind, (AUTOMATIC, *LAYER_KINDS))
    _refuse_existing(path)
    check_writable(path, "write")
    text, source, status = use_target(
        find_adapter, target, kind, extra, path, isolation=TaskIsolation(**isolation)
    )
    if path is not None:
        Path(path).write_text(source, encoding="utf-8")
    print_text(text)
    return int(status)


def _refuse_existing(path: str | None) -> None:
    """Raise SelectionError if the file exists, since somebody may have edited the declaration."""
    if path is not None and Path(path).exists():
        raise SelectionError(
            f"{path}: there is such a file, which may have been edited; remove it or choose "
            "another name. Nothing was searched.",
            "write",
        )

"""The command that finds the adapter of a layer."""

from __future__ import annotations

from pathlib import Path

import click

from rnnspec.cli.parts import check_writable, print_text
from rnnspec.contract.kinds import LAYER_KINDS
from rnnspec.options import AUTOMATIC, check_choice
from rnnspec.subjects.target import resolve_target

EPILOG = """\b
Exit status:
  0  found: every parameter does what the declaration says
  1  not found; what came closest is shown
  2  the layer cannot be built or called
  3  ambiguous: more than one declaration fits
\b
Examples:
  rnnspec adapt path/to/layers.py:MyRNN
  rnnspec adapt mylib.layers:MyGRU --write adapters.py
  rnnspec check adapters.py:MyGRU
"""
WRITE = "Write the declaration to a new file."
KIND = "The kind of layer: rnn, gru, lstm, or auto, which looks at it."


@click.command(epilog=EPILOG)
@click.argument("target")
@click.option("--kind", default=AUTOMATIC, show_default=True, metavar="KIND", help=KIND)
@click.option("--write", "path", metavar="PATH", help=WRITE)
def adapt(target: str, kind: str, path: str | None) -> int:
    """Find out what TARGET calls its weights, how it is called, and what it lacks.

    TARGET is a class or a factory of torch modules that takes two sizes. The declaration that is
    printed is the source of an adapter, see docs/adapters.md; 'rnnspec check --adapt' uses it.
    """
    from rnnspec.inference.describe import format_found, write_source
    from rnnspec.inference.infer import infer_adapter

    check_choice("kind", kind, (AUTOMATIC, *LAYER_KINDS))
    check_writable(path, "write")
    found = infer_adapter(resolve_target(target), None if kind == AUTOMATIC else LAYER_KINDS[kind])
    if path is not None:
        Path(path).write_text(write_source(found), encoding="utf-8")
    print_text(format_found(found))
    return found.outcome.exit_status

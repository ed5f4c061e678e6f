"""The command that says whether an adapter itself is right."""

from __future__ import annotations

import click

from rnnspec.cli.parts import print_text
from rnnspec.contract.kinds import LAYER_KINDS
from rnnspec.options import AUTOMATIC, check_choice
from rnnspec.subjects.target import resolve_target
from rnnspec.text import make_printable

EPILOG = """\b
Exit status:
  0  the adapter is right
  1  something is wrong with it
  2  there is no such target
\b
Examples:
  rnnspec smoke adapters.py:MyRNN
  rnnspec smoke torch.nn:GRU
"""
KIND = "The kind of a layer without an adapter: rnn, gru, lstm, or auto, which looks at it."


@click.command(epilog=EPILOG)
@click.argument("target")
@click.option("--kind", default=AUTOMATIC, show_default=True, metavar="KIND", help=KIND)
def smoke(target: str, kind: str) -> int:
    """Say whether the adapter TARGET is right: names, shapes, dtypes, one call, and what it lacks.

    It takes a second. A layer without an adapter is taken for one with the documented names.
    """
    from rnnspec.inference.smoke import format_smoke, smoke_target
    from rnnspec.subjects.kind import guess_kind

    check_choice("kind", kind, (AUTOMATIC, *LAYER_KINDS))
    found = resolve_target(target)
    chosen = guess_kind(found.factory) if kind == AUTOMATIC else kind
    result = smoke_target(found, LAYER_KINDS[chosen])
    print_text(make_printable(format_smoke(result), keep="\n"))
    return 0 if result.is_right else 1

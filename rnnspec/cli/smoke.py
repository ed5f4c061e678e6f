"""The command that checks an adapter."""

from __future__ import annotations

from typing import Any

import click

from rnnspec.cli.options import add_isolation
from rnnspec.cli.parts import print_text
from rnnspec.cli.tasks import TaskIsolation, examine_adapter, use_target
from rnnspec.contract.kinds import LAYER_KINDS
from rnnspec.declared.files import read_target
from rnnspec.options import AUTOMATIC, check_choice
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
KIND = (
    f"The kind of a layer without an adapter: {', '.join(LAYER_KINDS)}, or auto, which detects it."
)


@click.command(short_help="Check an adapter.", epilog=EPILOG)
@click.argument("target")
@click.option("--kind", default=AUTOMATIC, show_default=True, metavar="KIND", help=KIND)
@add_isolation
def smoke(target: str, kind: str, **isolation: Any) -> int:
    """Check your adapter TARGET: names, shapes, dtypes, one call, and the features that it lacks.

    This takes seconds. If your layer has no adapter, it is checked as a layer with the documented
    names.
    """
    check_choice("kind", kind, (AUTOMATIC, *LAYER_KINDS))
    target, _ = read_target(target, {})
    text, is_right = use_target(examine_adapter, target, kind, isolation=TaskIsolation(**isolation))
    print_text(make_printable(text, keep="\n"))
    return 0 if is_right else 1

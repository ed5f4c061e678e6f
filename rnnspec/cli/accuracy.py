"""The command that measures the accuracy of a layer."""

from __future__ import annotations

import json
from typing import Any

import click

from rnnspec.cli.check import IMPORT
from rnnspec.cli.options import add_isolation, add_json, add_options, collect_options
from rnnspec.cli.parts import check_writable, print_text
from rnnspec.cli.tasks import TaskIsolation, measure_target, use_target
from rnnspec.declared.files import read_target
from rnnspec.options import AccuracyOptions
from rnnspec.report.files import write_file
from rnnspec.text import make_printable

EPILOG = """\b
Exit status:
  0  measured
  2  no such target or device, or wrong options: nothing was measured
\b
Examples:
  rnnspec accuracy mylib.layers:FastLSTM
  rnnspec accuracy mylib.layers:FastLSTM --size 1024x1024 --dtype bfloat16 --parts
  rnnspec accuracy mylib.layers:FastLSTM --against mylib.layers:OldLSTM --svg errors.svg
"""
PARTS = "Also show the errors of each gate and of groups of steps; JSON always has them."
SVG = "Draw the errors of each result, from the median to the worst."


@click.command(short_help="Measure how accurate a layer is.", epilog=EPILOG)
@click.argument("target")
@add_options(AccuracyOptions)
@click.option("--parts", is_flag=True, help=PARTS)
@click.option("--import", "imports", multiple=True, metavar="MODULE", help=IMPORT)
@add_isolation
@add_json
@click.option("--svg", "svg_path", metavar="PATH", help=SVG)
def accuracy(
    target: str,
    parts: bool,
    imports: tuple[str, ...],
    timeout: float,
    memory: int | None,
    no_isolate: bool,
    json_path: str | None,
    svg_path: str | None,
    **given: Any,
) -> int:
    """Measure the errors of your layer TARGET and of torch's own layer on the same cases.

    An error is the distance from the exact value of the formula, in units in the last place of the
    dtype. The output lists the median of all elements, the 99th percentile, and the worst error
    with its case. "One step" starts each step from the states that the layer itself returned before
    it, so that errors do not accumulate; "whole call" starts from the initial states. If you need
    to know whether an error is larger than rounding can explain, use `rnnspec check`.
    """
    check_writable(json_path)
    check_writable(svg_path, "svg")
    target, _ = read_target(target, {})
    options = collect_options(AccuracyOptions, given)
    data, text, picture = use_target(
        measure_target,
        target,
        options,
        parts,
        isolation=TaskIsolation(timeout, memory, no_isolate),
        device=options.device,
        imports=imports,
        shows_progress=True,
    )
    written = json.dumps(data, indent=2)
    if svg_path is not None:
        write_file(svg_path, picture, "svg")
    if json_path not in (None, "-"):
        write_file(str(json_path), written + "\n", "json")
    print_text(written if json_path == "-" else make_printable(text, keep="\n"))
    return 0

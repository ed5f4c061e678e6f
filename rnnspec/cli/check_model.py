"""The command that checks a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rnnspec.cli.check import IMPORT
from rnnspec.cli.options import add_files, add_isolation, add_options, collect_options, take_files
from rnnspec.cli.parts import (
    check_files,
    check_writable,
    import_first,
    print_text,
    show_progress,
    show_report,
)
from rnnspec.cli.progress import show_standing
from rnnspec.cli.workers import check_model_in_worker
from rnnspec.options import ModelOptions
from rnnspec.report.model import ModelReport

EPILOG = """\b
Exit status: the same as of 'rnnspec check'.
\b
Examples:
  rnnspec check-model path/to/models.py:Tagger --readout every
  rnnspec check-model mylib:Classifier --arg vocab_size=100 --arg hidden_size=20
  rnnspec check-model mylib:Forecaster --features 8 --sequence-first --json report.json
"""


@click.command(
    "check-model", short_help="Check a model that is built on a layer or a cell.", epilog=EPILOG
)
@click.argument("target")
@add_options(ModelOptions)
@click.option("--import", "imports", multiple=True, metavar="MODULE", help=IMPORT)
@add_isolation
@click.option("--svg", "svg_path", metavar="PATH", help="Write the map as a picture.")
@add_files
def check_model(
    target: str,
    imports: tuple[str, ...],
    timeout: float,
    memory: int | None,
    no_isolate: bool,
    svg_path: str | None,
    json_path: str | None,
    **given: Any,
) -> int:
    """Check your model TARGET: 'package.module:attribute' or 'path/to/file.py:attribute'.

    TARGET is called with the arguments that you pass with --arg, or with none, and returns a model
    that makes predictions from token ids or features. The output has a map of its read-out: which
    input positions can change which features, and which parameters take part.
    """
    files = take_files(given)
    check_files(json_path, files)
    check_writable(svg_path, "svg")
    options = collect_options(ModelOptions, given)
    if no_isolate:
        report = _check_here(target, imports, options)
    else:
        with show_standing() as watch:
            report = check_model_in_worker(
                target, imports, options, timeout=timeout, memory=memory, watch=watch
            )
    if json_path != "-":
        _show_maps(report)
    if svg_path is not None:
        _draw_maps(report, svg_path)
    show_report(report, json_path, files)
    return report.exit_status


def _check_here(target: str, imports: tuple[str, ...], options: ModelOptions) -> ModelReport:
    from rnnspec.api import run_model_check

    with show_progress() as watch:
        return run_model_check(import_first(imports, target), options, watch=watch)


def _show_maps(report: ModelReport) -> None:
    """Print the map of each prediction that could be measured."""
    from rnnspec.readout.render import format_readout_map

    for call, readout in report.readouts.items():
        if readout is not None:
            which = call if len(report.readouts) > 1 else ""
            print_text(format_readout_map(readout, advice=False, call=which))


def _draw_maps(report: ModelReport, path: str) -> None:
    """Write the maps as a picture, or report that there are none."""
    from rnnspec.readout.picture import draw_readout_maps

    maps = {call: each for call, each in report.readouts.items() if each is not None}
    if maps:
        Path(path).write_text(draw_readout_maps(maps), encoding="utf-8")
    else:
        click.echo(f"{path}: not written; no read-out could be measured", err=True)

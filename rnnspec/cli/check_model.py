"""The command that checks a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rnnspec.cli.check import IMPORT
from rnnspec.cli.options import add_files, add_options, collect_options, take_files
from rnnspec.cli.parts import check_files, check_writable, import_module, show_progress, show_report
from rnnspec.options import ModelOptions

EPILOG = """\b
Exit status: as for check.
\b
Examples:
  rnnspec check-model path/to/models.py:Tagger --readout every
  rnnspec check-model mylib:Classifier --arg vocab_size=100 --arg hidden_size=20
  rnnspec check-model mylib:Forecaster --features 8 --sequence-first --json report.json
"""


@click.command("check-model", epilog=EPILOG)
@click.argument("target")
@add_options(ModelOptions)
@click.option("--import", "imports", multiple=True, metavar="MODULE", help=IMPORT)
@click.option("--svg", "svg_path", metavar="PATH", help="Write the map as a picture.")
@add_files
def check_model(
    target: str,
    imports: tuple[str, ...],
    svg_path: str | None,
    json_path: str | None,
    **given: Any,
) -> int:
    """Check TARGET, a model: 'package.module:attribute' or 'path/to/file.py:attribute'.

    TARGET is called without arguments, or with those of --arg, and returns a model from token ids
    or features to predictions. A map shows what its read-out sees: which input positions can change
    which features, and which parameters take part.
    """
    from rnnspec.api import run_model_check
    from rnnspec.readout.picture import draw_readout_maps
    from rnnspec.readout.render import format_readout_map

    files = take_files(given)
    check_files(json_path, files)
    check_writable(svg_path, "svg")
    options = collect_options(ModelOptions, given)
    for module in imports:
        import_module(module)
    with show_progress() as watch:
        report = run_model_check(target, options, watch=watch)
    maps = {call: each for call, each in report.readouts.items() if each is not None}
    for call, readout in maps.items() if json_path != "-" else ():
        which = call if len(report.readouts) > 1 else ""
        click.echo(format_readout_map(readout, advice=False, call=which))
    if svg_path is not None and maps:
        Path(svg_path).write_text(draw_readout_maps(maps), encoding="utf-8")
    elif svg_path is not None:
        click.echo(f"{svg_path}: not written; no read-out could be measured", err=True)
    show_report(report, json_path, files)
    return report.exit_status

"""The command that checks a model."""

from __future__ import annotations

from typing import Any

import click

from rnnspec.cli.check import IMPORT
from rnnspec.cli.options import add_files, add_options, collect_options, take_files
from rnnspec.cli.parts import check_files, import_module, show_progress, show_report
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
@add_files
def check_model(target: str, imports: tuple[str, ...], json_path: str | None, **given: Any) -> int:
    """Check TARGET, a model: 'package.module:attribute' or 'path/to/file.py:attribute'.

    TARGET is called without arguments, or with those of --arg, and returns a model from token ids
    or features to predictions. A map shows what its read-out sees: which input positions can change
    which features, and which parameters take part.
    """
    from rnnspec.api import run_model_check
    from rnnspec.models.render import format_readout_map

    files = take_files(given)
    check_files(json_path, files)
    options = collect_options(ModelOptions, given)
    for module in imports:
        import_module(module)
    with show_progress() as watch:
        report = run_model_check(target, options, watch=watch)
    if report.readout is not None and json_path != "-":
        click.echo(format_readout_map(report.readout, advice=False))
    show_report(report, json_path, files)
    return report.exit_status

"""The command that checks a model."""

from __future__ import annotations

from typing import Any

import click

from rnnspec.cli.parts import (
    check_writable,
    import_module,
    parse_argument,
    show_progress,
    show_report,
)

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
@click.option(
    "--readout",
    metavar="NAME",
    help="last: one prediction a sequence; every: one at every step. Inferred if left out.",
)
@click.option(
    "--vocabulary",
    type=int,
    metavar="N",
    help="The model takes token ids below N. Inferred from the first Embedding.",
)
@click.option(
    "--features",
    type=int,
    metavar="N",
    help="The model takes features of width N. Inferred from the first recurrent layer.",
)
@click.option(
    "--batch-first/--sequence-first",
    default=True,
    show_default=True,
    help="Which axis of the input comes first.",
)
@click.option(
    "--padding",
    type=int,
    metavar="ID",
    help="The token id that fills sequences up. Inferred from the Embedding's padding_idx.",
)
@click.option(
    "--profile",
    default="default",
    show_default=True,
    metavar="NAME",
    help="quick, default or thorough.",
)
@click.option(
    "--cases",
    type=int,
    metavar="N",
    help="How many cases to judge, instead of what the profile draws.",
)
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    metavar="N",
    help="The same seed gives the same report.",
)
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    metavar="DEVICE",
    help="Any device that torch takes.",
)
@click.option(
    "--rule",
    "rules",
    multiple=True,
    metavar="PATTERN",
    help="Only rules whose id matches, e.g. 'readout.*'. Repeatable.",
)
@click.option("--strict", is_flag=True, help="A broken SHOULD is a violation too.")
@click.option("--first", is_flag=True, help="Stop at the first violation.")
@click.option(
    "--arg",
    "arguments",
    multiple=True,
    metavar="KEY=VALUE",
    help="An argument for the target. Repeatable.",
)
@click.option(
    "--import",
    "imports",
    multiple=True,
    metavar="MODULE",
    help="Import a module first, e.g. to register a device.",
)
@click.option(
    "--json",
    "json_path",
    metavar="PATH",
    help="Write the report as JSON; - writes it to standard output instead of text.",
)
def check_model(
    target: str,
    arguments: tuple[str, ...],
    imports: tuple[str, ...],
    json_path: str | None,
    **options: Any,
) -> int:
    """Judge TARGET, a model built on a recurrent layer: 'package.module:attribute' or 'path/to/file.py:attribute'.

    TARGET is called without arguments, or with those of --arg, and gives a model from token ids or features to predictions. What its
    read-out sees is shown as a map: which input positions can change which features, and which parameters take part.
    """
    from rnnspec.api.model import check_model as run
    from rnnspec.models.render import format_readout_map

    check_writable(json_path)
    fixed = dict(parse_argument(text) for text in arguments)
    for module in imports:
        import_module(module)
    options["rules"] = options["rules"] or None
    with show_progress() as watch:
        report = run(target, arguments=fixed, watch=watch, **options)
    if report.readout is not None and json_path != "-":
        click.echo(format_readout_map(report.readout, advice=False))
    show_report(report, json_path)
    return int(report.exit_status)

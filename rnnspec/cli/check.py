"""The command that checks a layer."""

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
from rnnspec.cli.workers import MOST, choose_jobs, start_workers

EPILOG = """\b
Exit status:
  0  conforms: every rule that applies holds
  1  violates: a MUST is broken (with --strict a SHOULD too)
  2  cannot check: no such target, a wrong argument, no such device
  3  inconclusive: nothing is broken, but a rule was not reached often enough
\b
Examples:
  rnnspec check torch.nn:RNN
  rnnspec check path/to/layers.py:MyRNN --profile quick
  rnnspec check mylib:RNN --rule 'dropout.*' --rule packed.h-n --json report.json
"""


JOBS = f"How many processes share the cases.  [default: processors, at most {MOST}; variable RNNSPEC_JOBS]"


@click.command(epilog=EPILOG)
@click.argument("target")
@click.option(
    "--kind", default="rnn", show_default=True, metavar="KIND", help="The kind of layer: rnn."
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
    "--dtype",
    metavar="DTYPE",
    help="Judge in one dtype only: float64, float32, bfloat16 or float16.",
)
@click.option(
    "--arithmetic",
    metavar="NAME",
    help="Judge float32 by one rounding model: ieee or tf32. CUDA is judged by both.",
)
@click.option(
    "--rule",
    "rules",
    multiple=True,
    metavar="PATTERN",
    help="Only rules whose id matches, e.g. 'states.*'. Repeatable.",
)
@click.option("--strict", is_flag=True, help="A broken SHOULD is a violation too.")
@click.option("--first", is_flag=True, help="Stop at the first violation.")
@click.option(
    "--arg",
    "arguments",
    multiple=True,
    metavar="KEY=VALUE",
    help="A constructor argument for the target. Repeatable.",
)
@click.option(
    "--import",
    "imports",
    multiple=True,
    metavar="MODULE",
    help="Import a module first, e.g. to register a device.",
)
@click.option(
    "--without",
    multiple=True,
    metavar="FEATURE",
    help="Leave out what the target does not offer, e.g. packed. Repeatable.",
)
@click.option("--jobs", type=int, metavar="N", envvar="RNNSPEC_JOBS", help=JOBS)
@click.option(
    "--json",
    "json_path",
    metavar="PATH",
    help="Write the report as JSON; - writes it to standard output instead of text.",
)
def check(
    target: str,
    kind: str,
    profile: str,
    cases: int | None,
    seed: int,
    device: str,
    dtype: str | None,
    arithmetic: str | None,
    rules: tuple[str, ...],
    strict: bool,
    first: bool,
    arguments: tuple[str, ...],
    imports: tuple[str, ...],
    without: tuple[str, ...],
    jobs: int | None,
    json_path: str | None,
) -> int:
    """Judge TARGET, 'package.module:attribute' or 'path/to/file.py:attribute'.

    TARGET is a class or a factory that takes the arguments of torch.nn.RNN.
    """
    check_writable(json_path)
    fixed = dict(parse_argument(text) for text in arguments)
    options: dict[str, Any] = {
        "kind": kind,
        "profile": profile,
        "seed": seed,
        "device": device,
        "rules": rules or None,
        "cases": cases,
        "dtype": dtype,
        "arithmetic": arithmetic,
        "arguments": fixed,
        "without": without,
    }
    processes = choose_jobs(jobs, device=device, cases=cases, first=first)
    with show_progress() as watch, start_workers(processes, target, imports, options) as others:
        from rnnspec.api import check as run

        for module in imports:
            import_module(module)
        report = run(target, **options, strict=strict, first=first, watch=watch, others=others)
    show_report(report, json_path)
    return int(report.exit_status)

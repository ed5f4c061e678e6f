"""The command that checks a layer."""

from __future__ import annotations

from typing import Any

import click

from rnnspec.cli.options import add_options, collect_options
from rnnspec.cli.parts import check_writable, import_module, show_progress, show_report
from rnnspec.cli.workers import MAX_JOBS, choose_jobs, start_workers
from rnnspec.options import CheckOptions

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
IMPORT = "Import a module first, e.g. to register a device. Repeatable."
JOBS = (
    f"Number of worker processes.  [default: processors, at most {MAX_JOBS}; variable RNNSPEC_JOBS]"
)
JSON = "Write the report as JSON; - writes it to standard output instead of text."


@click.command(epilog=EPILOG)
@click.argument("target")
@add_options(CheckOptions)
@click.option("--import", "imports", multiple=True, metavar="MODULE", help=IMPORT)
@click.option("--jobs", type=int, metavar="N", envvar="RNNSPEC_JOBS", help=JOBS)
@click.option("--json", "json_path", metavar="PATH", help=JSON)
def check(
    target: str, imports: tuple[str, ...], jobs: int | None, json_path: str | None, **given: Any
) -> int:
    """Check TARGET, 'package.module:attribute' or 'path/to/file.py:attribute'.

    TARGET is a class or a factory that takes the arguments of torch.nn.RNN.
    """
    check_writable(json_path)
    options = collect_options(CheckOptions, given)
    processes = choose_jobs(jobs, options)
    with show_progress() as watch, start_workers(processes, target, imports, options) as others:
        from rnnspec.api import run_check

        for module in imports:
            import_module(module)
        report = run_check(target, options, watch=watch, others=others)
    show_report(report, json_path)
    return report.exit_status

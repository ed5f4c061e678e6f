"""The command that checks all kinds of layers on a device or with a plugin."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import click

from rnnspec.cli.check import IMPORT, JOBS, check_here
from rnnspec.cli.options import add_isolation, add_json, add_options, collect_options
from rnnspec.cli.parts import check_writable, print_text
from rnnspec.cli.progress import show_standing
from rnnspec.cli.targets import combine_statuses
from rnnspec.cli.workers import WorkerSettings, check_in_workers, choose_jobs
from rnnspec.contract.kinds import KINDS
from rnnspec.errors import SelectionError
from rnnspec.options import CheckOptions
from rnnspec.report.data import Report

EPILOG = """\b
Exit status: the worst exit status of 'rnnspec check' over all kinds.
\b
Examples:
  PJRT_DEVICE=CPU rnnspec check-backend --device xla --import torch_xla
  rnnspec check-backend --import my_operators --without proj_size --json scorecard.json
"""


@click.command(short_help="Check a device or a library of operators.", epilog=EPILOG)
@add_options(CheckOptions, without=("arguments", "adapt", "kind"))
@click.option("--import", "imports", multiple=True, metavar="MODULE", help=IMPORT)
@click.option("--jobs", type=int, metavar="N", envvar="RNNSPEC_JOBS", help=JOBS)
@add_isolation
@add_json
def check_backend(
    imports: tuple[str, ...],
    jobs: int | None,
    timeout: float,
    memory: int | None,
    no_isolate: bool,
    json_path: str | None,
    **given: Any,
) -> int:
    """Check torch.nn's own layers and cells of all kinds on a device, or with a plugin.

    A plugin registers a device or replaces operators when it is imported. Features that you name
    with --without are skipped for all kinds. Each kind has its report, and a scorecard sums them
    up.
    """
    check_writable(json_path)
    options: CheckOptions = collect_options(CheckOptions, given)
    if not imports and options.device == "cpu":
        raise SelectionError("name a --device, or a plugin with --import", "device")
    settings = WorkerSettings(jobs=choose_jobs(jobs, options), timeout=timeout, memory=memory)
    reports = {}
    for kind in KINDS:
        chosen = replace(options, kind=kind)
        reports[kind] = _check_kind(kind, imports, chosen, None if no_isolate else settings)
        if json_path != "-":
            _show_report(reports[kind])
    _show_scorecard(reports, json_path)
    return combine_statuses([report.exit_status for report in reports.values()])


def _check_kind(
    kind: str, imports: tuple[str, ...], options: CheckOptions, settings: WorkerSettings | None
) -> Report:
    """Check torch's own layer of a kind, in this process if there are no settings of workers."""
    target = KINDS[kind].documented
    if settings is None:
        return check_here(target, imports, options)
    with show_standing() as watch:
        return check_in_workers(target, imports, options, settings, watch)


def _show_report(report: Report) -> None:
    from rnnspec.report.console import format_report

    print_text(format_report(report) + "\n")


def _show_scorecard(reports: dict[str, Report], json_path: str | None) -> None:
    """Print the scorecard, and write it as JSON to a path; `-` prints the JSON instead."""
    from rnnspec.report.files import write_file
    from rnnspec.report.scorecard import format_scorecard, make_scorecard

    written = json.dumps(make_scorecard(reports), indent=2)
    if json_path not in (None, "-"):
        write_file(str(json_path), written + "\n", "json")
    print_text(written if json_path == "-" else format_scorecard(reports))

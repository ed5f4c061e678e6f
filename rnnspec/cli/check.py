"""The command that checks a layer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from rnnspec.cli.options import add_files, add_isolation, add_options, collect_options, take_files
from rnnspec.cli.parts import check_files, import_first, show_progress, show_report
from rnnspec.cli.progress import parse_duration, show_standing
from rnnspec.cli.results_file import Kept, is_complete, keep_results
from rnnspec.cli.shards import choose_share, show_shard
from rnnspec.cli.targets import choose_targets, combine_statuses
from rnnspec.cli.workers import (
    MAX_JOBS,
    WorkerSettings,
    check_in_workers,
    check_shard,
    choose_jobs,
    choose_slots,
)
from rnnspec.errors import SelectionError
from rnnspec.options import CheckOptions
from rnnspec.report.data import Report

EPILOG = """\b
Exit status:
  0  conforms: every MUST rule that applies was reached and holds
  1  violates: a MUST rule is broken; with --strict, a SHOULD rule counts too, and with
     --strict-accuracy, an error that is larger than usual
  2  cannot check: no such target, a wrong argument, no such device
  3  inconclusive: nothing is broken, but a rule was not reached often enough
  With --shard, 0 means that all cases of the shard were checked; the verdict is that of
  'rnnspec merge'.
\b
Examples:
  rnnspec check torch.nn:RNN
  rnnspec check path/to/layers.py:MyRNN --profile quick
  rnnspec check mylib:RNN --rule 'dropout.*' --rule packed.h-n --json report.json
  rnnspec check mylib:RNN --profile thorough --shard 3/8 --stream shard-3.jsonl
  rnnspec check mylib:RNN --cases 100000 --dask tcp://scheduler:8786
"""
IMPORT = "Import a module first, e.g. to register a device. Repeatable."
JOBS = (
    f"Number of worker processes.  [default: processors, at most {MAX_JOBS}; variable RNNSPEC_JOBS]"
)
STREAM = "Write each result to PATH as soon as there is one, so that the run can be resumed."
RESUME = "Continue the run whose results are in PATH, and add the new results to it."
MAX_TIME = "Stop after this time and report the results so far, e.g. 60s or 5m."
SHARD = "Check one shard of the cases, e.g. 3/8, and leave the report to 'rnnspec merge'."
DASK = (
    "Let a Dask cluster check the cases: the address of its scheduler, or 'local' for one on this "
    "machine."
)


@click.command(short_help="Check a layer or a cell.", epilog=EPILOG)
@click.argument("target", required=False)
@add_options(CheckOptions)
@click.option("--import", "imports", multiple=True, metavar="MODULE", help=IMPORT)
@click.option("--jobs", type=int, metavar="N", envvar="RNNSPEC_JOBS", help=JOBS)
@add_isolation
@click.option("--stream", metavar="PATH", help=STREAM)
@click.option("--resume", metavar="PATH", help=RESUME)
@click.option("--max-time", metavar="TIME", help=MAX_TIME)
@click.option("--shard", metavar="I/N", help=SHARD)
@click.option("--dask", metavar="ADDRESS", help=DASK)
@add_files
def check(target: str | None, **given: Any) -> int:
    """Check a layer or a cell.

    TARGET is your class or factory, written as 'package.module:attribute' or
    'path/to/file.py:attribute'. It takes the arguments of torch.nn.RNN, torch.nn.GRU or
    torch.nn.LSTM, or of one of their cells. It can also be the name of a target declared in your
    `rnnspec.toml` or `pyproject.toml`; without TARGET, all declared targets are checked.
    """
    statuses = []
    for each in choose_targets(target, given):
        with each.add_places():
            statuses.append(_check_target(each.target, **each.options))
    return combine_statuses(statuses)


def _check_target(
    target: str,
    imports: tuple[str, ...],
    jobs: int | None,
    timeout: float,
    memory: int | None,
    no_isolate: bool,
    stream: str | None,
    resume: str | None,
    max_time: str | None,
    shard: str | None,
    dask: str | None,
    json_path: str | None,
    **given: Any,
) -> int:
    """Check one target, show the report, and return the exit status."""
    files = take_files(given)
    check_files(json_path, files)
    options = collect_options(CheckOptions, given)
    share = choose_share(shard, options, stream or resume, {"json": json_path, **files})
    settings = WorkerSettings(
        jobs=1 if dask else choose_jobs(jobs, options),
        timeout=timeout,
        memory=memory,
        stream=stream,
        resume=resume,
        max_time=None if max_time is None else parse_duration(max_time),
        share=share,
        dask=dask,
        slots=choose_slots(jobs, dask, options),
    )
    if no_isolate:
        _refuse_without_workers(stream=stream, resume=resume, max_time=max_time, dask=dask)
        report = check_here(target, imports, options)
        show_report(report, json_path, files)
        return report.exit_status
    with keep_results(stream or resume, can_resume=not options.fail_fast) as kept:
        path = kept.path if kept.is_temporary else None
        settings = replace(settings, kept=path, describe_end=kept.describe_end)
        if share is not None:
            with show_standing() as watch:
                checked = check_shard(target, imports, options, settings, watch)
            return show_shard(target, options, share, checked, str(stream or resume))
        report = _check_in_workers(target, imports, options, settings, kept)
        show_report(report, json_path, files)
    return report.exit_status


def _check_in_workers(
    target: str,
    imports: tuple[str, ...],
    options: CheckOptions,
    settings: WorkerSettings,
    kept: Kept,
) -> Report:
    """Check a target in workers. The report of a run that was ended notes how to resume it."""
    with show_standing(kept.remark) as watch:
        report = check_in_workers(target, imports, options, settings, watch)
    kept.is_done = is_complete(report, fail_fast=options.fail_fast)
    if kept.is_done or not kept.note:
        return report
    return replace(report, notes=(*report.notes, kept.note))


def _refuse_without_workers(**given: object) -> None:
    """Raise SelectionError if an option that needs workers was given."""
    for name, value in given.items():
        if value is not None:
            raise SelectionError("cannot be used with --no-isolate.", name)


def check_here(target: str, imports: tuple[str, ...], options: CheckOptions) -> Report:
    """Check a target in this process, and return the report."""
    from rnnspec.api import run_check

    with show_progress() as watch:
        return run_check(import_first(imports, target), options, watch=watch)

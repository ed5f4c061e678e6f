"""The command that merges the shards of a check."""

from __future__ import annotations

from typing import Any

import click

from rnnspec.cli.options import add_files, add_memory, add_timeout, take_files
from rnnspec.cli.parts import check_files, show_report
from rnnspec.cli.progress import show_standing
from rnnspec.cli.workers import merge_shards

EPILOG = """\b
Exit status: the same as of 'rnnspec check'. If a shard is missing, or did not check all its cases,
the report has a note, and is inconclusive unless a rule is broken.
\b
Examples:
  rnnspec check mylib:RNN --shard 1/2 --stream shard-1.jsonl
  rnnspec check mylib:RNN --shard 2/2 --stream shard-2.jsonl
  rnnspec merge shard-*.jsonl --json report.json
"""


@click.command(short_help="Make the report of several shards.", epilog=EPILOG)
@click.argument("paths", nargs=-1, required=True, metavar="FILE...")
@add_timeout
@add_memory
@add_files
def merge(
    paths: tuple[str, ...],
    timeout: float,
    memory: int | None,
    json_path: str | None,
    **given: Any,
) -> int:
    """Report on the cases that several shards checked, as if you had run all of them here.

    You wrote each FILE with 'rnnspec check --shard ... --stream FILE'. Their order does not matter.
    The target must be here too, in the same version, because the search for causes uses it. A file
    holds pickles, so merge only files that you trust.
    """
    files = take_files(given)
    check_files(json_path, files)
    with show_standing() as watch:
        report = merge_shards(paths, timeout=timeout, memory=memory, watch=watch)
    show_report(report, json_path, files)
    return report.exit_status

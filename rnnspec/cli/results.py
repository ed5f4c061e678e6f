"""The commands that compare the results of several runs."""

from __future__ import annotations

import json

import click

from rnnspec.cli.parts import print_text
from rnnspec.report.changes import find_changes, format_changes, read_run
from rnnspec.report.history import describe_history, format_history, read_runs
from rnnspec.text import make_printable

DIFF_EPILOG = """\b
Exit status:
  0  both runs have the same verdicts and faults
  1  the verdict, a fault or the verdict on a rule changed
  2  a file does not exist, or is neither a report nor a record
\b
Examples:
  rnnspec check mylib:RNN --json after.json && rnnspec diff before.json after.json
  rnnspec diff torch-2.14/rnn-cpu.json torch-2.15/rnn-cpu.json
"""
HISTORY_EPILOG = """\b
Exit status: 0, or 2 if the folder has no reports or records.
\b
Example:
  rnnspec history conformance/results
"""
JSON = "Print the result as JSON instead of text."


@click.command(short_help="Show what changed between two reports.", epilog=DIFF_EPILOG)
@click.argument("before")
@click.argument("after")
@click.option("--json", "as_json", is_flag=True, help=JSON)
def diff(before: str, after: str, as_json: bool) -> int:
    """Show what changed from the run BEFORE to the run AFTER.

    Both are files that you wrote with --json or --record, possibly for different releases, devices
    or layers. Differences in versions and options are shown, but do not count as a change.
    """
    first, second = read_run(before), read_run(after)
    changes = find_changes(first, second)
    data = json.dumps(changes.as_dict(), indent=2)
    print_text(data if as_json else format_changes(first, second, changes))
    return 0 if changes.is_empty else 1


@click.command(short_help="Show the trend over the reports in a folder.", epilog=HISTORY_EPILOG)
@click.argument("folder")
@click.option("--json", "as_json", is_flag=True, help=JSON)
def history(folder: str, as_json: bool) -> int:
    """Show the trend over the reports and records in FOLDER and its subfolders.

    Runs of the same subject, kind and device form a table, in the order of their paths. The last
    column lists the faults that are new (+), gone (-) or changed (~) since the previous run.
    """
    groups, others = read_runs(folder)
    print_text(
        json.dumps(describe_history(groups), indent=2) if as_json else format_history(groups)
    )
    if others:
        click.echo(make_printable(f"rnnspec: no results: {', '.join(others)}"), err=True)
    return 0

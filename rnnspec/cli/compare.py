"""The command that compares a candidate with a reference."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import click

from rnnspec.cli.options import add_form, add_isolation, add_json, add_options, collect_options
from rnnspec.cli.parts import check_files, print_text
from rnnspec.cli.tasks import TaskIsolation, compare_targets, use_target
from rnnspec.options import CompareOptions
from rnnspec.subjects.target import require_target

EPILOG = """\b
Exit status:
  0  the candidate does the same
  1  it has a fault
  2  nothing can be compared
  3  no fault was found, but the limit of time was reached
\b
Examples:
  rnnspec compare model.py:Model candidate.py:ModelNew
  rnnspec compare mylib:Slow mylib:Fast --arg hidden_size=64 --json report.json
"""


@click.command(short_help="Check whether a module does the same as another.", epilog=EPILOG)
@click.argument("reference")
@click.argument("candidate")
@add_options(CompareOptions)
@add_isolation
@add_json
@add_form("html")
def compare(
    reference: str,
    candidate: str,
    timeout: float,
    memory: int | None,
    no_isolate: bool,
    json_path: str | None,
    html: str | None,
    **chosen: Any,
) -> int:
    """Find out whether your CANDIDATE computes the same as REFERENCE.

    Both are classes or factories: 'package.module:attribute' or 'path/to/file.py:attribute'. Use
    get_init_inputs() and get_inputs() in the file of the reference to define the arguments with
    which both are built and called; smaller sizes are tried too.
    """
    check_files(json_path, {"html": html})
    options = collect_options(CompareOptions, chosen)
    require_target(candidate)
    begun, limit = time.monotonic(), options.limit or math.inf
    isolation = TaskIsolation(min(timeout, limit), memory, no_isolate, begun + limit)
    given = (reference, candidate, options, begun)
    report = use_target(compare_targets, *given, isolation=isolation, device=options.device)
    from rnnspec.comparing.report import write_comparison
    from rnnspec.report.files import write_file

    data = json.dumps(report.as_dict(), indent=2)
    write_comparison(report, html)
    if json_path not in (None, "-"):
        write_file(str(json_path), data + "\n", "json")
    print_text(data if json_path == "-" else str(report))
    return int(report.exit_status)

"""The command that writes a report in other forms."""

from __future__ import annotations

from typing import Any

import click

from rnnspec.cli.options import FILES, add_forms, take_files
from rnnspec.cli.parts import check_files, print_text, show_report
from rnnspec.errors import SelectionError
from rnnspec.report.reading import load_json, read_report

EPILOG = """\b
Exit status: 0, or 2 if there is no such report or a file cannot be written.
\b
Examples:
  rnnspec check mylib:RNN --json report.json
  rnnspec render report.json --html report.html --junit rnnspec.xml
"""


@click.command(short_help="Write a report in other forms.", epilog=EPILOG)
@click.argument("report")
@add_forms
def render(report: str, **given: Any) -> int:
    """Print REPORT as text, and write it in other forms, just as the check would have done.

    REPORT is a file that you wrote with --json of 'rnnspec check', 'rnnspec check-model', 'rnnspec
    merge' or 'rnnspec compare'. A comparison can only be written as a page.
    """
    from rnnspec.comparing.report import is_comparison, read_comparison, write_comparison

    files = take_files(given)
    check_files(None, files)
    if is_comparison(load_json(report)):
        given_forms = [name for name in FILES if files[name] is not None and name != "html"]
        if given_forms:
            raise SelectionError("cannot be written of a comparison.", given_forms[0])
        comparison = read_comparison(report)
        write_comparison(comparison, files["html"])
        print_text(str(comparison))
    else:
        show_report(read_report(report), None, files)
    return 0

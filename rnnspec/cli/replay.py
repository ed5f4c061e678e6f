"""The commands that use an earlier report."""

from __future__ import annotations

import pdb
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from rnnspec.cli.options import add_isolation, add_options, collect_options
from rnnspec.cli.parts import print_text
from rnnspec.cli.tasks import TaskIsolation, check_again, use_target
from rnnspec.errors import SelectionError
from rnnspec.options import CheckOptions
from rnnspec.report.reading import load_report
from rnnspec.text import make_printable

REPLAY_EPILOG = """\b
Exit status:
  0  the rule holds now
  1  it fails
  2  there is no such report, fault or target
\b
Examples:
  rnnspec check mylib:RNN --json report.json
  rnnspec replay report.json directions.h-n-order
  rnnspec replay report.json directions.h-n-order --device cuda
  rnnspec replay report.json directions.h-n-order --pdb
"""
EXPORT_EPILOG = """\b
Examples:
  rnnspec check mylib:RNN --json report.json
  rnnspec export-tests report.json tests/conformance && pytest tests/conformance
"""
TARGET = "Use this target in place of the target in the report."
FORCE = "Replace files of the same names that are there already."
PDB = "Stop in the debugger where the rule fails; the target then runs in this process."
OF_A_RUN = frozenset(
    {
        *("profile", "cases", "seed", "rules", "dtype", "sizes", "fewest", "parts"),
        *("strict", "strict_accuracy", "fail_fast"),
    }
)
"""The options of a check that choose its cases and rules, or decide its verdict."""


@click.command(short_help="Check a fault of a report again.", epilog=REPLAY_EPILOG)
@click.argument("report")
@click.argument("id")
@click.option("--target", metavar="TARGET", help=TARGET)
@add_options(CheckOptions, without=OF_A_RUN)
@add_isolation
@click.option("--pdb", "is_debugged", is_flag=True, help=PDB)
def replay(
    report: str,
    id: str,
    target: str | None,
    timeout: float,
    memory: int | None,
    no_isolate: bool,
    is_debugged: bool,
    **given: Any,
) -> int:
    """Check the fault ID of REPORT again.

    REPORT is a file that you wrote with 'rnnspec check --json'. ID is the rule that names the
    finding; the rule is checked again on the smallest case in the report. Repeat the options about
    the target that you gave to the check, such as --arg, --kind and --adapt.
    """
    from rnnspec.api.replay import find_finding

    data = load_report(report)
    finding = find_finding(data, id)
    options = collect_options(CheckOptions, {**given, "rules": (id,)})
    chosen = target or data["subject"]
    debug = _debug_rule if is_debugged else None
    isolation = TaskIsolation(timeout, memory, no_isolate or is_debugged)
    rule, case, before, message = use_target(
        check_again, chosen, finding, options, debug, isolation=isolation, device=options.device
    )
    verdict = "fails" if message else "holds"
    lines = [f"{rule}  {case}", "", f"  in the report  {before}"]
    lines += [f"  now            {message}"] if message else []
    lines += ["", f"{chosen}: {rule} {verdict} on this case."]
    print_text(make_printable("\n".join(lines), keep="\n"))
    return 1 if message else 0


def _debug_rule(suite: Any, case: Any) -> None:
    """Check a rule on a case, and start the debugger if it fails."""
    (rule,) = suite.rules
    try:
        rule.check(suite.observe(case))
    except Exception:
        pdb.post_mortem(sys.exc_info()[2])


@click.command(
    "export-tests", short_help="Write the faults of a report as tests.", epilog=EXPORT_EPILOG
)
@click.argument("report")
@click.argument("folder", metavar="DIR")
@click.option("--force", is_flag=True, help=FORCE)
def export_tests(report: str, folder: str, force: bool) -> int:
    """Write each fault of REPORT into DIR, as a test file that needs only torch.

    REPORT is a file that you wrote with --json of 'rnnspec check' or 'rnnspec check-model'. Each
    test fails as long as the fault exists. Layers with an adapter need rnnspec too.
    """
    from rnnspec.report.files import list_test_files

    data = load_report(report)
    place = Path(folder)
    files = dict(list_test_files(data["results"], place))
    if not force:
        _refuse_replacing(place, files)
    try:
        place.mkdir(parents=True, exist_ok=True)
        for name, source in files.items():
            (place / name).write_text(source, encoding="utf-8")
    except OSError as error:
        raise SelectionError(f"{folder}: it cannot be written there ({error.strerror}).") from error
    without = [each["rule"] for each in data["results"] if each["no_repro"]]
    lines = [f"{place / name}" for name in files]
    lines += [f"no program shows {name}" for name in without]
    count = f"{len(files)} {'test' if len(files) == 1 else 'tests'}"
    print_text(make_printable("\n".join([*lines, f"{count} of {data['subject']} written."]), "\n"))
    return 0


def _refuse_replacing(place: Path, files: Mapping[str, str]) -> None:
    """Raise SelectionError if different files of these names exist: somebody may have edited them.

    A file with the same content does not count.
    """
    paths = [place / name for name in files if (place / name).is_file()]
    changed = [
        path
        for path in paths
        if path.read_text(encoding="utf-8", errors="replace") != files[path.name]
    ]
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise SelectionError(
            f"{changed[0]}{more}: there is such a file, which may have been edited. Nothing was "
            "written; choose another folder, or replace it with --force."
        )

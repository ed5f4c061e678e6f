"""Run the reproduction programs of planted bugs: each fails for its bug and passes for torch.

    python -m benchmarks.programs --share 1/10 --log programs.jsonl --write

Run it from the root of a checkout. Each bug of nn.RNN is checked in quick. For each fault of the
report, and for a random rule that fails only because of this fault, there should be a program. To
get the program of such a rule, the rule is checked alone. Each program runs twice, each time in a
new process, forked from a process that has only imported modules: first as printed, then with
torch.nn.RNN imported under the name of the bug. Each finished bug becomes a line of the log and is
not repeated.

`--reports` runs the programs in a log of benchmarks.report_accuracy, and checks no bug again:

    python -m benchmarks.programs --reports reports.jsonl --log programs.jsonl --write
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext
from pathlib import Path

import torch

from benchmarks.bugs import add_selection, select_bugs
from benchmarks.log import add_line, add_log, read_lines
from benchmarks.tables import (
    add_outputs,
    format_share,
    format_table,
    make_parser,
    show_progress,
    write_report,
)
from rnnspec.api import check
from rnnspec.contract.kinds import UNGATED
from rnnspec.report.data import Report, Result, Verdict
from rnnspec.selftest import BUGS

PAGE = "report-accuracy.md"
PRELOADED = ("torch", "benchmarks.programs")
LONGEST = 60
"""The seconds that a program may run."""


@dataclass(frozen=True)
class Run:
    """The outcome for the program of one rule that a planted bug breaks.

    bug         the name of the bug
    rule        the id of the rule
    follows     whether the rule fails only because of a fault that another one names
    missing     why there is no program, or an empty text
    fails       whether the program fails for the bug
    passes      whether it passes for torch.nn.RNN
    """

    bug: str
    rule: str
    follows: bool
    missing: str = ""
    fails: bool = False
    passes: bool = False


@dataclass(frozen=True)
class Printed:
    """The program of a rule that a planted bug breaks, or why there is none; see `Run`."""

    bug: str
    rule: str
    source: str
    missing: str = ""
    follows: bool = False


def find_printed(bug: str) -> Iterator[Printed]:
    """Check a bug, and yield the programs of its report."""
    report = check(BUGS[bug], profile="quick")
    for fault in report.faults:
        yield take_program(bug, report.result(fault.rule))
    for rule in draw_followers(bug, report):
        alone = check(BUGS[bug], profile="quick", rules=[rule])
        if rule in [fault.rule for fault in alone.faults]:
            yield take_program(bug, alone.result(rule), follows=True)


def take_program(bug: str, result: Result, *, follows: bool = False) -> Printed:
    """Return the program of a broken rule."""
    return Printed(bug, result.rule, result.repro or "", result.no_repro, follows)


def read_reports(path: Path) -> dict[str, list[Printed]]:
    """Return the programs of the single bugs in a log of benchmarks.report_accuracy, by bug."""
    return {
        line["names"][0]: [
            Printed(line["names"][0], rule, source, "" if source else "; ".join(line["missing"]))
            for rule, source in zip(line["roots"], line["programs"], strict=True)
        ]
        for line in read_lines(path)
        if len(line["names"]) == 1 and line["kind"] == UNGATED.name
    }


def draw_followers(bug: str, report: Report) -> list[str]:
    """Return one of the rules that fail because of each fault of a report, drawn at random."""
    chosen = random.Random(bug)
    return [
        chosen.choice(following)
        for fault in report.faults
        if (following := list_followers(report.results, fault.rule))
    ]


def list_followers(results: Iterable[Result], fault: str) -> list[str]:
    """Return the rules that fail only because of a fault."""
    broken = (each for each in results if each.verdict is Verdict.FAIL)
    return [each.rule for each in broken if each.caused_by == fault]


def run_program(printed: Printed, server: ForkServerContext) -> Run:
    """Run a program and return its outcome."""
    bug, rule, follows = printed.bug, printed.rule, printed.follows
    if not printed.source:
        return Run(bug, rule, follows, printed.missing)
    fails = not is_passing(printed.source, server)
    passes = is_passing(replace_subject(printed.source, bug), server)
    return Run(bug, rule, follows, "", fails, passes)


def replace_subject(source: str, bug: str) -> str:
    """Return a program with `torch.nn.RNN` in the place of a planted bug.

    Raises ValueError if it does not import the bug.
    """
    line = f"from {BUGS[bug].__module__} import {bug}\n"
    if line not in source:
        raise ValueError(f"the program does not import {bug}:\n{source}")
    return source.replace(line, f"from torch.nn import RNN as {bug}\n")


def is_passing(source: str, server: ForkServerContext) -> bool:
    """Return whether a program ends without an exception, in a new process."""
    process = server.Process(target=execute, args=(source,))
    process.start()
    process.join(LONGEST)
    if process.is_alive():
        process.kill()
        process.join()
    return process.exitcode == 0


def execute(source: str) -> None:
    """Run a program; an exception ends the process with a status other than zero."""
    torch.set_num_threads(1)
    try:
        exec(compile(source, "<program>", "exec"), {"__name__": "__main__"})
    except BaseException as error:
        raise SystemExit(1) from error


def run_all(
    names: Sequence[str], find: Callable[[str], Iterable[Printed]], path: Path | None
) -> list[Run]:
    """Run the programs of the bugs that are not in the log yet, and return all runs.

    `find` gives the programs of a bug.
    """
    server = get_context("forkserver")
    server.set_forkserver_preload(list(PRELOADED))
    done = {line["bug"]: [Run(**each) for each in line["runs"]] for line in read_lines(path)}
    for number, name in enumerate(names, 1):
        if name in done:
            continue
        done[name] = [run_program(each, server) for each in find(name)]
        wrong = [each.rule for each in done[name] if not (each.fails and each.passes)]
        show_progress(f"{number} of {len(names)}: {name} {', '.join(wrong)}")
        add_line(path, {"bug": name, "runs": [asdict(each) for each in done[name]]})
    return [run for name in names for run in done[name]]


def summarise(runs: Sequence[Run]) -> str:
    """Return a table of the number of programs and of their outcomes."""
    rows = []
    for text, follows in (("faults", False), ("rules that follow", True)):
        chosen = [run for run in runs if run.follows is follows]
        if follows and not chosen:
            continue
        printed = [run for run in chosen if not run.missing]
        right = [run for run in printed if run.fails and run.passes]
        rows += [
            (f"{text} with a program", format_share(len(printed), len(chosen))),
            (
                "that fails for the bug, and passes for torch",
                format_share(len(right), len(printed)),
            ),
        ]
    bugs = len({run.bug for run in runs})
    return format_table((f"programs of {bugs} bugs, each in a new process", ""), rows)


def list_wrong(runs: Iterable[Run]) -> Iterator[str]:
    """Yield a line on each rule whose program is missing, or shows something else."""
    for run in runs:
        if run.missing:
            yield f"{run.bug}, {run.rule}: {run.missing}"
        elif not run.fails:
            yield f"{run.bug}, {run.rule}: the program passes for the bug"
        elif not run.passes:
            yield f"{run.bug}, {run.rule}: the program fails for torch"


def main() -> None:
    """Read the arguments, run the benchmark and print the table."""
    parser = make_parser(__doc__)
    add_selection(parser)
    parser.add_argument(
        "--reports",
        type=Path,
        metavar="PATH",
        help="the programs in this log of benchmarks.report_accuracy",
    )
    add_log(parser)
    add_outputs(parser, PAGE)
    options: argparse.Namespace = parser.parse_args()
    torch.set_num_threads(1)
    names = select_bugs(UNGATED.name, options.only, options.share)
    if options.reports is None:
        runs = run_all(names, find_printed, options.log)
    else:
        reports = read_reports(options.reports)
        runs = run_all(
            [name for name in names if name in reports], reports.__getitem__, options.log
        )
    print(*list_wrong(runs), sep="\n")
    texts = {"reports.programs": summarise(runs)}
    write_report(options, PAGE, texts, [asdict(each) for each in runs])


if __name__ == "__main__":
    main()

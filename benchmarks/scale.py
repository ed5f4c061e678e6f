"""Measure the speedup with more workers, and calculate it for a thousand workers.

    python -m benchmarks.scale --write

Run it from the root of a checkout, with nothing else running. --part chooses among three parts:
`workers` times the check of the cases by one and two workers, from the moment when the first worker
is ready, and by a Dask cluster of two on this machine, including the start of its processes;
`serial` measures the work that only one process can do: receive the answers of a cluster, write,
read and merge files of results, and find the faults; `thousand` calculates from both how long runs
take on up to a thousand workers.
"""

from __future__ import annotations

import argparse
import pickle
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.speed import describe_machine, run_command
from benchmarks.speed_split import TARGET
from benchmarks.tables import (
    add_outputs,
    add_parts,
    format_table,
    make_parser,
    show_progress,
    write_report,
)

WRONG = "rnnspec.selftest.bugs.states:StatesReadByDirection"
WORKERS = (1, 2)
CALCULATED = (1, 2, 10, 100, 1000)
"""The numbers of workers for which times are calculated."""
LARGER = (10_000, 100_000, 1_000_000)
"""The numbers of cases for which they are."""
TASKS = 2000


def check(cases: int, target: str = TARGET, **settings: Any) -> Any:
    """Check cases in workers, and return the progress; nothing is reported."""
    from rnnspec.cli.workers import WorkerSettings, check_shard
    from rnnspec.options import CheckOptions

    options = CheckOptions(cases=cases)
    return check_shard(target, (), options, WorkerSettings(timeout=60.0, **settings))


def time_workers(cases: int, runs: int) -> dict[str, list[float]]:
    """Return the seconds for checking the cases, by the kind of workers."""
    ways: dict[str, dict[str, Any]] = {
        **{
            f"{number} workers" if number > 1 else "1 worker": {"jobs": number}
            for number in WORKERS
        },
        f"Dask, {WORKERS[-1]} workers, with their start": {
            "jobs": 1,
            "dask": "local",
            "slots": WORKERS[-1],
        },
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for run in range(runs):
        for name, settings in ways.items():
            shard = check(cases, **settings)
            found[name].append(shard.duration_s)
            show_progress(f"{name}, run {run + 1} of {runs}: {found[name][-1]:.1f} s")
    return found


@contextmanager
def clocked(seconds: dict[str, float], name: str, number: int = 1) -> Iterator[None]:
    """Add the seconds that a block takes, divided by a number, to the measurements."""
    begun = time.perf_counter()
    yield
    seconds[name] = (time.perf_counter() - begun) / number


ANSWER, STREAM, READ = "take an answer of a node", "write with --stream", "read with merge"
MERGE, TASK = "unpack and add up", "pass a task through Dask"
START, FAULTS, FAULTS_WRONG = (
    "start, to the first case",
    "report, right layer",
    "report, wrong layer",
)


def measure_serial(cases: int) -> dict[str, float]:
    """Return the seconds of the work in one process: for each case, each task, or each run."""
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "run.jsonl"
        right = check(cases, jobs=WORKERS[-1], stream=str(path)).results.checked
        _measure_files(seconds, path, right)
        wrong = check(cases, WRONG, jobs=WORKERS[-1]).results.checked
        one = ("--cases", "1", "--shard", "1/1", "--stream", str(path.with_name("one.jsonl")))
        seconds[START], _ = run_command(["check", TARGET, *one])
    _measure_reports(seconds, right, wrong)
    _measure_tasks(seconds)
    return seconds


def _measure_files(seconds: dict[str, float], path: Path, checked: Mapping[int, Any]) -> None:
    """Measure how a command processes the answers of workers."""
    from rnnspec.cluster.messages import Answer
    from rnnspec.isolation.journal import Journal, read_file
    from rnnspec.isolation.messages import Precautions, pack, unpack
    from rnnspec.isolation.results import Results

    size = len(checked)
    answer = pack(Answer(size, "", tuple(checked.values()), Precautions()))
    results = Results(range)
    results.begin(size)
    with clocked(seconds, ANSWER, size):
        for each in unpack(answer).checked:
            results.add(each)
    journal = Journal.create(path.with_name("again.jsonl"), {})
    with clocked(seconds, STREAM, size):
        for each in checked.values():
            journal.add(each)
    with clocked(seconds, READ, size):
        read_file(path)


def _measure_reports(
    seconds: dict[str, float], right: Mapping[int, Any], wrong: Mapping[int, Any]
) -> None:
    """Measure the work of the worker that writes the report."""
    from rnnspec.api import prepare_check
    from rnnspec.engine.outcome import Progress, Tally
    from rnnspec.isolation.messages import unpack
    from rnnspec.options import CheckOptions
    from rnnspec.pipeline import report_progress

    for target, checked, name in ((TARGET, right, FAULTS), (WRONG, wrong, FAULTS_WRONG)):
        suite, notes = prepare_check(target, CheckOptions(cases=len(checked)))
        progress: Progress[Any] = Progress({rule.id: Tally() for rule in suite.rules})
        unpack(checked[0].result)  # imports are no cost of a case
        with clocked(seconds, MERGE, len(checked)):
            for index in sorted(checked):
                progress.add(unpack(checked[index].result))
        with clocked(seconds, name):
            report_progress(suite, progress, notes=notes)
        show_progress(f"{name}: {seconds[name]:.2f} s")


def _measure_tasks(seconds: dict[str, float]) -> None:
    """Measure how long the scheduler of Dask and its client need for a task."""
    from rnnspec.cluster.connection import open_client

    with open_client("local", WORKERS[-1]) as client:
        client.gather(client.map(pickle.dumps, range(WORKERS[-1])))
        with clocked(seconds, TASK, TASKS):
            client.gather(client.map(pickle.dumps, range(TASKS), pure=False))


def calculate_seconds(
    cases: int, workers: int, case: float, serial: Mapping[str, float]
) -> dict[str, float]:
    """Return how long the phases of a run on a cluster take, in seconds.

    `case` is the seconds that one worker needs for a case. Answers are received while other cases
    are checked, so the slower of both counts.
    """
    from rnnspec.cluster.checking import LONGEST_PART, PART_SECONDS
    from rnnspec.isolation.ranges import choose_length

    of_part = min(choose_length(cases, workers, LONGEST_PART), max(1.0, PART_SECONDS / case))
    taking = cases * serial[ANSWER] + cases / of_part * serial[TASK]
    return {
        "start": serial[START],
        "checking": max(cases * case / workers, taking if workers > 1 else 0.0),
        "report": cases * serial[MERGE] + serial[FAULTS],
    }


def format_workers(cases: int, found: Mapping[str, Sequence[float]]) -> str:
    """Return a table of the times of several runs, and by how much each way is faster."""
    first = min(next(iter(found.values())))
    rows = [
        (name, len(runs), min(runs), max(runs), 1000 * min(runs) / cases, first / min(runs))
        for name, runs in found.items()
    ]
    head = ("checked by", "runs", "fastest, s", "slowest, s", "ms per case", "times as fast")
    return f"{cases:,} cases, default profile.\n\n{format_table(head, rows)}"


def format_serial(serial: Mapping[str, float]) -> str:
    """Return a table of the work of one process."""
    counted = {ANSWER: "case", STREAM: "case", READ: "case", MERGE: "case", TASK: "task"}
    rows = [
        (
            name,
            counted.get(name, "run"),
            1e6 * serial[name] if name in counted else float("nan"),
            float("nan") if name in counted else serial[name],
        )
        for name in (ANSWER, STREAM, READ, MERGE, TASK, START, FAULTS, FAULTS_WRONG)
    ]
    return format_table(("work", "for each", "microseconds", "seconds"), rows)


def format_calculated(case: float, serial: Mapping[str, float]) -> str:
    """Return a table of calculated times."""
    rows = []
    for cases in LARGER:
        alone = sum(calculate_seconds(cases, 1, case, serial).values())
        for workers in CALCULATED:
            phases = calculate_seconds(cases, workers, case, serial)
            whole = sum(phases.values())
            rows.append((cases, workers, *phases.values(), whole, alone / whole))
    head = ("cases", "workers", "start, s", "checking, s", "report, s", "all, s", "times as fast")
    return format_table(head, rows)


def _parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    add_parts(parser, "workers", "serial", "thousand")
    parser.add_argument(
        "--cases",
        type=int,
        default=5000,
        help="number of cases, about a minute for one worker (default: %(default)s)",
    )
    parser.add_argument(
        "--runs", type=int, default=3, help="number of repetitions (default: %(default)s)"
    )
    add_outputs(parser, "speed.md")
    return parser.parse_args()


def main() -> None:
    """Read the arguments, run the benchmark and print the tables."""
    options = _parse_arguments()
    needed = set(options.part) | ({"workers", "serial"} if "thousand" in options.part else set())
    workers = time_workers(options.cases, options.runs) if "workers" in needed else {}
    serial = measure_serial(min(options.cases, 1000)) if "serial" in needed else {}
    case = min(workers["1 worker"]) / options.cases if workers else 0.0
    tables: dict[str, Callable[[], str]] = {
        "workers": lambda: format_workers(options.cases, workers),
        "serial": lambda: format_serial(serial),
        "thousand": lambda: format_calculated(case, serial),
    }
    texts = {f"speed.{part}": f"{describe_machine()}\n\n{tables[part]()}" for part in options.part}
    data = {"machine": describe_machine(), "workers": workers, "serial": serial}
    write_report(options, "speed.md", texts, data)


if __name__ == "__main__":
    main()

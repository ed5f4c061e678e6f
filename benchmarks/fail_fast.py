"""Compare the CPU time of `--fail-fast` with that of the usual test, on the bugs that both detect.

    pip install . && python -m benchmarks.fail_fast --write

Run it from the root of a checkout, in an environment in which this checkout is installed, and not
as an editable installation: Hypothesis reads all source files outside of site-packages before its
first example. The usual test is the Hypothesis test of forty lines in benchmarks/rivals.py, with
100 examples; it ends at its first failing example. Both are commands as they are typed:

    pytest -q test_usual.py
    rnnspec check MODULE:BUG --profile quick --fail-fast

The benchmark compares the CPU time of all their processes, imports included. For the usual test, it
subtracts the import of the bug's module, because that imports parts of rnnspec.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import TypeVar

import torch

from benchmarks import rivals
from benchmarks.complaints import find_complaint
from benchmarks.tables import add_outputs, format_table, make_parser, show_progress, write_report
from rnnspec.selftest import BUGS

PAGE = "speed.md"
T = TypeVar("T")
TEST = """import time

import hypothesis
import torch

start = time.process_time()
from {module} import {name}

with open("import-seconds", "w") as file:
    file.write(str(time.process_time() - start))

from rivals import run_usual_test


def test_layer():
    run_usual_test({name}, 100)
"""
"""The file of the usual test of a bug."""
USUAL = ("pytest", "-q", "-p", "no:cacheprovider", "test_usual.py")
OURS = ("rnnspec", "check", "--profile", "quick", "--fail-fast")
FOUND = 1
"""The exit status of both commands if they find a fault."""
WAITING = """
import ctypes, os, resource, subprocess, sys

become_subreaper = 36
ctypes.CDLL(None).prctl(become_subreaper, 1, 0, 0, 0)
done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
try:
    while True:
        os.waitpid(-1, 0)
except ChildProcessError:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime, done.returncode)
"""
"""A program that runs a command, waits for all processes that it starts, and prints the CPU seconds
of these and its exit status.
"""


@dataclass(frozen=True)
class Comparison:
    """The CPU seconds of both commands on one bug that the usual test detects, and the exit status
    of rnnspec.
    """

    name: str
    usual: float
    fail_fast: float
    status: int


def complain(name: str) -> str:
    """Return the complaint of the usual test about a bug, or ''."""
    return find_complaint(lambda layer: rivals.run_usual_test(layer, 100), BUGS[name])


def run_in_fork(work: Callable[[str], T], name: str) -> T:
    """Call a function in a process that is forked from this process, and return its result."""
    with get_context("fork").Pool(1, torch.set_num_threads, (1,)) as pool:
        return pool.apply(work, (name,))


def measure_command(command: Sequence[str], folder: Path) -> tuple[float, int]:
    """Return the CPU seconds of a command and of all processes that it starts, and its status.

    It runs in a folder, with Python's compiled files, one thread, and nothing else on its path. A
    separate process waits for all processes that the command leaves running. Linux only.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, "-c", WAITING, sys.executable, "-m", *command],
        cwd=folder,
        env={**kept, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        check=True,
        text=True,
    )
    seconds, status = done.stdout.split()
    return float(seconds), int(status)


def measure_usual(name: str, folder: Path) -> tuple[float, int]:
    """Return the CPU seconds of the usual test of a bug under pytest, and its exit status."""
    layer = BUGS[name]
    test = TEST.format(module=layer.__module__, name=layer.__qualname__)
    (folder / "test_usual.py").write_text(test, encoding="utf-8")
    seconds, status = measure_command(USUAL, folder)
    return seconds - float((folder / "import-seconds").read_text("utf-8")), status


def measure_fail_fast(name: str, folder: Path) -> tuple[float, int]:
    """Return the CPU seconds of rnnspec on a bug with --fail-fast, and its exit status."""
    layer = BUGS[name]
    return measure_command((*OURS, f"{layer.__module__}:{layer.__qualname__}"), folder)


def compare_bugs(names: Sequence[str], enough: int) -> list[Comparison]:
    """Compare both on the bugs that the usual test detects, until there are enough of them."""
    found: list[Comparison] = []
    with TemporaryDirectory() as place:
        folder = Path(place)
        shutil.copy(rivals.__file__, folder / "rivals.py")
        warm_up(names[0], folder)
        for number, name in enumerate(names, 1):
            progress = f"{number} of {len(names)}: {name}"
            if run_in_fork(complain, name):
                usual, status = measure_usual(name, folder)
                if status != FOUND:
                    raise SystemExit(f"the usual test of {name} ended with status {status}")
                seconds, status = measure_fail_fast(name, folder)
                found.append(Comparison(name, usual, seconds, status))
                progress += f", {usual:.2f} s and with fail_fast {seconds:.2f} s"
            show_progress(progress)
            if len(found) == enough:
                break
    return found


def warm_up(name: str, folder: Path) -> None:
    """Run both commands once, so that Python's compiled files are there.

    Raises SystemExit if rnnspec is not installed, or as an editable installation.
    """
    where = "import rnnspec; raise SystemExit('site-packages' not in rnnspec.__file__)"
    command = [sys.executable, "-c", where]
    if subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode:
        raise SystemExit("rnnspec has to be installed, not as an editable installation")
    measure_usual(name, folder)
    measure_fail_fast(name, folder)


def format_comparisons(found: Sequence[Comparison]) -> str:
    """Return a table of the CPU seconds of both."""
    usual, ours = [each.usual for each in found], [each.fail_fast for each in found]
    rows = [
        ("`pytest`, usual test, 100 examples", *summarise(usual)),
        ("`rnnspec check`, quick, `--fail-fast`", *summarise(ours)),
        ("the latter by the former", *summarise([b / a for a, b in zip(usual, ours, strict=True)])),
    ]
    faster = sum(each.fail_fast < each.usual for each in found)
    seen = sum(each.status == FOUND for each in found)
    return (
        f"{format_table(('CPU seconds', 'median', '90th percentile', 'most'), rows)}\n\n"
        f"Bugs that the usual test detects: {len(found)}. On these, rnnspec needs less CPU time "
        f"in {faster}, and detects {seen}."
    )


def summarise(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the median, the 90th percentile and the maximum."""
    spread = quantiles(values, n=10, method="inclusive") if len(values) > 1 else [*values] * 9
    return median(values), spread[-1], max(values)


def main() -> None:
    """Read the arguments, run the benchmark and print the table."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=list(BUGS),
        default=list(BUGS),
        metavar="NAME",
        help="compare on these bugs only (default: all)",
    )
    parser.add_argument(
        "--sample",
        type=int,
        metavar="N",
        help="stop after N bugs that the usual test detects, in a random order",
    )
    add_outputs(parser, PAGE)
    options: argparse.Namespace = parser.parse_args()
    names = list(options.only)
    if options.sample is not None:
        random.Random(0).shuffle(names)
    found = compare_bugs(names, options.sample or len(names))
    write_report(
        options,
        PAGE,
        {"speed.fail-fast": format_comparisons(found)},
        [asdict(each) for each in found],
    )


if __name__ == "__main__":
    main()

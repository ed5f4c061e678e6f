"""Measure how long a check takes, where the time goes, and the cost of more cases.

    python -m benchmarks.speed --write

Run it from the root of a checkout, with nothing else running. --part chooses among six parts:
`whole` starts the command anew for every repetition, including imports; `kinds` does so for each of
torch's layers and cells, in turns with `import torch`, as a measure of the machine's speed;
`models` does so with the command that checks a model, for the tutorial's models; `split` runs a
check in a separate process and measures the time spent in the subject, the reference and
Hypothesis; `cases` runs growing numbers of cases and reads the peak memory; `held` reads how much
memory one process holds after a given number of cases.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed_split import ORDER, TARGET, time_split
from benchmarks.tables import (
    add_outputs,
    add_parts,
    format_table,
    make_parser,
    show_progress,
    write_report,
)
from rnnspec.contract.kinds import KINDS

SMALL = {"vocab_size": 10, "embedding_dim": 4, "hidden_size": 10, "output_size": 1}
DEEP = {"vocab_size": 100, "embedding_dim": 50, "hidden_size": 20, "output_size": 1}
MODELS = {"RNN1": SMALL, "RNN2": SMALL, "DeepBiRNN": {**DEEP, "num_layers": 2}}
"""The models of the tutorial, with the sizes that it gives them."""
IMPORT = "import torch alone"
CONFORMS, INCONCLUSIVE = 0, 3
"""Few cases do not reach every rule, so an inconclusive run is measured too."""
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def run_command(arguments: Sequence[str]) -> tuple[float, float]:
    """Run the command line in a new process; return its wall time in s and its peak memory in MiB.

    Raises RuntimeError if the target violates the contract or nothing could be checked.
    """
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "rnnspec", *arguments],
        env=os.environ | ONE_THREAD,
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (CONFORMS, INCONCLUSIVE):
        raise RuntimeError(f"rnnspec {' '.join(arguments)} exited with status {process.returncode}")
    return time.perf_counter() - begun, usage.ru_maxrss / (
        1024 if sys.platform != "darwin" else 1024**2
    )


def time_commands(profiles: Sequence[str], repetitions: int) -> dict[str, list[float]]:
    """Return the wall times of the whole command in seconds, by profile."""
    found: dict[str, list[float]] = {name: [] for name in profiles}
    for repetition in range(repetitions):
        for name in profiles:
            found[name].append(run_command(["check", TARGET, "--profile", name])[0])
            show_progress(f"{name}, run {repetition + 1} of {repetitions}: {found[name][-1]:.1f} s")
    return found


def time_kinds(profiles: Sequence[str], repetitions: int) -> dict[str, list[float]]:
    """Return the wall times in s of checks of torch's layers and cells, and of `import torch`.

    The import is timed before each check, since the speed of a machine may change.
    """
    found: dict[str, list[float]] = {IMPORT: []}
    for _ in range(repetitions):
        for profile in profiles:
            for kind in KINDS.values():
                found[IMPORT].append(time_import())
                arguments = ["check", f"torch.nn:{kind.title}", "--profile", profile]
                name = f"{kind.title}, {profile}"
                found.setdefault(name, []).append(run_command(arguments)[0])
                show_progress(f"{name}: {found[name][-1]:.1f} s")
    return found


def time_import() -> float:
    """Return the seconds that a new process takes to import torch."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return time.perf_counter() - begun


def time_models(repetitions: int) -> dict[str, list[float]]:
    """Return the wall times in s of checks of the tutorial's models, and of `import torch`."""
    found: dict[str, list[float]] = {name: [] for name in (*MODELS, IMPORT)}
    for _ in range(repetitions):
        for name, given in MODELS.items():
            chosen = [text for key, value in given.items() for text in ("--arg", f"{key}={value}")]
            arguments = ["check-model", f"rnnspec.models:{name}", *chosen]
            found[name].append(run_command(arguments)[0])
            show_progress(f"{name}: {found[name][-1]:.1f} s")
        found[IMPORT].append(time_import())
    return found


def time_more_cases(cases: Sequence[int]) -> list[tuple[int, float, float]]:
    """Return the number of cases, the wall time in s and the peak memory in MiB of each run."""
    found = []
    for number in cases:
        found.append((number, *run_command(["check", TARGET, "--cases", str(number)])))
        show_progress(f"{number} cases: {found[-1][1]:.1f} s, {found[-1][2]:.0f} MiB")
    return found


def measure_held_memory(dtype: str | None, cases: int) -> list[tuple[int, float]]:
    """Return the memory that this process holds after each fifth of the cases (on Linux).

    Each pair has the number of cases checked so far and the memory in MiB.
    """
    import torch

    from rnnspec.api import check

    torch.set_num_threads(1)
    found: list[tuple[int, float]] = []

    def watch(done: int, total: int) -> None:
        if done >= (len(found) + 1) * total // 5:
            found.append((done, read_resident_memory()))

    check(TARGET, cases=cases, dtype=dtype, watch=watch)
    return found


def read_resident_memory() -> float:
    """Return the resident memory of this process in MiB, after returning free memory."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def run_in_own_process(*arguments: str) -> Any:
    """Run this script with these arguments in a new process and return its JSON output."""
    command = [sys.executable, "-m", "benchmarks.speed", *arguments]
    done = subprocess.run(
        command, env=os.environ | ONE_THREAD, stdout=subprocess.PIPE, text=True, check=True
    )
    show_progress(f"measured: {' '.join(arguments)}")
    return json.loads(done.stdout)


def format_models(found: dict[str, list[float]]) -> str:
    """Return a table of the median, fastest and slowest check of each model."""
    return format_commands(found, "model, default profile")


def format_commands(found: dict[str, list[float]], head: str = "profile") -> str:
    """Return a table of the median, fastest and slowest run of each profile.

    `head` names the property by which the runs differ.
    """
    rows = [
        (name, len(runs), statistics.median(runs), min(runs), max(runs))
        for name, runs in found.items()
    ]
    return format_table((head, "runs", "median, s", "fastest, s", "slowest, s"), rows)


def format_kinds(found: dict[str, list[float]]) -> str:
    """Return a table of the median run of each kind and profile, also in imports of torch."""
    unit = statistics.median(found[IMPORT])
    rows = [
        (name, len(runs), statistics.median(runs), f"{statistics.median(runs) / unit:.1f}")
        for name, runs in found.items()
    ]
    return format_table(("layer or cell, profile", "runs", "median, s", "imports of torch"), rows)


def format_split(found: dict[str, dict[str, float]]) -> str:
    """Return a table of the seconds and the share of each category.

    The imports come before the run and have no share of it.
    """
    names = [name for name in next(iter(found.values())) if name != "cases"]
    totals = {profile: sum(times[name] for name in ORDER) for profile, times in found.items()}
    rows = [
        (
            name,
            *(
                cell
                for profile, times in found.items()
                for cell in _format_cells(name, times, totals[profile])
            ),
        )
        for name in names
    ]
    total = (
        "the run without imports",
        *(cell for seconds in totals.values() for cell in (seconds, "100 %")),
    )
    return format_table(
        (
            "category",
            *(
                cell
                for profile, times in found.items()
                for cell in (f"{profile} ({times['cases']} cases), s", "share")
            ),
        ),
        [*rows, total],
    )


def _format_cells(name: str, times: dict[str, float], total: float) -> tuple[float, str]:
    return times[name], f"{100 * times[name] / total:.0f} %" if name in ORDER else ""


def format_more_cases(found: Sequence[tuple[int, float, float]]) -> str:
    """Return a table of the cost of more cases: the time per additional case, and the memory."""
    first_number, first_seconds, _ = found[0]
    rows = [
        (
            number,
            seconds,
            1000 * (seconds - first_seconds) / (number - first_number)
            if number > first_number
            else float("nan"),
            mebibytes,
        )
        for number, seconds, mebibytes in found
    ]
    return format_table(("cases", "seconds", "ms per additional case", "peak memory, MiB"), rows)


def format_held_memory(found: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    """Return a table of the memory that a process holds, with all dtypes and with float64 only."""
    every, alone = found.values()
    rows = [
        (number, mebibytes, other[1])
        for (number, mebibytes), other in zip(every, alone, strict=True)
    ]
    return format_table(("cases checked", *(f"memory with {name}, MiB" for name in found)), rows)


def describe_machine() -> str:
    """Return a line that describes the versions and the machine."""
    import torch

    import rnnspec

    return (
        f"rnnspec {rnnspec.__version__}, torch {torch.__version__}, "
        f"Python {platform.python_version()}, {platform.machine()} with {os.cpu_count()} "
        "processors, one thread per process."
    )


def _parse_arguments() -> argparse.Namespace:
    parser = make_parser(__doc__)
    add_parts(parser, "whole", "kinds", "models", "split", "cases", "held")
    parser.add_argument(
        "--profile",
        nargs="+",
        default=["quick", "default"],
        help="profiles to measure (default: quick default)",
    )
    parser.add_argument(
        "--runs",
        type=int,
        default=5,
        help="number of repetitions of the whole command (default: %(default)s)",
    )
    parser.add_argument(
        "--cases",
        type=int,
        nargs="+",
        default=[250, 500, 1000, 2000, 4000, 8000],
        help="numbers of cases for the parts `cases` and `held` (the largest)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the part `split` (default: %(default)s)"
    )
    parser.add_argument("--split-here", metavar="PROFILE", help=argparse.SUPPRESS)
    parser.add_argument("--held-here", metavar="DTYPE", help=argparse.SUPPRESS)
    add_outputs(parser, "speed.md")
    return parser.parse_args()


def main() -> None:
    """Read the arguments, run the benchmark and print the tables."""
    options = _parse_arguments()
    if options.split_here:
        print(json.dumps(time_split(options.split_here, options.seed)))
        return
    if options.held_here:
        print(
            json.dumps(
                measure_held_memory(
                    None if options.held_here == "all" else options.held_here, max(options.cases)
                )
            )
        )
        return
    measured = measure_all(options)
    tables: dict[str, Callable[[Any], str]] = {
        "whole": format_commands,
        "kinds": format_kinds,
        "models": format_models,
        "split": format_split,
        "cases": format_more_cases,
        "held": format_held_memory,
    }
    texts = {
        f"speed.{part}": f"{describe_machine()}\n\n{tables[part](figures)}"
        for part, figures in measured.items()
    }
    write_report(options, "speed.md", texts, {"machine": describe_machine(), **measured})


def measure_all(options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of each requested part."""
    parts: dict[str, Any] = {
        "whole": lambda: time_commands(options.profile, options.runs),
        "kinds": lambda: time_kinds(options.profile, options.runs),
        "models": lambda: time_models(options.runs),
        "split": lambda: {
            name: run_in_own_process("--split-here", name, "--seed", str(options.seed))
            for name in options.profile
        },
        "cases": lambda: time_more_cases(sorted(options.cases)),
        "held": lambda: {
            name: run_in_own_process("--held-here", dtype, "--cases", str(max(options.cases)))
            for name, dtype in (("all dtypes", "all"), ("float64 only", "float64"))
        },
    }
    return {part: parts[part]() for part in options.part}


if __name__ == "__main__":
    main()

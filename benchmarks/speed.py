"""How long a check takes, where the time goes, and what more cases cost.

    python -m benchmarks.speed --write

Run from the root of a checkout, with nothing else running. Four parts, each chosen by --part: `whole` starts the command anew for
every repetition, imports included; `split` runs a check in a process of its own with clocks around the subject, the reference and
Hypothesis; `cases` runs growing numbers of cases and reads the peak of the memory; `held` reads after so many cases what one process
holds.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.tables import add_outputs, progress, report, table

TARGET = "torch.nn:RNN"
CONFORMS, INCONCLUSIVE = 0, 3
"""Few cases do not reach every rule; what they cost is measured all the same."""
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
SUBJECT, OTHERS = "subject: calls and backward passes", "subject: built, loaded, copied, converted"
ORACLE, HYPOTHESIS = "reference: results and bounds", "Hypothesis: drawing the cases"
PLANNING, VALUES, REST = (
    "covering arrays",
    "the numbers of the cases",
    "rules, comparisons and the rest",
)
ORDER = (SUBJECT, OTHERS, ORACLE, HYPOTHESIS, PLANNING, VALUES, REST)


def run(arguments: Sequence[str]) -> tuple[float, float]:
    """Wall seconds and peak MiB of one process; RuntimeError where something is broken or nothing could be checked."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "rnnspec", *arguments],
        env=os.environ | ONE_THREAD,
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (CONFORMS, INCONCLUSIVE):
        raise RuntimeError(f"rnnspec {' '.join(arguments)} ended with status {process.returncode}")
    return time.perf_counter() - begun, usage.ru_maxrss / (
        1024 if sys.platform != "darwin" else 1024**2
    )


def whole(profiles: Sequence[str], repetitions: int) -> dict[str, list[float]]:
    """Seconds of every repetition of the whole command, by profile."""
    found: dict[str, list[float]] = {name: [] for name in profiles}
    for repetition in range(repetitions):
        for name in profiles:
            found[name].append(run(["check", TARGET, "--profile", name])[0])
            progress(f"{name}, run {repetition + 1} of {repetitions}: {found[name][-1]:.1f} s")
    return found


def growing(cases: Sequence[int]) -> list[tuple[int, float, float]]:
    """Cases, seconds and peak MiB of one process each."""
    found = []
    for number in cases:
        found.append((number, *run(["check", TARGET, "--cases", str(number)])))
        progress(f"{number} cases: {found[-1][1]:.1f} s, {found[-1][2]:.0f} MiB")
    return found


def held(dtype: str | None, cases: int) -> list[tuple[int, float]]:
    """After every fifth of the cases: how many were judged in this process, and how many MiB it holds (on Linux)."""
    import torch

    from rnnspec.api import check

    torch.set_num_threads(1)
    found: list[tuple[int, float]] = []

    def watch(done: int, total: int) -> None:
        if done >= (len(found) + 1) * total // 5:
            found.append((done, resident()))

    check(TARGET, cases=cases, dtype=dtype, watch=watch)
    return found


def resident() -> float:
    """The MiB of this process that are in memory, once what is free has been given back."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def split(profile: str, seed: int) -> dict[str, float]:
    """Seconds by category of one check in this process, and those of the imports."""
    begun = time.perf_counter()
    import torch

    importing = {"import torch": time.perf_counter() - begun}
    begun = time.perf_counter()
    from benchmarks.stopwatch import Stopwatch
    from rnnspec.api import check

    importing["import rnnspec and Hypothesis"] = time.perf_counter() - begun
    torch.set_num_threads(1)
    watch = Stopwatch()
    put_clocks(watch)
    with watch.running(REST):
        found = check(TARGET, profile=profile, seed=seed)
    if found.verdict == "violates":
        raise RuntimeError(f"{TARGET} violates the contract with seed {seed}")
    return importing | {name: watch.seconds[name] for name in ORDER} | {"cases": found.cases}


def put_clocks(watch: Any) -> None:
    """Put clocks around the subject's own work, the reference and Hypothesis."""
    import torch

    from benchmarks.stopwatch import exchange
    from rnnspec import oracle
    from rnnspec.cases import drawing, plan
    from rnnspec.cases.values import draw_values
    from rnnspec.subjects.subject import observing

    torch.nn.RNN.__call__ = watch.timed(torch.nn.RNN.__call__, SUBJECT)  # type: ignore[method-assign]
    torch.autograd.grad = watch.timed(torch.autograd.grad, SUBJECT)
    torch.autograd.backward = watch.timed(torch.autograd.backward, SUBJECT)
    exchange(observing, _observing(observing, watch))
    for name in ("run", "bound", "gradients", "gradient_bound", "is_exact", "is_exact_gradient"):
        exchange(getattr(oracle, name), watch.timed(getattr(oracle, name), ORACLE))
    exchange(drawing.draw_examples, watch.timed(drawing.draw_examples, HYPOTHESIS))
    exchange(plan.plan_rows, watch.timed(plan.plan_rows, PLANNING))
    exchange(draw_values, watch.timed(draw_values, VALUES))


def _observing(observing: Any, watch: Any) -> Any:
    """Whatever the subject is asked to do goes through `observing`: calls have their own clock, the rest is counted here."""

    @contextmanager
    def timed(step: str) -> Iterator[None]:
        with observing(step), watch.running(OTHERS):
            yield

    return timed


def in_own_process(*arguments: str) -> Any:
    """What this script measures with the arguments, in a new process."""
    command = [sys.executable, "-m", "benchmarks.speed", *arguments]
    done = subprocess.run(
        command, env=os.environ | ONE_THREAD, capture_output=True, text=True, check=True
    )
    progress(f"measured: {' '.join(arguments)}")
    return json.loads(done.stdout)


def whole_table(found: dict[str, list[float]]) -> str:
    """Median, fastest and slowest run of each profile."""
    rows = [
        (name, len(runs), statistics.median(runs), min(runs), max(runs))
        for name, runs in found.items()
    ]
    return table(("profile", "runs", "median, s", "fastest, s", "slowest, s"), rows)


def split_table(found: dict[str, dict[str, float]]) -> str:
    """Seconds and share of the run, by category; the imports come before the run."""
    names = [name for name in next(iter(found.values())) if name != "cases"]
    totals = {profile: sum(times[name] for name in ORDER) for profile, times in found.items()}
    rows = [
        (
            name,
            *(
                cell
                for profile, times in found.items()
                for cell in _cells(name, times, totals[profile])
            ),
        )
        for name in names
    ]
    total = (
        "the run, without imports",
        *(cell for seconds in totals.values() for cell in (seconds, "100 %")),
    )
    return table(
        (
            "where",
            *(
                cell
                for profile, times in found.items()
                for cell in (f"{profile} ({times['cases']} cases), s", "share")
            ),
        ),
        [*rows, total],
    )


def _cells(name: str, times: dict[str, float], total: float) -> tuple[float, str]:
    return times[name], f"{100 * times[name] / total:.0f} %" if name in ORDER else ""


def cases_table(found: Sequence[tuple[int, float, float]]) -> str:
    """What more cases cost: seconds a case over those of the first row, and the peak of the memory."""
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
    return table(("cases", "seconds", "milliseconds a further case", "peak memory, MiB"), rows)


def held_table(found: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    """What the process holds after so many cases, in every dtype and in float64 alone."""
    every, alone = found.values()
    rows = [
        (number, mebibytes, other[1])
        for (number, mebibytes), other in zip(every, alone, strict=True)
    ]
    return table(("cases judged", *(f"held, {name}, MiB" for name in found)), rows)


def machine() -> str:
    """What it was measured on."""
    import torch

    import rnnspec

    versions = f"rnnspec {rnnspec.__version__}, torch {torch.__version__}, Python {platform.python_version()}"
    return (
        f"{versions}, {platform.machine()} with {os.cpu_count()} processors, one thread a process."
    )


def main() -> None:
    """Read the arguments, measure, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = ("whole", "split", "cases", "held")
    parser.add_argument(
        "--part",
        nargs="+",
        choices=parts,
        default=list(parts),
        help="what to measure (default: all)",
    )
    parser.add_argument(
        "--profile",
        nargs="+",
        default=["quick", "default"],
        help="the profiles (default: quick default)",
    )
    parser.add_argument(
        "--runs",
        type=int,
        default=5,
        help="repetitions of the whole command (default: %(default)s)",
    )
    parser.add_argument(
        "--cases",
        type=int,
        nargs="+",
        default=[250, 500, 1000, 2000, 4000, 8000],
        help="growing numbers of cases",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="the seed of the split (default: %(default)s)"
    )
    parser.add_argument("--split-here", metavar="PROFILE", help=argparse.SUPPRESS)
    parser.add_argument("--held-here", metavar="DTYPE", help=argparse.SUPPRESS)
    add_outputs(parser, "speed.md")
    options = parser.parse_args()
    if options.split_here:
        print(json.dumps(split(options.split_here, options.seed)))
        return
    if options.held_here:
        print(
            json.dumps(
                held(None if options.held_here == "all" else options.held_here, max(options.cases))
            )
        )
        return
    measured = measure(options)
    tables: dict[str, Callable[[Any], str]] = {
        "whole": whole_table,
        "split": split_table,
        "cases": cases_table,
        "held": held_table,
    }
    texts = {
        f"speed.{part}": f"{machine()}\n\n{tables[part](figures)}"
        for part, figures in measured.items()
    }
    report(options, "speed.md", texts, {"machine": machine(), **measured})


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The figures of each part that is asked for."""
    parts: dict[str, Any] = {
        "whole": lambda: whole(options.profile, options.runs),
        "split": lambda: {
            name: in_own_process("--split-here", name, "--seed", str(options.seed))
            for name in options.profile
        },
        "cases": lambda: growing(sorted(options.cases)),
        "held": lambda: {
            name: in_own_process("--held-here", dtype, "--cases", str(max(options.cases)))
            for name, dtype in (("all dtypes", "all"), ("float64 alone", "float64"))
        },
    }
    return {part: parts[part]() for part in options.part}


if __name__ == "__main__":
    main()

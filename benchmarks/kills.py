"""Kill processes of a check at random moments, and verify that no result is lost.

    python -m benchmarks.kills --kills 50

Run it from the root of a checkout, on Linux. Each run checks a wrong layer with --stream, while its
processes are killed one after the other at random moments: the command, a worker, or the server
from which workers are forked. If the command was killed, the run is resumed. In the end, the report
must equal that of an undisturbed run, and the file must have all its lines.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.tables import show_progress

ROOT = Path(__file__).parents[1]
TARGET = "rnnspec.selftest.bugs.states:StatesReadByDirection"
OPTIONS = ("--profile", "quick", "--rule", "recurrence.*", "--rule", "states.*", "--jobs", "2")
KILLS_OF_RUN = 5


def list_processes(group: int) -> dict[int, str]:
    """Return the processes of a group that have not ended, each with its role."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            state, parent, own = (path / "stat").read_text().rpartition(")")[2].split()[:3]
            command = (path / "cmdline").read_text()
        except OSError:
            continue
        if int(own) != group or state in "ZX" or "resource_tracker" in command:
            continue
        is_server = "forkserver" in command and int(parent) == group
        names = {True: "the command", False: "the server" if is_server else "a worker"}
        found[int(path.name)] = names[int(path.name) == group]
    return found


def start_check(folder: Path, *options: str) -> subprocess.Popen[str]:
    """Start a check that writes its report to `report.json` in a folder."""
    command = [sys.executable, "-m", "rnnspec", "check", TARGET, *OPTIONS]
    return subprocess.Popen(
        [*command, "--json", "report.json", *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def read_report(folder: Path) -> dict[str, Any]:
    """Return the report without the entries that differ between two runs."""
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return {**report, "duration_s": 0, "notes": []}


def run_with_kills(
    folder: Path, chance: random.Random, kills: Counter[str], longest_wait: float
) -> dict[str, Any]:
    """Run a check while its processes are killed, and return the report.

    The wait before a kill is random, and at most `longest_wait` seconds.

    Raises AssertionError if a line of the file of results is lost, and RuntimeError if the command
    ends without a report although it was not killed.
    """
    path = folder / "run.jsonl"
    left, lines = KILLS_OF_RUN, 0
    while True:
        option = "--resume" if lines else "--stream"
        with start_check(folder, option, path.name) as process:
            was_killed = False
            while left and not was_killed:
                time.sleep(chance.uniform(0.0, longest_wait))
                running = list_processes(process.pid)
                if process.poll() is not None or not running:
                    break
                victim = chance.choice(sorted(running))
                os.kill(victim, signal.SIGKILL)
                kills[running[victim]] += 1
                left -= 1
                was_killed = running[victim] == "the command"
            _, errors = process.communicate()
        written = path.read_bytes().count(b"\n") if path.exists() else 0
        assert written >= lines, f"{lines - written} lines are lost"
        lines = written
        if not was_killed and process.returncode == 1:
            return read_report(folder)
        if not was_killed:
            raise RuntimeError(f"exit status {process.returncode}: {errors}")


def main() -> None:
    """Kill processes until there were enough kills, and print the losses."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance, kills, wrong = random.Random(options.seed), Counter[str](), 0
    with tempfile.TemporaryDirectory() as name:
        began = time.monotonic()
        start_check(Path(name)).communicate()
        longest_wait = (time.monotonic() - began) / 2
        expected = read_report(Path(name))
    while sum(kills.values()) < options.kills:
        with tempfile.TemporaryDirectory() as name:
            wrong += run_with_kills(Path(name), chance, kills, longest_wait) != expected
        show_progress(f"{sum(kills.values())} kills, {wrong} wrong reports")
    listed = ", ".join(f"{number} of {what}" for what, number in sorted(kills.items()))
    print(f"{sum(kills.values())} kills ({listed}): {wrong} reports differ")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()

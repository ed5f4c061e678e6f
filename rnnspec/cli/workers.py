"""Worker processes, each of which judges its share of the cases.

They start before torch is imported, which takes a second.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from rnnspec.cli.parts import import_module
from rnnspec.errors import CannotCheck
from rnnspec.options import CheckOptions, check_integer

MAX_JOBS = 4
"""The most processes that are started unasked: each must import torch first."""
MIN_CASES = 100
"""Fewer cases than these are judged sooner than torch is imported."""
GRACE_SECONDS = 2.0
"""Grace period in seconds after an interrupt, before a process gets SIGINT, and then SIGKILL."""


def choose_jobs(asked: int | None, options: CheckOptions) -> int:
    """Return how many processes judge: what the user asked for, or one for each processor.

    One on any device but the CPU, for a few cases, and if the run ends with the first violation,
    which must be the first of all.
    """
    if asked is not None:
        check_integer("jobs", asked, 1)
    if options.fail_fast or asked == 1:
        return 1
    if asked is not None:
        return asked
    is_short = options.cases is not None and options.cases < MIN_CASES
    if is_short or not options.device.startswith("cpu"):
        return 1
    return min(count_processors(), MAX_JOBS)


def count_processors() -> int:
    """Return how many processors this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@dataclass
class Worker:
    """A process, our end of the pipe on which it answers, and the number of its share."""

    process: SpawnProcess
    connection: Connection
    number: int

    def answer(self, seconds: float | None) -> Any:
        """Return what it found, or None if it does not answer in time even when interrupted.

        Raises EOFError if it has died.
        """
        if not self.connection.poll(seconds):
            self._interrupt()
        return self.connection.recv() if self.connection.poll(seconds) else None

    def _interrupt(self) -> None:
        if os.name == "posix" and self.process.pid is not None:
            os.kill(self.process.pid, signal.SIGINT)


@dataclass
class Workers:
    """The processes that judge the other shares of a check.

    `lost` has a line for each of them that died.
    """

    members: list[Worker]
    lost: list[str] = field(default_factory=list)

    @property
    def parts(self) -> int:
        """How many shares there are, that of the command's own process included."""
        return len(self.members) + 1

    def collect(self, stopped: bool) -> list[Any]:
        """Return what each of them found; without an answer, a result that is marked as stopped."""
        found = []
        for member in self.members:
            try:
                found.append(self._answer(member, GRACE_SECONDS if stopped else None))
            except KeyboardInterrupt:
                stopped = True
                found.append(self._answer(member, GRACE_SECONDS))
        return found

    def _answer(self, member: Worker, seconds: float | None) -> Any:
        from rnnspec.engine.outcome import Progress

        try:
            return member.answer(seconds) or Progress({}, stopped=True)
        except EOFError:
            member.process.join()
            name = f"process {member.number + 1} of {self.parts}"
            ended = f"{name} ended with exit status {member.process.exitcode}"
            self.lost.append(
                f"{ended} before it had judged its share of the cases; "
                "--jobs 1 judges all of them in one process"
            )
            return Progress({}, stopped=True)

    def end(self) -> None:
        """End the processes that still run."""
        for member in self.members:
            member.process.kill()
            member.process.join()
            member.connection.close()


@contextmanager
def start_workers(
    jobs: int, target: str, imports: Sequence[str], options: CheckOptions
) -> Iterator[Workers | None]:
    """Start all processes but this one, and end them with the block."""
    if jobs == 1:
        yield None
        return
    workers = Workers(
        [_start_worker(number, jobs, target, imports, options) for number in range(1, jobs)]
    )
    try:
        yield workers
    finally:
        workers.end()


def _start_worker(
    number: int, parts: int, target: str, imports: Sequence[str], options: CheckOptions
) -> Worker:
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(
        target=judge_share,
        args=(theirs, number, parts, target, tuple(imports), options),
        daemon=True,
    )
    process.start()
    theirs.close()
    return Worker(process, ours, number)


def judge_share(
    connection: Connection,
    number: int,
    parts: int,
    target: str,
    imports: Sequence[str],
    options: CheckOptions,
) -> None:
    """Judge one share and send the result.

    Say nothing if nothing can be checked, since the command's own process says so.
    """
    try:
        found = _judge_quietly(number, parts, target, imports, options)
    except (CannotCheck, KeyboardInterrupt):
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection.send(found)


def _judge_quietly(
    number: int, parts: int, target: str, imports: Sequence[str], options: CheckOptions
) -> Any:
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        from rnnspec.api import prepare_suite, run_share_undisturbed

        for module in imports:
            import_module(module)
        suite = prepare_suite(target, options)
    with redirect_stdout(sys.stderr):
        return run_share_undisturbed(suite, number, parts)

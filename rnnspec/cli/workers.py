"""Processes beside the command's own, each judging its share of the cases. They start before torch is imported, which takes a second."""

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
from rnnspec.errors import CannotCheck, SelectionError
from rnnspec.options import CheckOptions

MOST = 4
"""How many processes share the cases where the user does not say: each has to import torch first."""
FEW = 100
"""So few cases are judged sooner than torch is imported."""
PATIENCE = 2.0
"""Seconds that a process has to end its case and answer after an interrupt, before it is interrupted by hand, and then ended."""


def choose_jobs(asked: int | None, options: CheckOptions) -> int:
    """Return how many processes judge: what the user asked for, or one for each processor.

    One on any device but the CPU, for a few cases, and if the run ends with the first violation,
    which must be the first of all.
    """
    if asked is not None and asked < 1:
        raise SelectionError(f"--jobs must be at least 1, got {asked}")
    if options.fail_fast or asked == 1:
        return 1
    if asked is not None:
        return asked
    is_short = options.cases is not None and options.cases < FEW
    if is_short or not options.device.startswith("cpu"):
        return 1
    return min(count_processors(), MOST)


def count_processors() -> int:
    """How many processors this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@dataclass
class Worker:
    """A process, the end of the pipe on which it answers, and which share is its."""

    process: SpawnProcess
    connection: Connection
    number: int

    def answer(self, seconds: float | None) -> Any:
        """What it found, or None where it does not answer in time, interrupted once; raises EOFError where it has died."""
        if not self.connection.poll(seconds):
            self._interrupt()
        return self.connection.recv() if self.connection.poll(seconds) else None

    def _interrupt(self) -> None:
        if os.name == "posix" and self.process.pid is not None:
            os.kill(self.process.pid, signal.SIGINT)


@dataclass
class Workers:
    """The processes that judge the other shares of a check; `lost` tells, a line each, of those that died."""

    members: list[Worker]
    lost: list[str] = field(default_factory=list)

    @property
    def parts(self) -> int:
        """How many shares there are, that of the command's own process included."""
        return len(self.members) + 1

    def collect(self, stopped: bool) -> list[Any]:
        """What each of them found: a mergeable result, one marked as stopped where there is no answer."""
        found = []
        for member in self.members:
            try:
                found.append(self._answer(member, PATIENCE if stopped else None))
            except KeyboardInterrupt:
                stopped = True
                found.append(self._answer(member, PATIENCE))
        return found

    def _answer(self, member: Worker, seconds: float | None) -> Any:
        from rnnspec.engine.outcome import Progress

        try:
            return member.answer(seconds) or Progress({}, stopped=True)
        except EOFError:
            member.process.join()
            ended = f"process {member.number + 1} of {self.parts} ended with exit status {member.process.exitcode} before it had judged"
            self.lost.append(f"{ended} its share of the cases; --jobs 1 judges all of them here")
            return Progress({}, stopped=True)

    def end(self) -> None:
        """End what still runs."""
        for member in self.members:
            member.process.kill()
            member.process.join()
            member.connection.close()


@contextmanager
def start_workers(
    jobs: int, target: str, imports: Sequence[str], options: CheckOptions
) -> Iterator[Workers | None]:
    """Start all processes but one, which is this; none where there is one job. They are ended with the block."""
    if jobs == 1:
        yield None
        return
    workers = Workers(
        [_started(number, jobs, target, imports, options) for number in range(1, jobs)]
    )
    try:
        yield workers
    finally:
        workers.end()


def _started(
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
    """Judge one share and send the result; says nothing where that cannot be, since the command's own process says it."""
    try:
        found = _judged(number, parts, target, imports, options)
    except (CannotCheck, KeyboardInterrupt):
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection.send(found)


def _judged(
    number: int, parts: int, target: str, imports: Sequence[str], options: CheckOptions
) -> Any:
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        from rnnspec.api import prepare_suite, run_share_undisturbed

        for module in imports:
            import_module(module)
        suite = prepare_suite(target, options)
    with redirect_stdout(sys.stderr):
        return run_share_undisturbed(suite, number, parts)

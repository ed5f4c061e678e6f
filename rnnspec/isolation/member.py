"""A worker, as seen by the process that watches it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, get_context
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Any

from rnnspec.isolation.announcement import NO_CASE, Announcement, Moment, read_moment
from rnnspec.isolation.ends import End, describe_exit, describe_hang
from rnnspec.isolation.import_path import describe_import_path, read_import_path
from rnnspec.isolation.limits import end_group
from rnnspec.isolation.messages import CheckRange, Job, Precautions, WriteReport
from rnnspec.isolation.output import Output
from rnnspec.isolation.sending import MAIN
from rnnspec.isolation.server import IS_SERVER
from rnnspec.isolation.worker import WorkerStart, serve, set_environment

PRELOADED = [
    "rnnspec.isolation.server",
    "rnnspec.cli",
    "rnnspec.isolation.checker",
    "rnnspec.isolation.worker",
]
"""Modules that a server imports once, so that a worker forked from it starts at once."""
OF_CHECKS = ["rnnspec.api.layer", "rnnspec.api.model"]
"""Further ones, which take 2 s and are not needed by most tasks."""
BETWEEN_STEPS = 5.0
"""A worker may take this many times the limit of a step between two steps."""
MARGIN = 1.0
"""Seconds that a worker has to report a trial that took too long, before the worker is ended."""
LAST_WORDS = 5.0
"""Seconds that a process may take to end after it has closed its connection."""


def choose_context(is_task: bool) -> Any:
    """Return the multiprocessing context used to start workers, for a task or for a check.

    On Linux, workers are forked from a server that has imported torch and none of the user's
    modules. On other systems, where forking torch is not safe, every worker is a new process.
    """
    if sys.platform != "linux":
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([*PRELOADED, *(() if is_task else OF_CHECKS)])
    with _hide_main_module(), _change_environment({**describe_import_path(), IS_SERVER: "1"}):
        forkserver.ensure_running()
    return context


@contextmanager
def _change_environment(changes: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        set_environment(before)


@contextmanager
def _hide_main_module() -> Iterator[None]:
    """Start processes without the user's main program while the context is active.

    multiprocessing imports the main program again in each process, and a program without the guard
    `if __name__ == "__main__"` would start its check there too. Nothing that is sent to a worker is
    defined in the main program, see `make_sent_job`.
    """
    program = sys.modules[MAIN]
    sys.modules[MAIN] = ModuleType(MAIN)
    try:
        yield
    finally:
        sys.modules[MAIN] = program


class Member:
    """A worker: its process, our end of its connection, and the memory with its announced steps.

    task         its last request, or None if it is waiting
    precautions  the precautions that it received
    size         the number of cases, once it is ready
    drawn        identifies the cases, see `Ready`
    """

    def __init__(
        self,
        context: Any,
        job: Job,
        output: Output,
        precautions: Precautions,
        *,
        is_first: bool,
    ) -> None:
        self.job = job
        self.precautions = precautions
        self.task: CheckRange | WriteReport | None = None
        self.size: int | None = None
        self.drawn = ""
        self.connection, theirs = context.Pipe()
        self.shared: Announcement = context.RawValue(Announcement)
        self.shared.case = NO_CASE
        # A daemon could not start processes of its own, and a subject may; the owner ends the
        # worker.
        self.process = context.Process(
            target=serve,
            args=(
                theirs,
                output.writer,
                self.shared,
                job,
                precautions,
                WorkerStart(is_first, dict(os.environ), tuple(read_import_path())),
            ),
        )
        with _hide_main_module():
            self.process.start()
        theirs.close()
        self._seen = self.moment
        self._since = time.monotonic()

    @property
    def moment(self) -> Moment:
        """The current state of the worker, or its last state if it has ended."""
        return read_moment(self.shared)

    @property
    def waitables(self) -> tuple[Connection, int]:
        """Objects that become ready when the worker answers or ends."""
        return self.connection, self.process.sentinel

    @property
    def is_idle(self) -> bool:
        """Whether the worker is waiting for a request."""
        return self.size is not None and self.task is None

    def request(self, task: CheckRange | WriteReport) -> None:
        """Send a request. If the worker has died, `receive` and `find_hang` report it."""
        self.task, self.precautions = task, task.precautions
        self.shared.must_stop = self.shared.must_hurry = False
        try:
            self.connection.send(task)
        except OSError:
            return

    def receive(self) -> Any:
        """Return the next answer, or None if there is none yet. Raises EOFError if it has died."""
        try:
            return self.connection.recv() if self.connection.poll() else None
        except (OSError, EOFError):
            raise EOFError from None
        except Exception as error:  # the data received was no answer
            raise EOFError from error

    def read_end(self) -> End:
        """Return how the worker ended, after its connection was closed or its process was gone."""
        self.process.join(LAST_WORDS)
        end = describe_exit(self.process.exitcode)
        self.end()
        return end

    def read_wait(self) -> tuple[str, float]:
        """Return the current step of the subject, and the seconds for which it has been seen.

        Without a step, the text is empty.
        """
        moment = self.moment
        return moment.step, time.monotonic() - self._since if moment == self._seen else 0.0

    def find_hang(self) -> End | None:
        """Describe a hang, if the worker has made no progress for too long."""
        moment, now = self.moment, time.monotonic()
        is_waiting = self.is_idle or (isinstance(self.task, WriteReport) and not moment.step)
        if moment != self._seen or is_waiting:
            self._seen, self._since = moment, now
            return None
        limit = self.job.timeout * (1.0 if moment.step else BETWEEN_STEPS)
        return describe_hang(limit) if now - self._since > limit + MARGIN else None

    def stop(self) -> None:
        """Ask the worker to check no further case, or to end its search for faults."""
        self.shared.must_stop = True

    def hurry(self) -> None:
        """Ask the worker to leave its current case."""
        self.shared.must_hurry = True

    def end(self) -> None:
        """End the worker's process at once, and the processes that the subject has left behind."""
        if self.connection.closed:
            return
        end_group(self.process.pid)
        if self.process.is_alive():
            self.process.kill()
            self.process.join(LAST_WORDS)
        self.connection.close()

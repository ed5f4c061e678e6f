"""Processes that share the checks of many layers, or that each run a single check."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import active_children, connection, get_all_start_methods, get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from time import monotonic
from typing import Any

import torch

from rnnspec.errors import CannotCheck
from rnnspec.isolation.output import redirect_output
from rnnspec.isolation.threads import set_thread_defaults

Send = Callable[[Any], object]
"""Sends an object from a process to its parent process."""


def start_processes(number: int) -> ProcessPoolExecutor:
    """Return a pool of new processes that compute with one thread each.

    NumPy reads the number of threads when it is imported, so it is set before the processes start.
    """
    set_thread_defaults()
    return ProcessPoolExecutor(number, get_context("spawn"), prepare_process)


@contextmanager
def end_with_interrupt(pool: ProcessPoolExecutor) -> Iterator[None]:
    """Return a context where KeyboardInterrupt ends the processes, whatever they do."""
    try:
        yield
    except (KeyboardInterrupt, GeneratorExit):
        pool.shutdown(wait=False, cancel_futures=True)
        for process in active_children():
            process.kill()
        raise


def prepare_process() -> None:
    """Limit torch to one thread, and ignore its warnings about projections on some devices."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all of them
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="LSTM with projections is not supported")


@dataclass
class ProcessCall:
    """A call of a function in its own process: the objects that it sent, and why it ended early."""

    given: tuple[Any, ...]
    sent: list[Any] = field(default_factory=list)
    ended: str = ""


@dataclass
class _Running:
    job: ProcessCall
    process: BaseProcess
    reader: Connection
    deadline: float


class Processes:
    """Runs each call in a new process, which is a copy of a process that has loaded torch.

    At most `number` processes run at a time. Each may take `limit` seconds until it sends
    something, and as long again after that. `preload` names modules that are imported once, if the
    system can copy a process.
    """

    def __init__(self, number: int, limit: float, preload: Sequence[str] = ()) -> None:
        self.number, self.limit = number, limit
        method = "forkserver" if "forkserver" in get_all_start_methods() else "spawn"
        self._context: Any = get_context(method)
        set_thread_defaults()
        if method == "forkserver":
            self._context.set_forkserver_preload(list(preload))

    def run_alone(self, function: Callable[..., Any], *given: Any) -> Any:
        """Return the result of a function. Raises CannotCheck if it does or the process ends."""
        job = ProcessCall((function, given))
        for _ in self.run_all(_send_result, [job]):
            pass
        if job.ended:
            raise CannotCheck(f"{given[0]}: its check ended early: {job.ended}.")
        if isinstance(job.sent[0], CannotCheck):
            raise job.sent[0]
        return job.sent[0]

    def run_all(
        self, function: Callable[..., Any], jobs: Sequence[ProcessCall]
    ) -> Iterator[ProcessCall]:
        """Yield each job when its process has ended; the function's first argument is `Send`."""
        waiting, running = [*reversed(jobs)], list[_Running]()
        try:
            while waiting or running:
                while waiting and len(running) < self.number:
                    running.append(self._begin(function, waiting.pop()))
                connection.wait([each.reader for each in running], timeout=1.0)
                for each in [*running]:
                    if self._has_ended(each):
                        running.remove(each)
                        yield each.job
        finally:
            for each in running:
                each.process.kill()

    def _begin(self, function: Callable[..., Any], job: ProcessCall) -> _Running:
        reader, writer = self._context.Pipe(duplex=False)
        given = (writer, function, job.given)
        process = self._context.Process(target=_run_job, args=given, daemon=True)
        process.start()
        writer.close()
        return _Running(job, process, reader, monotonic() + self.limit)

    def _has_ended(self, each: _Running) -> bool:
        """Receive the objects that a process has sent, and return whether it has ended or was
        ended.
        """
        while each.reader.poll(0):
            try:
                message = each.reader.recv()
            except (EOFError, OSError):
                each.process.join()
                each.job.ended = f"the process ended with exit code {each.process.exitcode}"
                return True
            if message == _DONE:
                return True  # the process may take seconds to end, so do not wait for it
            each.job.sent.append(message)
            each.deadline = monotonic() + self.limit
        if monotonic() < each.deadline:
            return False
        each.process.kill()
        each.job.ended = f"it did not end in {self.limit:g} s"
        return True


_DONE = "the function has returned"


def _run_job(writer: Connection, function: Callable[..., Any], given: tuple[Any, ...]) -> None:
    """Call a function in a new process, which prints nothing."""
    prepare_process()
    redirect_output(None)
    function(writer.send, *given)
    writer.send(_DONE)


def _send_result(send: Send, function: Callable[..., Any], given: tuple[Any, ...]) -> None:
    try:
        send(function(*given))
    except CannotCheck as error:
        send(error)

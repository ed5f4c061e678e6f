"""The process that uses the subject: how it starts and ends.

Modules that import torch are imported only in this process, inside functions.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from rnnspec.errors import CannotCheck
from rnnspec.isolation.announcement import Announcement
from rnnspec.isolation.ends import OUT_OF_MEMORY
from rnnspec.isolation.interrupts import restore_endings
from rnnspec.isolation.limits import end_with_parent, lead_group, limit_memory, require_memory
from rnnspec.isolation.messages import (
    Broken,
    Job,
    Precautions,
    Progressed,
    Returned,
    RunRefused,
    pack,
)
from rnnspec.isolation.output import redirect_output
from rnnspec.isolation.server import collect_garbage

OWN_MODULES = r"rnnspec\.(?!selftest)"
"""A regular expression for the beginning of the names of modules that are not subjects."""


@dataclass(frozen=True)
class WorkerStart:
    """Settings used to start a worker.

    is_first     whether output of the subject at import counts; it counts for one worker only
    environment  the environment variables of the parent process
    places       the import path of the parent process
    """

    is_first: bool
    environment: dict[str, str]
    places: tuple[str, ...]


def set_environment(variables: Mapping[str, str]) -> None:
    """Give this process exactly these environment variables."""
    for name in os.environ.keys() - variables.keys():
        del os.environ[name]
    os.environ.update(variables)


def silence_own_warnings() -> None:
    """Ignore warnings that the code of rnnspec triggers, such as an overflow in a wrong result.

    They would count as output of the subject.
    """
    warnings.filterwarnings("ignore", module=OWN_MODULES)


def serve(
    connection: Connection,
    output: Connection,
    shared: Announcement,
    job: Job,
    precautions: Precautions,
    start: WorkerStart,
) -> None:
    """Answer requests on a connection until it is closed.

    `output` is the pipe for the output of the subject.
    """
    restore_endings()
    end_with_parent()
    lead_group()  # or a layer that signals its process group would end the command
    collect_garbage()
    set_environment(start.environment)
    sys.path[:] = start.places
    silence_own_warnings()
    redirect_output(output if start.is_first else None)

    from rnnspec.isolation.checker import Checker
    from rnnspec.isolation.guard import Guard
    from rnnspec.subjects.steps import set_watcher

    can_fork = job.device.startswith("cpu")
    guard = Guard(shared, connection, job.timeout, can_fork=can_fork, is_task=job.is_task)
    guard.take(precautions)
    set_watcher(guard)
    try:
        require_memory(job.memory)
        limit_memory(job.memory)
        if job.is_task:
            redirect_output(output)
            _do_task(connection, job)
            return
        check = Checker(connection, job, guard)
        redirect_output(output)
        check.answer_requests()
    except CannotCheck as error:
        connection.send(RunRefused(error))
    except (EOFError, OSError):  # the watching process has closed the connection
        return
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except BaseException:
        connection.send(Broken(traceback.format_exc()))


def _do_task(connection: Connection, job: Job) -> None:
    """Run the task of a job, see `rnnspec.isolation.tasks`; send its progress and its result."""
    connection.send(Returned(pack(job.prepare(TaskSender(connection), *job.arguments))))


@dataclass(frozen=True)
class TaskSender:
    """Sends the progress of a task, and its result so far."""

    connection: Connection

    def __call__(self, done: int, total: int, doing: tuple[str, ...] = ()) -> None:
        """Send the progress."""
        self.connection.send(Progressed(done, total, doing))

    def keep(self, value: Any) -> None:
        """Send the result so far, which is used if the time is over before there is another."""
        self.connection.send(Returned(pack(value), is_final=False))

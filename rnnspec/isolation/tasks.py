"""A task: work on the target in a worker that returns a result.

If a step of the target ends the worker or does not return, another worker starts again. It first
tries the step in a forked process, where the step fails like any other step.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from rnnspec.errors import TargetError
from rnnspec.isolation.crew import Crew, WorkerError
from rnnspec.isolation.messages import Broken, Job, Progressed, Returned, unpack
from rnnspec.isolation.standing import TaskWatcher

Task = Callable[..., Any]
"""A function that takes a watcher and further arguments, and returns plain data."""
GRACE = 1.0
"""Seconds after the deadline of a task in which it may return by itself."""


def make_task(
    target: str,
    task: Task,
    arguments: tuple[Any, ...],
    *,
    device: str,
    timeout: float,
    memory: int | None,
    deadline: float = math.inf,
) -> Job:
    """Return the job of a task about a target. A worker imports the function by its name."""
    return Job(
        target,
        task,
        arguments,
        device=device,
        is_task=True,
        timeout=timeout,
        memory=memory,
        deadline=deadline,
    )


def run_task(job: Job, watch: TaskWatcher | None = None) -> tuple[Any, list[str]]:
    """Run a task, and return its result and notes about steps that ended workers.

    If the deadline of the job has passed, the result is the last that the task has kept. Raises
    CannotCheck, such as TargetError if the target ends every worker, or if nothing was kept in
    time, and WorkerError.
    """
    with Crew(job, 1) as crew:
        value = _await_value(crew, watch)
    return value, crew.list_notes()


def _await_value(crew: Crew, watch: TaskWatcher | None) -> Any:
    kept: Any = None
    while time.monotonic() < crew.job.deadline + GRACE:
        crew.start()
        for _, answer in crew.listen():
            if isinstance(answer, Returned):
                kept = unpack(answer.value)
                if answer.is_final:
                    return kept
            if isinstance(answer, Broken):
                raise WorkerError(answer.traceback)
            if isinstance(answer, Progressed) and watch is not None:
                watch(answer.done, answer.total, answer.doing)
    if kept is None:
        raise TargetError(f"{crew.job.target}: the limit of time was reached before any call")
    return kept


def keep_result(watch: TaskWatcher | None, value: Any) -> None:
    """Keep a result of a task that runs in a worker, for the case that its time is over."""
    keep = getattr(watch, "keep", None)
    if keep is not None:
        keep(value)

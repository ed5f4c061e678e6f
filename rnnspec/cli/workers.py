"""The worker processes of the command line: how many there are, and what each prepares."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnnspec.cli.parts import import_module
from rnnspec.errors import SelectionError
from rnnspec.isolation.jobs import make_job
from rnnspec.isolation.journal import Journal, describe_run
from rnnspec.isolation.standing import Watcher
from rnnspec.isolation.supervisor import Supervisor
from rnnspec.options import CheckOptions, check_integer
from rnnspec.report.data import Report
from rnnspec.subjects.target import require_target

MAX_JOBS = 4
"""The most processes that are started unasked."""
MIN_CASES = 100
"""Fewer cases than these are judged by one process."""


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


def check_in_workers(
    target: str,
    imports: Sequence[str],
    options: CheckOptions,
    *,
    jobs: int,
    timeout: float,
    memory: int | None,
    stream: str | None = None,
    resume: str | None = None,
    max_time: float | None = None,
    watch: Watcher | None = None,
) -> Report:
    """Check a target in workers, and return the report. Raises CannotCheck.

    `timeout` is in seconds for each step of the target, and `memory` in MiB for each worker.
    `stream` is the path of a file to which results are written, and `resume` that of one with which
    a run goes on. After `max_time` seconds, the run ends with what was found.
    """
    if not imports:
        require_target(target)
    journal = open_journal(describe_run(target, options), stream, resume)
    job = make_job(
        target,
        prepare_in_worker,
        (target, tuple(imports), options),
        options,
        workers=jobs,
        timeout=timeout,
        memory=memory,
    )
    return Supervisor(job, jobs, watch=watch, journal=journal, max_time=max_time).run()


def open_journal(run: dict[str, Any], stream: str | None, resume: str | None) -> Journal | None:
    """Return the file to which results are written, if there is one. Raises SelectionError."""
    if stream is not None and resume is not None:
        raise SelectionError(f"{stream}: results are added to the file of --resume.", "stream")
    if resume is not None and run["options"]["fail_fast"]:
        raise SelectionError(f"{resume}: a run with --fail-fast cannot be resumed.", "resume")
    if stream is not None:
        return Journal.create(Path(stream), run)
    return None if resume is None else Journal.resume(Path(resume), run)


def prepare_in_worker(
    target: str, imports: Sequence[str], options: CheckOptions
) -> tuple[Any, tuple[str, ...]]:
    """Return the suite of a check and the first notes of its report. Raises CannotCheck."""
    from rnnspec.api import prepare_check

    for module in imports:
        import_module(module)
    return prepare_check(target, options)

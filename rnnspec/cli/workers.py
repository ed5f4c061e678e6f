"""The worker processes of the command line: how many there are, and what they prepare."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from rnnspec.cli.parts import import_first
from rnnspec.cli.results_file import END_OF_RUN
from rnnspec.declared.files import Project, find_project
from rnnspec.errors import SelectionError
from rnnspec.isolation.checking import Checking
from rnnspec.isolation.interrupts import ENDING, Interrupts
from rnnspec.isolation.journal import Journal, describe_run
from rnnspec.isolation.merging import merge_files
from rnnspec.isolation.messages import Job
from rnnspec.isolation.ranges import Share
from rnnspec.isolation.sending import make_job
from rnnspec.isolation.standing import StandingWatcher
from rnnspec.isolation.supervisor import CheckedShard, CheckingMaker, Supervisor, report_merged
from rnnspec.options import CheckOptions, ModelOptions, check_integer, ignore_clock
from rnnspec.report.data import Report
from rnnspec.report.model import ModelReport
from rnnspec.subjects.target import require_target

MAX_JOBS = 4
"""Default limit on worker processes."""
MOST_PER_PROCESSOR = 8
"""Limit on worker processes per processor; more would fill the memory."""
MIN_CASES = 100
"""Fewer cases than this are checked by one process."""


def choose_jobs(asked: int | None, options: CheckOptions) -> int:
    """Return the number of processes that check here: the user's choice, or one per processor.

    It is one on devices other than the CPU, for a few cases, and if the run ends with its first
    violation, which has to be the first of all cases. It never exceeds the number of cases, if that
    was given.
    """
    if asked is not None:
        check_jobs(asked)
    if options.fail_fast or asked == 1:
        return 1
    if asked is not None:
        return asked if options.cases is None else max(1, min(asked, options.cases))
    is_short = options.cases is not None and options.cases < MIN_CASES
    if is_short or not options.device.startswith("cpu"):
        return 1
    return min(count_processors(), MAX_JOBS)


def choose_slots(asked: int | None, dask: str | None, options: CheckOptions) -> int | None:
    """Return the number of processes of a cluster to use, or None for all.

    The default for a cluster on this machine is one per processor. Raises SelectionError if the
    cluster cannot be used.
    """
    if dask is None:
        return None
    if options.fail_fast:
        raise SelectionError(
            f"{dask}: with --fail-fast the run ends at its first violation, so one process checks "
            "all cases.",
            "dask",
        )
    from rnnspec.cluster.connection import LOCAL, check_address, require_dask

    check_address(dask)
    require_dask()
    if asked is not None and dask == LOCAL:
        check_jobs(asked)
    elif asked is not None:
        check_integer("jobs", asked, 1)
    return count_processors() if asked is None and dask == LOCAL else asked


def check_jobs(asked: int) -> None:
    """Raise SelectionError if this machine should not run this many processes."""
    check_integer("jobs", asked, 1)
    processors = count_processors()
    most = MOST_PER_PROCESSOR * processors
    if asked > most:
        have = "1 processor" if processors == 1 else f"{processors} processors"
        raise SelectionError(
            f"must be at most {most} on this machine, which has {have}; got {asked}", "jobs"
        )


def count_processors() -> int:
    """Return the number of processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@dataclass(frozen=True)
class WorkerSettings:
    """Settings of a run that do not change its findings.

    jobs          the number of worker processes
    timeout       the limit for each step of the target, in seconds
    memory        the limit on the memory of each worker in MiB, or None for a share of the memory
    stream        the path of a file to which results are written
    resume        the path of a file whose run is resumed
    max_time      the seconds after which the run ends with its findings so far
    share         the cases to check
    dask          the Dask cluster that checks them, see `rnnspec.cluster.connection`, or None
    slots         the number of processes of the cluster to use, or None for all
    kept          the path of a temporary file for results, if there is no other file
    describe_end  returns the text to print when a signal ends the run
    """

    jobs: int
    timeout: float
    memory: int | None = None
    stream: str | None = None
    resume: str | None = None
    max_time: float | None = None
    share: Share | None = None
    dask: str | None = None
    slots: int | None = None
    kept: str | None = None
    describe_end: Callable[[], str] = f"{END_OF_RUN}\n".format

    @property
    def is_recorded(self) -> bool:
        """Whether results are written to a file or come from files of shards."""
        places = (self.stream, self.resume, self.share, self.kept)
        return any(each is not None for each in places)

    def make_interrupts(self) -> Interrupts:
        """Return the signals that end the command."""
        return Interrupts(ENDING, self.describe_end)


def check_in_workers(
    target: str,
    imports: Sequence[str],
    options: CheckOptions,
    settings: WorkerSettings,
    watch: StandingWatcher | None = None,
) -> Report:
    """Check a target in workers, and return the report. Raises CannotCheck."""
    return _supervise(target, imports, options, settings, watch).run()


def check_model_in_worker(
    target: str,
    imports: Sequence[str],
    options: ModelOptions,
    *,
    timeout: float,
    memory: int | None,
    watch: StandingWatcher | None = None,
) -> ModelReport:
    """Check a model in one worker, and return the report. Raises CannotCheck."""
    if not imports:
        require_target(target)
    job = make_job(
        target,
        prepare_model_in_worker,
        (target, tuple(imports), options),
        options,
        workers=1,
        timeout=timeout,
        memory=memory,
    )
    interrupts = WorkerSettings(1, timeout).make_interrupts()
    return cast(ModelReport, Supervisor(job, 1, watch=watch, interrupts=interrupts).run())


def check_shard(
    target: str,
    imports: Sequence[str],
    options: CheckOptions,
    settings: WorkerSettings,
    watch: StandingWatcher | None = None,
) -> CheckedShard:
    """Check a share of the cases in workers, and return the results. Raises CannotCheck."""
    return _supervise(target, imports, options, settings, watch).check()


def _supervise(
    target: str,
    imports: Sequence[str],
    options: CheckOptions,
    settings: WorkerSettings,
    watch: StandingWatcher | None,
) -> Supervisor:
    if not imports:
        require_target(target)
    if settings.dask is not None or not (settings.share or Share()).is_whole:
        options = ignore_clock(options)
    run = describe_run(target, options, imports, settings.share)
    journal = open_journal(run, settings.stream, settings.resume)
    if journal is None and settings.kept is not None:
        journal = Journal.keep(Path(settings.kept), run)
    if journal is not None:
        options = replace(options, sizes=journal.run["options"]["sizes"])
    return Supervisor(
        _make_job(target, imports, options, settings),
        settings.jobs,
        watch=watch,
        journal=journal,
        max_time=settings.max_time,
        share=settings.share,
        make_checking=_choose_checking(settings),
        interrupts=settings.make_interrupts(),
    )


def _choose_checking(settings: WorkerSettings) -> CheckingMaker:
    """Return the phase that checks the cases: in workers of this machine, or on a cluster."""
    if settings.dask is None:
        return Checking
    from rnnspec.cluster.checking import Cluster, ClusterChecking

    cluster = Cluster(settings.dask, settings.slots, settings.memory)
    return partial(ClusterChecking, cluster=cluster)


def merge_shards(
    paths: Sequence[str],
    *,
    timeout: float,
    memory: int | None,
    watch: StandingWatcher | None = None,
) -> Report:
    """Return the report on the cases in the files of shards. Raises CannotCheck."""
    merged = merge_files([Path(path) for path in paths])
    if not merged.imports:
        require_target(merged.target)
    settings = WorkerSettings(jobs=1, timeout=timeout, memory=memory, share=Share())
    job = _make_job(merged.target, merged.imports, merged.options, settings)
    return report_merged(job, merged, watch=watch, interrupts=settings.make_interrupts())


def _make_job(
    target: str, imports: Sequence[str], options: CheckOptions, settings: WorkerSettings
) -> Job:
    return make_job(
        target,
        prepare_in_worker,
        # Find the project from the command's working directory, since workers may have another.
        (target, tuple(imports), options, find_project(options.known, target)),
        options,
        workers=settings.jobs,
        timeout=settings.timeout,
        memory=settings.memory,
        is_shared=settings.share is not None or settings.dask is not None,
        is_recorded=settings.is_recorded,
    )


def open_journal(run: dict[str, Any], stream: str | None, resume: str | None) -> Journal | None:
    """Return the file to which results are written, or None. Raises SelectionError."""
    if stream is not None and resume is not None:
        raise SelectionError(
            f"use one of the two: --stream {stream} begins a run, and --resume {resume} goes on "
            "with the run in that file and adds to it."
        )
    if resume is not None and run["options"]["fail_fast"]:
        raise SelectionError(f"{resume}: a run with --fail-fast cannot be resumed.", "resume")
    if stream is not None:
        return Journal.create(Path(stream), run)
    return None if resume is None else Journal.resume(Path(resume), run)


def prepare_in_worker(
    target: str, imports: Sequence[str], options: CheckOptions, project: Project | None = None
) -> tuple[Any, tuple[str, ...]]:
    """Return the suite of a check and the first notes of its report. Raises CannotCheck.

    `project` holds the project's declarations; if it is None, they are searched for.
    """
    from rnnspec.api import prepare_check

    return prepare_check(import_first(imports, target), options, project)


def prepare_model_in_worker(
    target: str, imports: Sequence[str], options: ModelOptions
) -> tuple[Any, tuple[str, ...]]:
    """Return the suite of a check of a model and the first notes. Raises CannotCheck."""
    from rnnspec.api import prepare_model_suite

    return prepare_model_suite(import_first(imports, target), options)

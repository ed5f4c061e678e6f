"""Run a check under pytest: in a worker or in this process, alone or shared with others."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from rnnspec.api.layer import LayerTarget
from rnnspec.engine.campaign import block_case, check_one_case, run_campaign
from rnnspec.engine.explanations import ENDED_EARLY
from rnnspec.engine.outcome import CaseResult
from rnnspec.isolation.checker import ResultPacker, add_results, begin_progress, list_ending_rules
from rnnspec.isolation.checking import Checking
from rnnspec.isolation.crew import Crew
from rnnspec.isolation.ends import WHOLE_CASE
from rnnspec.isolation.interrupts import Interrupts
from rnnspec.isolation.messages import DEFAULT_TIMEOUT
from rnnspec.isolation.phase import Clock
from rnnspec.isolation.ranges import Share
from rnnspec.isolation.reporting import Reporting
from rnnspec.isolation.results import Results
from rnnspec.isolation.sending import PrepareSuite, make_sent_job
from rnnspec.options import RunOptions, list_scored_levels
from rnnspec.pipeline import ReportedSuite, report_progress
from rnnspec.report.data import Report
from rnnspec.subjects.devices import keep_random_numbers
from rnnspec.subjects.failures import Ended
from rnnspec.subjects.steps import refuse_steps
from rnnspec.subjects.threads import use_one_thread
from rnnspec.testing.shared import SharedResults, SharedRun

OptionsT = TypeVar("OptionsT", bound=RunOptions)
AnySuite = ReportedSuite[Any, Any, Report]


@dataclass(frozen=True)
class Isolation:
    """Where pytest runs your target, with its limits on time and memory.

    isolate  whether to use a worker process; None uses a worker unless a debugger or coverage needs
             your target in pytest's own process
    timeout  the limit for each step of your target, in seconds
    memory   the limit on the memory of a worker, in MiB; None is a share of the machine's memory
    """

    isolate: bool | None = None
    timeout: float = DEFAULT_TIMEOUT
    memory: int | None = None


@dataclass(frozen=True)
class CheckOutcome:
    """A report, with remarks for the user on how the check ran."""

    report: Report
    remarks: tuple[str, ...]


def check_in_worker(
    target: LayerTarget,
    options: OptionsT,
    prepare: PrepareSuite[OptionsT],
    isolation: Isolation,
    workers: int,
    shared: SharedRun | None,
) -> CheckOutcome:
    """Check a target in a worker of this process; `workers` processes share the machine.

    Raises CannotCheck (NotImportableError among others), WorkerError and KeyboardInterrupt.
    """
    job = make_sent_job(
        target,
        options,
        prepare,
        workers=workers,
        timeout=isolation.timeout,
        memory=isolation.memory,
    )
    crew, interrupts, clock = Crew(job, 1), Interrupts(), Clock()
    results = Results(Share().select) if shared is None else SharedResults(shared)
    stage = Checking(crew, results, interrupts, clock, ranges=shared)

    def write_report() -> CheckOutcome:
        known, is_stopped = results, stage.is_stopped
        if shared is not None:
            known, is_stopped = shared.make_results(), shared.is_stopped
        reporting = Reporting(crew, known, interrupts, clock, is_stopped=is_stopped)
        report = reporting.run()
        stack.close()  # the workers have to end first, so that all output of the target is in
        remarks = (*stage.notes, *reporting.notes, *crew.list_notes())
        notes = (*report.notes, *remarks)
        found = replace(report, duration_s=results.read_seconds(), notes=notes)
        return CheckOutcome(found, remarks)

    with ExitStack() as stack:
        stack.enter_context(crew)
        stage.run()
        if shared is None:
            return write_report()
        while not shared.is_finished:  # other processes still check cases that come before the last
            shared.wait()
            stage.is_stopped = False
            stage.run()
        shared.add_notes([*stage.notes, *crew.notes, *crew.casualties.notes])
        return _complete(shared, write_report)


@use_one_thread()
def check_here(
    target: LayerTarget,
    options: OptionsT,
    prepare: PrepareSuite[OptionsT],
    shared: SharedRun | None,
    remark: str = "",
) -> CheckOutcome:
    """Check a target in this process. A `remark` is also added to the notes of the report.

    Raises CannotCheck and KeyboardInterrupt.
    """
    begun = time.monotonic()
    suite, found = prepare(target, options)
    remarks = (remark,) if remark else ()
    until = list_ending_rules(suite.rules, list_scored_levels(options), fail_fast=options.fail_fast)

    def write_report() -> CheckOutcome:
        gives_up = False
        if shared is not None:
            add_results(progress, (each.result for each in shared.list_results().values()))
            progress.stopped = shared.is_stopped
            gives_up = shared.searches > 1
        said = (*remarks, *([ENDED_EARLY] if gives_up else []))
        with refuse_steps(gives_up):
            report = report_progress(
                suite,
                progress,
                scored=list_scored_levels(options),
                fail_fast=options.fail_fast,
                notes=(*found, *said),
            )
        if report.stopped and not progress.stopped and not gives_up:  # the user interrupted it
            raise KeyboardInterrupt
        return CheckOutcome(replace(report, duration_s=round(time.monotonic() - begun, 3)), said)

    with keep_random_numbers():
        progress = begin_progress(suite)
        if shared is None:
            levels = list_scored_levels(options) if options.fail_fast else ()
            progress = run_campaign(suite, until=levels)
            if progress.ends_now:
                raise KeyboardInterrupt
            return write_report()
        _check_share(suite, shared, until)
        return _complete(shared, write_report)


def _check_share(suite: AnySuite, shared: SharedRun, until: Collection[str]) -> None:
    """Check cases that no other process has taken, until all cases are checked."""
    packer = ResultPacker(suite)
    shared.begin(suite.size)
    while not shared.is_finished:
        found = shared.take()
        if found is None:
            shared.wait()
            continue
        for index, case in suite.draw_cases(*found):
            result = _check_unless_fatal(suite, shared, index, case)
            is_last = not result.failed.keys().isdisjoint(until)
            shared.add(replace(packer.pack(result), is_last=is_last))
            if is_last:
                break


def _check_unless_fatal(
    suite: AnySuite, shared: SharedRun, index: int, case: Any
) -> CaseResult[Any]:
    """Check a case, or report that it ends the process if other processes have ended in it."""
    if shared.enter_case(index):
        return check_one_case(suite, index, case)
    return block_case(suite, index, case, Ended(WHOLE_CASE, "ended the process"))


def _complete(shared: SharedRun, write_report: Callable[[], CheckOutcome]) -> CheckOutcome:
    """Let a single process write the report, with the notes of all processes."""

    def write_all() -> CheckOutcome:
        outcome = write_report()
        added = [note for note in shared.list_notes() if note not in outcome.report.notes]
        report = replace(outcome.report, notes=(*outcome.report.notes, *added))
        return CheckOutcome(report, tuple(dict.fromkeys((*outcome.remarks, *added))))

    return shared.make_once(write_all)

"""Run a check in workers: they check the cases, and then one of them writes the report.

The process that runs this code uses neither the subject nor torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rnnspec.isolation.checking import Checking
from rnnspec.isolation.crew import Crew
from rnnspec.isolation.interrupts import Interrupts
from rnnspec.isolation.journal import Journal
from rnnspec.isolation.merging import Merged
from rnnspec.isolation.messages import Job
from rnnspec.isolation.phase import CaseChecking, Clock
from rnnspec.isolation.ranges import Share
from rnnspec.isolation.reporting import Reporting
from rnnspec.isolation.results import Results
from rnnspec.isolation.standing import StandingWatcher
from rnnspec.report.data import Report

CheckingMaker = Callable[[Crew, Results, Interrupts, Clock], CaseChecking]


@dataclass(frozen=True)
class CheckedShard:
    """The result of a run that only checks its share of the cases.

    results     the results of the checked cases
    is_stopped  whether the run ended before all cases were checked
    notes       lines for the report
    """

    results: Results
    is_stopped: bool
    duration_s: float
    notes: tuple[str, ...]


class Supervisor:
    """Runs a job in workers. An instance can be used only once.

    journal       the file for the results, which may contain results of an earlier run
    max_time      the seconds after which the run ends with its findings so far
    share         the cases to check
    make_checking  makes the phase that checks them; by default, the workers of this machine do
    interrupts    the signals that end the run; by default, only Ctrl-C
    """

    def __init__(
        self,
        job: Job,
        jobs: int,
        *,
        watch: StandingWatcher | None = None,
        journal: Journal | None = None,
        max_time: float | None = None,
        share: Share | None = None,
        make_checking: CheckingMaker = Checking,
        interrupts: Interrupts | None = None,
    ) -> None:
        self.crew = Crew(job, jobs)
        self.journal = journal
        self.results = Results(
            (share or Share()).select,
            checked=None if journal is None else journal.results,
            journal=journal,
            watch=watch,
        )
        self.max_time = max_time
        self.make_checking = make_checking
        self.interrupts = interrupts or Interrupts()

    def run(self) -> Report:
        """Return the report. Raises CannotCheck or WorkerError.

        Raises KeyboardInterrupt if the user interrupts before any case is checked.
        """
        clock = Clock(self.max_time)
        with self.crew, self.interrupts:
            checking = self._check(clock)
            reporting = Reporting(
                self.crew, self.results, self.interrupts, clock, is_stopped=checking.is_stopped
            )
            report = reporting.run()
        of_cases = [*checking.notes, *self.crew.list_notes()]
        notes = (*report.notes, *of_cases, *reporting.notes)
        found = replace(report, duration_s=self.results.read_seconds(), notes=notes)
        outcome = {
            "verdict": found.verdict.value,
            "exit_status": found.exit_status,
            "faults": [fault.rule for fault in found.faults],
        }
        self._finish(found.stopped, of_cases, outcome)
        return found

    def check(self) -> CheckedShard:
        """Check the cases without searching for the faults. Raises the same errors as `run`."""
        clock = Clock(self.max_time, reports=False)
        with self.crew, self.interrupts:
            checking = self._check(clock)
        notes = [*checking.notes, *self.crew.list_notes()]
        self._finish(checking.is_stopped, notes, {})
        seconds = self.results.read_seconds()
        return CheckedShard(self.results, checking.is_stopped, seconds, tuple(notes))

    def _check(self, clock: Clock) -> CaseChecking:
        checking = self.make_checking(self.crew, self.results, self.interrupts, clock)
        checking.run()
        return checking

    def _finish(self, is_stopped: bool, notes: Sequence[str], outcome: Mapping[str, Any]) -> None:
        """Write the footer of the file of results, if there is one."""
        if self.journal is not None:
            self.journal.finish(
                is_stopped=is_stopped,
                notes=notes,
                precautions=self.crew.casualties.precautions,
                outcome={"checked": len(self.results.checked), **outcome},
            )


def report_merged(
    job: Job,
    merged: Merged,
    *,
    watch: StandingWatcher | None = None,
    interrupts: Interrupts | None = None,
) -> Report:
    """Return the report on cases that were checked elsewhere. Raises CannotCheck or WorkerError.

    Raises KeyboardInterrupt if the user interrupts before the target is ready.
    """
    crew, interrupts = Crew(job, 1), interrupts or Interrupts()
    results = Results(Share().select, checked=merged.results, watch=watch)
    results.begin(merged.size, merged.drawn, sources=merged.sources)
    for known in merged.precautions:
        crew.casualties.learn(known)
    with crew, interrupts:
        reporting = Reporting(
            crew,
            results,
            interrupts,
            Clock(),
            is_stopped=not merged.is_complete,
            is_foreign=True,
            stop_reason=merged.stop_reason,
        )
        report = reporting.run()
    notes = dict.fromkeys((*report.notes, *merged.notes, *reporting.notes, *crew.list_notes()))
    return replace(report, duration_s=results.read_seconds(), notes=tuple(notes))

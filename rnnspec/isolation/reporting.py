"""Let one worker find the faults and write the report."""

from __future__ import annotations

import pickle
import time
from typing import Any

from rnnspec.engine.explanations import ENDED_EARLY
from rnnspec.errors import TargetError
from rnnspec.isolation.checking import GRACE_SECONDS
from rnnspec.isolation.crew import Crew, WorkerError
from rnnspec.isolation.ends import End, may_be_foreign
from rnnspec.isolation.interrupts import LAST_SECONDS, SEARCH_SECONDS, Interrupts
from rnnspec.isolation.member import Member
from rnnspec.isolation.messages import (
    OTHER_CASES,
    WHY_OTHER_CASES,
    Broken,
    Progressed,
    Ready,
    Reported,
    WriteReport,
)
from rnnspec.isolation.phase import Clock, Phase
from rnnspec.isolation.results import Results
from rnnspec.isolation.sources import find_change
from rnnspec.isolation.standing import describe_search
from rnnspec.isolation.unfinished import fill_report
from rnnspec.report.data import Report
from rnnspec.text import count_cases

MORE_REPORTS = 2
"""Number of repeated requests if the process may have been ended from outside."""
MOST_REPORT_DEATHS = 8
"""Number of workers that may end while they search for the faults; then the search is given up."""
MOST_LAST_REPORTS = 3
"""Number of workers that may end after that; then it counts as a bug of rnnspec."""


class Reporting(Phase):
    """The phase that searches for the faults behind the results of a run.

    is_stopped   whether the run ended before all cases were checked
    is_foreign   whether the cases were checked elsewhere, so that the target here may differ
    stop_reason  why cases are missing, if the caller knows a better reason
    """

    def __init__(
        self,
        crew: Crew,
        results: Results,
        interrupts: Interrupts,
        clock: Clock,
        *,
        is_stopped: bool,
        is_foreign: bool = False,
        stop_reason: str = "",
    ) -> None:
        super().__init__(crew, results, interrupts, clock)
        self.is_stopped = is_stopped
        self.is_foreign = is_foreign
        self.stop_reason = stop_reason
        self._deaths = 0
        self._gives_up = False
        self._report: Report | None = None
        self._known: Report | None = None
        self._explained = 0, 0

    def run(self) -> Report:
        """Let one worker find the faults, and return the report.

        The other workers end. After an interrupt, the search for faults ends early; if it does not
        end in time, the report contains only known results. Raises CannotCheck or WorkerError, or
        KeyboardInterrupt if nothing is known.
        """
        asked_at = None
        may_take = SEARCH_SECONDS if self.interrupts.count else 0.0
        self.crew.keep_one()
        while self._report is None:
            with self.interrupts.raise_at_once(not self.crew.blank):
                self.crew.start(1)
            self._request(self.crew.members[0])
            for member, event in self.crew.listen():
                self._take(member, event)
            if self.results.failing:
                self.results.report_standing(describe_search(*self._explained))
            must_end = self.interrupts.is_over(may_take) or self.clock.is_over()
            if must_end and asked_at is None and not self._gives_up:
                asked_at = time.monotonic()
                for member in self.crew.members:
                    member.stop()
            is_late = asked_at is not None and time.monotonic() - asked_at > GRACE_SECONDS
            if self._report is None and (is_late or self.interrupts.is_over(LAST_SECONDS)):
                self._report = self._report_known()
        if self._report.faults and asked_at is not None and ENDED_EARLY not in self.notes:
            self.notes.append(ENDED_EARLY)
        return self._report

    def _report_known(self) -> Report:
        """Return the report on known results. Raises KeyboardInterrupt if there are none."""
        if self._known is not None:
            return self._known
        if not self.crew.blank:
            raise KeyboardInterrupt
        return fill_report(pickle.loads(self.crew.blank), self.results.checked)

    def _request(self, member: Member) -> None:
        if member.is_idle:
            packed, precautions = self.results.list_packed(), self.crew.casualties.precautions
            choice = self.crew.choice
            member.request(
                WriteReport(
                    packed,
                    self.is_stopped,
                    precautions,
                    choice,
                    self._gives_up,
                    self.stop_reason,
                )
            )

    def _take(self, member: Member, event: Any) -> None:
        """Process an answer of a worker, or its end."""
        if isinstance(event, End):
            if isinstance(member.task, WriteReport):
                self._note_end(member, event)
        elif isinstance(event, Reported) and not event.is_final:
            self._known = pickle.loads(event.report)
        elif isinstance(event, Reported):
            member.task = None
            self._report = pickle.loads(event.report)
        elif isinstance(event, Progressed):
            self._explained = event.done, event.total
        elif isinstance(event, Ready) and self.is_foreign:
            self._check_cases(event)
        elif isinstance(event, Broken):
            if self._gives_up or not isinstance(member.task, WriteReport):
                raise WorkerError(event.traceback)
            self._give_up()

    def _check_cases(self, ready: Ready) -> None:
        """Raise TargetError if the target draws other cases here than where they were checked."""
        target, size = self.crew.job.target, self.results.size
        if ready.size != size:
            raise TargetError(
                f"{target}: it has {count_cases(ready.size)} here and had {size} where they were "
                "checked; is it the same version of it?"
            )
        changed = find_change(self.results.sources, ready.sources, is_same_machine=False)
        if changed:
            raise TargetError(
                f"{target}: {changed} has changed since the cases were checked, so their "
                "results may be those of another layer; check them anew, or merge them where the "
                "file is the same."
            )
        if self.results.drawn and ready.drawn != self.results.drawn:
            where = "than where they were checked"
            raise TargetError(f"{target}: {OTHER_CASES} {where}. {WHY_OTHER_CASES}")

    def _note_end(self, member: Member, end: End) -> None:
        """Take a precaution after the search for faults ended a worker, or give it up."""
        self._deaths += 1
        if may_be_foreign(end) and self._deaths <= MORE_REPORTS:
            return
        step, casualties = member.moment.step, self.crew.casualties
        is_new = casualties.add_step(step, end, member.precautions)
        if not is_new or self._deaths > MOST_REPORT_DEATHS:
            self._give_up()

    def _give_up(self) -> None:
        """Request the report from a new worker, without further use of the subject."""
        if self._gives_up and self._deaths > MOST_REPORT_DEATHS + MOST_LAST_REPORTS:
            raise WorkerError("no worker could write the report")
        if not self._gives_up:
            self.notes.append(ENDED_EARLY)
        self._gives_up = True
        for member in list(self.crew.members):
            self.crew.remove(member)

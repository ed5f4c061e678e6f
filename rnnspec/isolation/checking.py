"""Distribute cases over the workers of this machine."""

from __future__ import annotations

from typing import Any

from rnnspec.isolation.crew import MOST_DEATHS, Crew, WorkerError
from rnnspec.isolation.ends import End
from rnnspec.isolation.interrupts import Interrupts
from rnnspec.isolation.member import Member
from rnnspec.isolation.messages import Broken, CheckedCase, CheckRange, Done, Ready
from rnnspec.isolation.phase import CaseChecking, Clock
from rnnspec.isolation.ranges import Ranges
from rnnspec.isolation.results import Results

GRACE_SECONDS = 2.0
"""The seconds that a worker has to finish its case after an interrupt."""
LONG_SECONDS = 2.0
"""Show a step of the subject that has been running for this many seconds."""


class Checking(CaseChecking):
    """The phase of a run that checks cases in the workers of this machine.

    grace           the seconds that running cases may take after the run is stopped; after half of
                    the time they are left at their next step. With None, they are waited for as
                    usual
    ranges          the ranges to hand out, if other processes share them
    is_out_of_time  whether the run was stopped because its time was used up
    """

    def __init__(
        self,
        crew: Crew,
        results: Results,
        interrupts: Interrupts,
        clock: Clock,
        grace: float | None = GRACE_SECONDS,
        ranges: Ranges | None = None,
    ) -> None:
        super().__init__(crew, results, interrupts, clock)
        self.grace = grace
        self.ranges = Ranges() if ranges is None else ranges
        self.is_out_of_time = False

    def run(self) -> None:
        """Let the workers check all cases, or as many as time permits.

        Raises CannotCheck, WorkerError, or KeyboardInterrupt if the user interrupts before any case
        is checked.
        """
        for member in self.crew.members:
            self._begin(member.size, member.drawn)
        while not self._is_checked():
            self._look_for_reasons_to_stop()
            # A start may wait until torch is imported, and does not look for signals meanwhile.
            with self.interrupts.raise_at_once(self.results.size is None):
                self.crew.start()
            self._hand_out()
            for member, event in self.crew.listen():
                if isinstance(event, End):
                    self._replace(member, event)
                else:
                    self._take_answer(member, event)
            self._report_long_step()
            if self._is_too_late():
                return

    def _is_too_late(self) -> bool:
        """Return whether to stop waiting for cases; hurry the workers at half of the time."""
        if self.grace is None or not self.is_stopped:
            return False
        if self.has_waited(self.grace / 2):
            for member in self.crew.members:
                member.hurry()
        return self.has_waited(self.grace) or self.interrupts.count > 1

    def _report_long_step(self) -> None:
        """Show a slow step of the subject, so that the user sees why nothing happens."""
        busy = [member.read_wait() for member in self.crew.members if member.task is not None]
        step, seconds = max(busy, key=lambda each: each[1], default=("", 0.0))
        if step and seconds >= LONG_SECONDS:
            self.results.report_standing((f"{step} takes {seconds:.0f} s so far",))

    def _look_for_reasons_to_stop(self) -> None:
        if self.interrupts.count and not self.is_stopped:
            if self.results.size is None:
                raise KeyboardInterrupt
            self._stop("")
        is_over = self.clock.is_over_for_cases(some_fail=bool(self.results.failing))
        if is_over and self.results.size is not None:
            self.is_out_of_time = not self.is_stopped or self.is_out_of_time
            self._stop(describe_lack_of_time(self.clock, self.results))

    def _is_checked(self) -> bool:
        is_busy = any(member.task is not None for member in self.crew.members)
        return self.results.size is not None and not is_busy and self.ranges.is_finished

    def _hand_out(self) -> None:
        for member in self.crew.members:
            if member.is_idle and (found := self.ranges.take()) is not None:
                given = self.crew.casualties.precautions
                member.request(CheckRange(*found, given, self.crew.choice))

    def _take_answer(self, member: Member, answer: Any) -> None:
        if isinstance(answer, CheckedCase):
            self._take_result(answer)
        elif isinstance(answer, Done):
            self._take_end_of_range(member, answer)
        elif isinstance(answer, Ready):
            self._begin(answer.size, answer.drawn)
        elif isinstance(answer, Broken):
            raise WorkerError(answer.traceback)

    def _begin(self, size: int | None, drawn: str) -> None:
        """Divide the cases into ranges, to be handed out in order, unless that was done before."""
        if size is not None and self.results.size is None:
            self.results.begin(size, drawn, self.crew.choice.sizes, self.crew.sources)
            self.ranges.divide(self.results.list_missing(), self.crew.number)

    def _take_end_of_range(self, member: Member, answer: Done) -> None:
        if answer.exhausted:
            self._stop(f"the run was stopped, because {answer.exhausted}")
        if isinstance(member.task, CheckRange):
            self._put_back(answer.stop, member.task.stop)
        member.task = None
        if answer.is_worn:
            self.crew.remove(member)

    def _put_back(self, start: int, stop: int) -> None:
        """Check the rest of a range next, before all other ranges."""
        if not self.is_stopped and start < stop:
            self.ranges.put_back(start, stop)

    def _take_result(self, answer: CheckedCase) -> None:
        if not self.crew.casualties.confirm(answer.index, has_ended=answer.has_ended):
            self._put_back(answer.index, answer.index + 1)
            return
        self.results.add(answer)
        if answer.is_last:
            self._stop("")

    def _stop(self, reason: str) -> None:
        """Start no further case."""
        self.note_stop(reason)
        self.ranges.stop(reason)
        for member in self.crew.members:
            member.stop()

    def _replace(self, member: Member, end: End) -> None:
        """Record the end of a worker, and put back the rest of its task."""
        casualties, moment = self.crew.casualties, member.moment
        if isinstance(member.task, CheckRange):
            first = moment.case if moment.case is not None else self._find_next(member.task)
            if moment.case is not None:
                casualties.add_case(moment.case, moment, end, member.precautions)
            else:
                casualties.deaths += 1
            self._put_back(first, member.task.stop)
        if casualties.deaths >= MOST_DEATHS:
            self._stop(f"the run was stopped after {MOST_DEATHS} worker processes had ended")

    def _find_next(self, task: CheckRange) -> int:
        done = [
            index + 1 for index in range(task.start, task.stop) if index in self.results.checked
        ]
        return max(done, default=task.start)


def describe_lack_of_time(clock: Clock, results: Results) -> str:
    """Return a line for the report about a run that was stopped because it took too long."""
    if not results.checked:
        return (
            f"the run was stopped after {clock.max_time:g} s: no case was checked, because "
            "starting and preparing the check took the whole time; allow more with --max-time"
        )
    checked = f"{len(results.checked)} of {len(results.wanted)} cases were checked"
    return f"the run was stopped after {clock.max_time:g} s: {checked}"

"""Run a check in workers: start them, hand out cases, watch them, replace them, collect the report.

The process in which this runs uses neither the subject nor torch.

Neither of the usual libraries is used. The workers of pebble share two locks, and whoever ends
while holding one (a subject can end its process at any moment) blocks the others for a minute and
then breaks the pool. loky has no deadline for a task, and breaks the pool with every worker that
ends. Neither tells what a worker did last. Here each worker has a pipe of its own and shares
nothing but a page of memory that only it writes to.
"""

from __future__ import annotations

import pickle
import time
from collections import deque
from dataclasses import replace
from multiprocessing.connection import wait
from typing import Any

from rnnspec.errors import TargetError
from rnnspec.isolation.casualties import MOST_DEATHS, Casualties
from rnnspec.isolation.ends import End, may_be_foreign
from rnnspec.isolation.interrupts import Interrupts
from rnnspec.isolation.journal import Journal
from rnnspec.isolation.member import Member, choose_context
from rnnspec.isolation.messages import (
    Broken,
    Done,
    Job,
    Judged,
    JudgeRange,
    Ready,
    Refused,
    Reported,
    WriteReport,
)
from rnnspec.isolation.output import Output
from rnnspec.isolation.ranges import divide_cases
from rnnspec.isolation.standing import Standing, Watcher
from rnnspec.report.data import Report
from rnnspec.subjects.steps import IMPORTING, TRYING

SHARE_OF_CASES = 0.7
"""The share of the time that cases may take if some fail."""
POLL_SECONDS = 0.2
GRACE_SECONDS = 2.0
"""The seconds that a worker has to finish its case after an interrupt."""
MOST_FAILED_STARTS = 20
MORE_PREPARATIONS, MORE_REPORTS = 3, 2
"""So often is something done once more whose process may have been ended from outside."""
MOST_REPORT_DEATHS = 8
"""So many workers may end while they search for the faults, before that is given up."""
MOST_LAST_REPORTS = 3
"""So many workers may end after that, before it counts as a bug of rnnspec."""
ENDED_EARLY = (
    "the search for the faults was ended early, so causes and smallest cases may be missing"
)


class WorkerError(Exception):
    """A bug of rnnspec that showed in a worker; the message is its traceback."""


class Supervisor:
    """A run of a job in workers. Not to be used twice."""

    def __init__(
        self,
        job: Job,
        jobs: int,
        *,
        watch: Watcher | None = None,
        journal: Journal | None = None,
        max_time: float | None = None,
    ) -> None:
        self.job = job
        self.jobs = jobs
        self.watch = watch
        self.journal = journal
        self.max_time = max_time
        self.started = time.monotonic()
        self.failing = 0
        self.context = choose_context()
        self.output = Output()
        self.members: list[Member] = []
        self.ranges: deque[tuple[int, int]] = deque()
        self.has_started = False
        self.failed_starts = 0
        self.size: int | None = None
        self.begun = time.monotonic()
        self.results: dict[int, bytes] = dict(journal.results) if journal else {}
        self.casualties = Casualties()
        self.notes: list[str] = []
        self.is_stopped = False
        self.stopped_at: float | None = None
        self.interrupts = Interrupts()
        self.preparation_deaths = 0
        self.report_deaths = 0
        self.gives_up = False
        self.report: Report | None = None

    def run(self) -> Report:
        """Return the report. Raises CannotCheck, WorkerError, or KeyboardInterrupt.

        The latter if the user interrupts before anything was judged.
        """
        try:
            with self.interrupts:
                self._judge_all()
                report = self._collect_report()
        finally:
            for member in self.members:
                member.end()
            said = self.output.finish()
        duration = round(time.monotonic() - self.begun, 3)
        notes = (*report.notes, *self.notes, *self.casualties.notes, *([said] if said else []))
        found = replace(report, duration_s=duration, notes=notes)
        if self.journal is not None:
            self.journal.finish(found)
        return found

    def _start_members(self, number: int) -> None:
        """Start workers until there are so many."""
        while len(self.members) < number:
            given = self.casualties.precautions
            try:
                member = Member(
                    self.context, self.job, self.output, given, is_first=not self.has_started
                )
            except (EOFError, OSError) as error:  # the server of workers has ended
                self.failed_starts += 1
                if self.failed_starts > MOST_FAILED_STARTS:
                    raise WorkerError(f"no worker can be started: {error!r}") from error
                time.sleep(POLL_SECONDS)
                self.context = choose_context()
                continue
            self.has_started = True
            self.members.append(member)

    def _judge_all(self) -> None:
        """Let the workers judge all cases, or as many as there is time for."""
        while not self._is_judged():
            if self.interrupts.count and not self.is_stopped:
                if self.size is None:
                    raise KeyboardInterrupt
                self._stop("")
            if self._is_time_over() and self.size is not None:
                self._stop(self._describe_time())
            self._start_members(self.jobs)
            self._hand_out()
            self._listen()
            if self.stopped_at is not None and time.monotonic() - self.stopped_at > GRACE_SECONDS:
                return

    def _is_time_over(self) -> bool:
        """Return whether no more cases should be judged; the search for faults takes time too."""
        if self.max_time is None:
            return False
        share = SHARE_OF_CASES if self.failing else 1.0
        return time.monotonic() - self.started > share * self.max_time

    def _describe_time(self) -> str:
        judged = f"{len(self.results)} of {self.size} cases were judged"
        return f"the run was stopped after {self.max_time:g} s: {judged}"

    def _is_judged(self) -> bool:
        is_busy = any(member.task is not None for member in self.members)
        return self.size is not None and not self.ranges and not is_busy

    def _hand_out(self) -> None:
        for member in self.members:
            if member.is_idle and self.ranges:
                start, stop = self.ranges.popleft()
                member.request(JudgeRange(start, stop, self.casualties.precautions))

    def _listen(self) -> None:
        """Wait for answers, and for workers that end or do nothing."""
        ready = set(wait([each for one in self.members for each in one.waitables], POLL_SECONDS))
        for member in list(self.members):
            if member not in self.members:
                continue
            if not ready.isdisjoint(member.waitables):
                self._receive_all(member)
            elif (hang := member.find_hang()) is not None:
                member.end()
                self._replace(member, hang)

    def _receive_all(self, member: Member) -> None:
        try:
            while member in self.members and (answer := member.receive()) is not None:
                self._take_answer(member, answer)
            has_ended = member.process.exitcode is not None
        except EOFError:
            has_ended = True
        if has_ended and member in self.members:
            self._replace(member, member.read_end())

    def _take_answer(self, member: Member, answer: Any) -> None:
        if isinstance(answer, Judged):
            self._take_result(answer)
        elif isinstance(answer, Done):
            self._take_end_of_range(member, answer)
        elif isinstance(answer, Ready):
            member.size = answer.size
            self._divide(answer.size)
        elif isinstance(answer, Refused):
            raise answer.error
        elif isinstance(answer, Reported):
            member.task = None
            self.report = pickle.loads(answer.report)
        elif isinstance(answer, Broken):
            if self.gives_up or not isinstance(member.task, WriteReport):
                raise WorkerError(answer.traceback)
            self._give_up()

    def _take_end_of_range(self, member: Member, answer: Done) -> None:
        if answer.exhausted:
            self._stop(f"the run was stopped, because {answer.exhausted}")
        if isinstance(member.task, JudgeRange):
            self._put_back(answer.stop, member.task.stop)
        member.task = None
        if answer.is_worn:
            self.members.remove(member)
            member.end()

    def _put_back(self, start: int, stop: int) -> None:
        """Have the rest of a range judged, before all others."""
        if not self.is_stopped and start < stop:
            self.ranges.appendleft((start, stop))

    def _take_result(self, answer: Judged) -> None:
        if not self.casualties.confirm(answer.index, has_ended=answer.has_ended):
            self._put_back(answer.index, answer.index + 1)
            return
        self.results[answer.index] = answer.result
        if self.journal is not None:
            self.journal.add(answer)
        if answer.is_last:
            self._stop("")
        self.failing += bool(answer.failed)
        if self.watch is not None and self.size is not None:
            seconds = time.monotonic() - self.begun
            self.watch(Standing(len(self.results), self.size, self.failing, seconds))

    def _divide(self, size: int) -> None:
        """Divide the cases into ranges, which are handed out in order."""
        if self.size is not None:
            return
        self.size, self.begun = size, time.monotonic()
        if self.journal is not None:
            self.journal.begin(size)
        self.ranges.extend(divide_cases(size, self.jobs, self.results))

    def _stop(self, reason: str) -> None:
        """Judge no further case."""
        if not self.is_stopped:
            self.notes += [reason] if reason else []
            self.is_stopped, self.stopped_at = True, time.monotonic()
        self.ranges.clear()
        for member in self.members:
            member.stop()

    def _replace(self, member: Member, end: End) -> None:
        """Take note of the end of a worker, and let another one do what it had to do."""
        self.members.remove(member)
        moment, task = member.moment, member.task
        if member.size is None:
            self._note_end_of_preparation(member, end)
        elif isinstance(task, JudgeRange):
            first = moment.case if moment.case is not None else self._find_next(task)
            if moment.case is not None:
                self.casualties.add_case(moment.case, moment, end, member.precautions)
            else:
                self.casualties.deaths += 1
            self._put_back(first, task.stop)
        elif isinstance(task, WriteReport):
            self._note_end_of_report(member, end)
        if self.casualties.deaths >= MOST_DEATHS:
            self._stop(f"the run was stopped after {MOST_DEATHS} worker processes had ended")

    def _note_end_of_preparation(self, member: Member, end: End) -> None:
        """Raise TargetError if the target cannot be prepared for a check.

        A process can be ended from outside, so what may be that is tried a few times more.
        """
        step = member.moment.step
        self.preparation_deaths += 1
        if may_be_foreign(end) and self.preparation_deaths <= self.jobs + MORE_PREPARATIONS:
            return
        given = member.precautions
        is_new = self.casualties.add_step(step, end, given)
        is_new = is_new or self.casualties.add_feature(step or TRYING, given)
        what = step or "preparing the check"
        if step.startswith(IMPORTING) or not is_new:
            raise TargetError(f"{self.job.target}: {what} {end.cause}")
        note = f"before any case was judged, {what} {end.cause}"
        self.notes += [note] if note not in self.notes else []

    def _note_end_of_report(self, member: Member, end: End) -> None:
        """Have the step that ended the search for faults tried, or give the search up."""
        self.report_deaths += 1
        if may_be_foreign(end) and self.report_deaths <= MORE_REPORTS:
            return
        is_new = self.casualties.add_step(member.moment.step, end, member.precautions)
        if not is_new or self.report_deaths > MOST_REPORT_DEATHS:
            self._give_up()

    def _find_next(self, task: JudgeRange) -> int:
        done = [index + 1 for index in range(task.start, task.stop) if index in self.results]
        return max(done, default=task.start)

    def _collect_report(self) -> Report:
        """Let one worker find the faults, and return the report.

        The other workers end. After a further interrupt the search for faults ends early.
        """
        noted, asked_at = self.interrupts.count, None
        kept = next((member for member in self.members if member.is_idle), None)
        for member in [each for each in self.members if each is not kept]:
            self.members.remove(member)
            member.end()
        while self.report is None:
            self._start_members(1)
            (member,) = self.members
            if member.is_idle:
                results = list(self.results.values())
                precautions = self.casualties.precautions
                member.request(WriteReport(results, self.is_stopped, precautions, self.gives_up))
            self._listen()
            is_late = self.max_time and time.monotonic() - self.started > self.max_time
            must_end = self.interrupts.count > noted or is_late
            if must_end and asked_at is None and not self.gives_up:
                asked_at = time.monotonic()
                member.stop()
            if asked_at is not None and time.monotonic() - asked_at > GRACE_SECONDS:
                asked_at, noted = None, self.interrupts.count
                self._give_up()
        return self.report

    def _give_up(self) -> None:
        """Ask a new worker for the report without another use of the subject."""
        if self.gives_up and self.report_deaths > MOST_REPORT_DEATHS + MOST_LAST_REPORTS:
            raise WorkerError("no worker could write the report")
        if not self.gives_up:
            self.notes.append(ENDED_EARLY)
        self.gives_up = True
        for member in list(self.members):
            self.members.remove(member)
            member.end()

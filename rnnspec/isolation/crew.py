"""The workers of a run, for any kind of task: start them, receive their answers, and replace them.

Two common libraries were considered. The workers of pebble share two locks: a worker that ends
while it holds one (and a subject can end its process at any moment) blocks the others for a minute
and then breaks the pool. loky has no deadline for a task, and any worker that ends breaks the pool.
Neither reports the last action of a worker. Here each worker has its own pipe, and shares only a
page of memory that no other worker writes to.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from typing import Any

from rnnspec.errors import TargetError
from rnnspec.isolation.announcement import Moment
from rnnspec.isolation.ends import MEMORY_USED_UP, WHOLE_CASE, End, may_be_foreign
from rnnspec.isolation.member import Member, choose_context
from rnnspec.isolation.messages import Job, Precautions, Ready, RunRefused, Sampling
from rnnspec.isolation.output import Output
from rnnspec.isolation.sources import Sources, find_change
from rnnspec.subjects.steps import StepKind

MOST_DEATHS = 60
"""Number of ended workers after which no more cases are checked."""


@dataclass(frozen=True)
class Death:
    """The end of a worker in a case."""

    step: str
    end: End

    def __str__(self) -> str:
        return f"{self.step} {self.end.cause}"


@dataclass
class Casualties:
    """A record of the workers that ended.

    deaths  the number of workers that ended while they checked a case
    notes   lines for the report, about ends that did not happen again
    """

    deaths: int = 0
    notes: list[str] = field(default_factory=list)
    _tried: set[str] = field(default_factory=set)
    _always_tried: set[str] = field(default_factory=set)
    _fatal: dict[int, Death] = field(default_factory=dict)
    _suspects: dict[int, Death] = field(default_factory=dict)
    _attempts: Counter[int] = field(default_factory=Counter)
    _is_slow: bool = False
    _tries_none: bool = False

    @property
    def precautions(self) -> Precautions:
        """The precautions for new requests."""
        fatal = {index: (each.step, each.end.cause) for index, each in self._fatal.items()}
        tried, always = frozenset(self._tried), frozenset(self._always_tried)
        return Precautions(tried, always, fatal, self._is_slow, self._tries_none)

    def add_step(self, step: str, end: End, given: Precautions) -> bool:
        """Try a step in a fork from now on, and return whether this is a new precaution.

        If the step was tried already, it is tried every time from now on.
        """
        self._is_slow |= end.is_hang
        if not step or step in given.always_tried:
            return False
        if step in given.tried:
            self._always_tried.add(step)
        self._tried.add(step)
        return True

    def add_feature(self, kind: StepKind, given: Precautions) -> bool:
        """Stop trying optional features, and return whether this is a new precaution."""
        is_new = kind is StepKind.TRIAL and not given.tries_none
        self._tries_none |= is_new
        return is_new

    def add_case(self, index: int, moment: Moment, end: End, given: Precautions) -> None:
        """Record a worker that ended in a case.

        If the process may have been ended from outside, the case is repeated once without any
        precaution.
        """
        self.deaths += 1
        self._attempts[index] += 1
        death = Death(moment.step or WHOLE_CASE, end)
        self._suspects[index] = death
        if may_be_foreign(end) and self._attempts[index] == 1:
            return
        if not self.add_step(moment.step, end, given):
            self._fatal[index] = death

    def add_hang(self, index: int, step: str, end: End) -> bool:
        """Never run a step again in a case, and return whether this is a new precaution."""
        is_new = index not in self._fatal
        self._fatal[index] = Death(step, end)
        return is_new

    def confirm(self, index: int, *, has_ended: bool) -> bool:
        """Return whether the result of a case can be used.

        It cannot if the case ended a worker by a fault before and does not show the fault any more.
        """
        death = self._suspects.pop(index, None)
        if death is None or has_ended:
            return True
        if death.end.is_fault:
            self._fatal[index] = death
            return False
        self.notes.append(
            f"in case {index}, {death}, but not when the case was checked once more; "
            "the second result counts"
        )
        return True

    def learn(self, known: Precautions) -> None:
        """Adopt precautions found necessary on other machines, except those for single cases."""
        self._tried |= known.tried
        self._always_tried |= known.always_tried
        self._is_slow |= known.is_slow
        self._tries_none |= known.tries_none


POLL_SECONDS = 0.2
MOST_FAILED_STARTS = 20
MORE_PREPARATIONS = 3
"""Number of extra preparations of the target if its process may have been ended from outside."""


class WorkerError(Exception):
    """A bug of rnnspec that occurred in a worker; the message is its traceback."""


class Crew:
    """The workers of a run.

    Output of the target at import counts once per run. If you pass `counts_imports=False`, it is
    counted elsewhere.

    number      the number of workers while cases are checked
    members     the workers that have not ended
    casualties  the record of the workers that have ended
    notes       lines for the report, about steps that ended workers before any case was checked
    choice      how cases are chosen; the first worker that is ready decides for all
    sources     the source files of the target, from the first worker that is ready
    blank       the pickled report on no case, from the first worker that is ready
    """

    def __init__(self, job: Job, number: int, *, counts_imports: bool = True) -> None:
        self.job = job
        self.number = number
        self.context = choose_context(job.is_task)
        self.output = Output()
        self.members: list[Member] = []
        self.casualties = Casualties()
        self.notes: list[str] = []
        self.choice = Sampling("")
        self.sources: Sources = {}
        self.blank = b""
        self._has_started = not counts_imports
        self._failed_starts = 0
        self._preparation_deaths = 0
        self._said = ""

    def start(self, number: int | None = None) -> None:
        """Start workers until there are `self.number`, or `number`. Raises WorkerError."""
        while len(self.members) < (self.number if number is None else number):
            given = self.casualties.precautions
            try:
                member = Member(
                    self.context, self.job, self.output, given, is_first=not self._has_started
                )
            except (EOFError, OSError) as error:  # the server of workers has ended
                self._failed_starts += 1
                if self._failed_starts > MOST_FAILED_STARTS:
                    raise WorkerError(f"no worker can be started: {error!r}") from error
                time.sleep(POLL_SECONDS)
                self.context = choose_context(self.job.is_task)
                continue
            self._has_started = True
            # Count only failures in a row: in a long run, the server may end now and then.
            self._failed_starts = 0
            self.members.append(member)

    def listen(self) -> Iterator[tuple[Member, Any]]:
        """Wait briefly, and yield each answer, or the End of a worker, together with its worker.

        A worker has already left the crew when its End is yielded. Raises CannotCheck if nothing
        can be checked.
        """
        ready = set(wait([each for one in self.members for each in one.waitables], POLL_SECONDS))
        for member in list(self.members):
            if member not in self.members:
                continue
            if not ready.isdisjoint(member.waitables):
                yield from self._receive_all(member)
            elif (hang := member.find_hang()) is not None:
                yield from self._lose(member, hang)

    def _receive_all(self, member: Member) -> Iterator[tuple[Member, Any]]:
        try:
            while member in self.members and (answer := member.receive()) is not None:
                if isinstance(answer, RunRefused):
                    raise self._complete_refusal(answer.error)
                if isinstance(answer, Ready):
                    self._take_ready(member, answer)
                yield member, answer
            has_ended = member.process.exitcode is not None
        except EOFError:
            has_ended = True
        if has_ended and member in self.members:
            yield from self._lose(member, member.read_end())

    def _take_ready(self, member: Member, ready: Ready) -> None:
        """Record a worker that is ready. Raises TargetError if its target has other sources."""
        member.size, member.drawn = ready.size, ready.drawn
        self.choice = self.choice if self.choice.sizes else ready.choice
        self.sources = self.sources or ready.sources
        self.blank = self.blank or ready.blank
        if changed := find_change(self.sources, ready.sources):
            raise TargetError(
                f"{self.job.target}: {changed} was changed during the run; start anew"
            )

    def _lose(self, member: Member, end: End) -> Iterator[tuple[Member, Any]]:
        self.remove(member)
        if member.size is None:
            self._note_end_of_preparation(member, end)
        yield member, end

    def _note_end_of_preparation(self, member: Member, end: End) -> None:
        """Raise TargetError if the target cannot be prepared for a check.

        If the process may have been ended from outside, preparation is repeated a few times first.
        """
        step, kind = member.moment.step, member.moment.kind
        self._preparation_deaths += 1
        if may_be_foreign(end) and self._preparation_deaths <= self.number + MORE_PREPARATIONS:
            return
        given = member.precautions
        is_new = self.casualties.add_step(step, end, given)
        if end.is_hang and member.moment.case is not None:  # the case of a task
            is_new |= self.casualties.add_hang(member.moment.case, step, end)
        is_new = is_new or self.casualties.add_feature(kind if step else StepKind.TRIAL, given)
        what = step or "preparing the check"
        if kind is StepKind.IMPORT or not is_new:
            raise TargetError(f"{self.job.target}: {what} {end.cause}{self._suggest_limit(end)}")
        when = "" if self.job.is_task else "before any case was checked, "
        note = f"{when}{what} {end.cause}"
        self.notes += [note] if note not in self.notes else []

    def _complete_refusal(self, error: Exception) -> Exception:
        """Add a suggestion to the reason why nothing can be checked, if a step was slow."""
        if not isinstance(error, TargetError) or not self.casualties.precautions.is_slow:
            return error
        return type(error)(f"{error.message.rstrip('.')}. {self._suggest_timeout()}", error.option)

    def _suggest_timeout(self) -> str:
        return f"If it needs longer, try --timeout {2 * self.job.timeout:g}."

    def _suggest_limit(self, end: End) -> str:
        """Suggest a higher limit if the worker reached one; otherwise return an empty string."""
        memory = self.job.memory
        if end.is_hang:
            return f". {self._suggest_timeout()}"
        if end.cause != MEMORY_USED_UP or memory is None:
            return ""
        return f", of which it may allocate {memory} MiB; try --memory {2 * memory}"

    def remove(self, member: Member) -> None:
        """End a worker."""
        self.members.remove(member)
        member.end()

    def keep_one(self) -> None:
        """End all workers except one that is idle, if there is one."""
        kept = next((member for member in self.members if member.is_idle), None)
        for member in [each for each in self.members if each is not kept]:
            self.remove(member)

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *exception: object) -> None:
        """End all workers, and collect the target's output."""
        for member in list(self.members):
            self.remove(member)
        self._said = self.output.finish()

    def list_notes(self) -> list[str]:
        """Return lines for the report. Call it after the workers have ended."""
        return [*self.notes, *self.casualties.notes, *([self._said] if self._said else [])]

"""Watch the subject's steps in a worker, and try dangerous steps in a forked process first.

A step that ended a worker is tried in a forked process from then on. If that process ends, or does
not return in time, the step raises `Ended` and does not run in the worker. Only subjects that crash
pay for this, and the rules see a crash as an ordinary failure of a step.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any
from zlib import crc32

from rnnspec.isolation.announcement import NO_CASE, Announcement, begin_step, read_moment
from rnnspec.isolation.ends import CLOSED_FILES, End, describe_exit, describe_hang
from rnnspec.isolation.limits import end_group, end_with_parent, lead_group
from rnnspec.isolation.messages import Precautions
from rnnspec.isolation.output import redirect_output
from rnnspec.subjects.failures import Ended, Failure, LeftOut
from rnnspec.subjects.functions import read_functions, write_functions
from rnnspec.subjects.steps import USING_RESULTS, Interrupted, StepKind

SHORTEST_WAIT = 0.5
"""Shortest limit for a step, in seconds, after a step has hung or failed slowly.

If the user set a short timeout, the shortest limit is a tenth of it, if that is less.
"""
SLOWER = 20.0
"""After a step has hung or failed slowly, the limit is this multiple of a step's longest time."""
USUAL_STEP = 0.25
"""The assumed duration of a step that has not run before, in seconds."""
SLOW_FAILURE = 1.0
"""A failed step that took longer than this many seconds counts as waiting time."""
MOST_SLOW = 1
"""In a case, a step that has failed slowly this often, and never returned, is not run again."""
PATIENCE = 20.0
"""Total number of seconds spent waiting for steps that fail in the end."""
POLL = 0.05
NEEDED_MODULES = (__name__, "numpy", "torch")
"""Modules that a worker needs in `sys.modules`; they are put back if the subject removes them."""


class Guard:
    """Watches the steps of the subject in one worker.

    has_ended  whether a step in the current case ended a process or did not return
    is_left    whether the current case was left because the run has to end
    is_task    whether a task announces its cases, as texts; see `begin_case`
    waited     the seconds spent on steps that did not return, or failed slowly
    """

    def __init__(
        self,
        shared: Announcement,
        connection: Connection,
        timeout: float,
        *,
        can_fork: bool,
        is_task: bool = False,
    ) -> None:
        self.shared = shared
        self.connection = connection
        self.timeout = timeout
        self.can_fork = can_fork and hasattr(os, "fork")
        self.is_task = is_task
        self.precautions = Precautions()
        self.has_ended = False
        self.is_left = False
        self.waited = 0.0
        self._is_reporting = False
        self._gives_up = False
        self._longest: dict[str, float] = {}
        self._modules = dict(sys.modules)
        self._search_path = list(sys.path)
        self._functions = read_functions()
        self._process = os.getpid()
        self._file = _identify_file(connection)
        self._open: list[tuple[str, StepKind, float]] = []
        self._slow: Counter[str] = Counter()
        self._case: object = None
        self._children: list[int] = []
        self._passed: set[str] = set()
        self._returned: set[str] = set()
        self._deadly: set[str] = set()
        self._met: set[int] = set()
        self._count = 0
        self._errors: dict[str, BaseException] = {}
        self._trial: tuple[int, Connection] | None = None

    def take(self, precautions: Precautions) -> None:
        """Use these precautions from now on."""
        self.precautions = precautions

    def begin_index(self, index: int) -> None:
        """Announce the index of the case that is checked from now on."""
        self.has_ended = False
        self.is_left = False
        self.shared.case = index
        begin_step(self.shared, "")

    def end_index(self) -> None:
        """Announce that no case is being checked."""
        self.shared.case = NO_CASE

    def begin_case(self, case: object) -> None:
        """Forget which steps passed, returned or were slow if the case is a new one.

        The case of a task gets a number by its text and its place, as in every other worker.
        """
        if self.is_task and isinstance(case, str):
            self._count += 1
            self.shared.case = crc32(f"{self._count} {case}".encode())
        if case != self._case:
            self._case = case
            for known in (self._slow, self._passed, self._returned):
                known.clear()

    def begin_report(self, *, gives_up: bool) -> None:
        """Reset the waiting time. From now on, steps are interrupted if the user wishes to stop.

        If you set `gives_up`, all steps are interrupted.
        """
        self.waited = 0.0
        self._is_reporting = True
        self._gives_up = gives_up
        self._slow.clear()

    @contextmanager
    def refuse_steps(self) -> Iterator[None]:
        """Interrupt every step while the context is active."""
        before, self._gives_up = self._gives_up, True
        try:
            yield
        finally:
            self._gives_up = before

    @property
    def is_exhausted(self) -> bool:
        """Whether the time for waiting is used up."""
        return self.waited > PATIENCE

    def enter(self, step: str, kind: StepKind) -> None:
        """Announce a step, and try it in a fork first if necessary.

        Raises Ended if the trial does not return, and Interrupted if the search for faults is over.
        """
        self._raise_if_over()
        self._raise_if_fatal(step)
        if self._slow[step] >= MOST_SLOW:
            raise self._errors[step]
        if kind is StepKind.TRIAL:
            self._leave_out(step)
        begin_step(self.shared, step, kind)
        if self._is_to_be_tried(step):
            self._try(step, kind)
            self._passed.add(step)
        self._open.append((step, kind, time.monotonic()))

    def _raise_if_fatal(self, step: str) -> None:
        """Raise Ended if the step did not return in this case of a task, in an earlier worker."""
        index = int(self.shared.case)
        known = self.precautions.fatal.get(index) if self.is_task else None
        if known is not None and known[0] == step:
            self._met.add(index)
            self.has_ended = True
            raise Ended(*known)

    def _leave_out(self, step: str) -> None:
        """Raise Ended if a trial must not run, because it ended a worker that could not fork."""
        if not self.can_fork and step in self.precautions.tried:
            raise Ended(step, "ended a process")
        if self.precautions.tries_none:
            raise LeftOut(step)

    def _raise_if_over(self) -> None:
        """Raise Interrupted if no further steps are allowed."""
        is_over = self._is_reporting and (self.is_exhausted or self.shared.must_stop)
        if self._gives_up or is_over or self.shared.must_hurry:
            self.is_left = True
            raise Interrupted

    def _is_to_be_tried(self, step: str) -> bool:
        """Return whether a step must be tried: every time, or at its first use in a case."""
        if self._trial is not None or not self.can_fork:
            return False
        is_always = step in self._deadly or step in self.precautions.always_tried
        return is_always or (step in self.precautions.tried and step not in self._passed)

    def leave(self, error: BaseException | None) -> None:
        """Announce the end of a step. A trial reports that the step returned, and ends."""
        self._repair()
        step, _, begun = self._open.pop()
        if self._trial is not None and self._trial[0] == len(self._open):
            _end_trial(self._trial[1])
        seconds = time.monotonic() - begun
        if error is None:
            self._returned.add(step)
            self._longest[step] = max(self._longest.get(step, 0.0), seconds)
        elif seconds > SLOW_FAILURE and not isinstance(error, Failure) and step != USING_RESULTS:
            self._count_slow(step, seconds, error)
        self._announce_outer()

    def _repair(self) -> None:
        """Undo changes that would keep this process from answering, or end while the step is known.

        If the subject forked this process and did not end the copy, the copy ends here.
        """
        if os.getpid() != self._process:
            os._exit(0)
        if read_functions() != self._functions:
            write_functions(self._functions)
        if any(sys.modules.get(name) is not self._modules.get(name) for name in NEEDED_MODULES):
            sys.modules.update(self._modules)
        # With a cleared path, this process could not import anything more, and would end.
        if sys.path != self._search_path:
            sys.path.extend(each for each in self._search_path if each not in sys.path)
        if _identify_file(self.connection) != self._file:
            os._exit(CLOSED_FILES)

    def _announce_outer(self) -> None:
        step, kind, _ = self._open[-1] if self._open else ("", StepKind.USE, 0.0)
        begin_step(self.shared, step, kind)

    def _count_slow(self, step: str, seconds: float, error: BaseException) -> None:
        # A call can be slow by chance, as on a loaded machine, so a step that has returned in this
        # case is always run again.
        self.waited += seconds
        self.precautions = replace(self.precautions, is_slow=True)
        if step not in self._returned:  # otherwise it fails in some situations only
            self._slow[step] += 1
            self._errors[step] = error

    def _try(self, step: str, kind: StepKind) -> None:
        """Fork. Return in the child, and return in the parent once the child has left the step."""
        reader, writer = get_context("spawn").Pipe(duplex=False)
        try:
            child = os.fork()
        except OSError:  # there is no memory for another process
            return
        if child == 0:
            self._process = os.getpid()
            self._trial = (len(self._open), writer)
            _become_trial()
            return
        writer.close()
        begun = time.monotonic()
        try:
            end = self._await(step, child, reader)
        finally:
            end_group(child)
        reader.close()
        inner = read_moment(self.shared).step
        begin_step(self.shared, step, kind)
        if end is None:
            return
        if inner and inner != step:  # an inner step is at fault, so try that step instead
            self._deadly.add(inner)
            return
        self._announce_outer()
        self.has_ended = True
        ended = Ended(step, end.cause)
        if end.is_hang:
            self._count_slow(step, time.monotonic() - begun, ended)
        raise ended

    def _await(self, step: str, child: int, reader: Connection) -> End | None:
        """Return how the trial of a step ended, or None if it left the step."""
        limit = self._choose_limit(step)
        deadline = time.monotonic() + limit
        while not reader.poll(POLL):
            self._raise_if_over()
            done, status = os.waitpid(child, os.WNOHANG)
            if done and not reader.poll(0):
                return describe_exit(os.waitstatus_to_exitcode(status))
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return describe_hang(limit)
        has_returned = False
        with suppress(EOFError, OSError):
            has_returned = bool(reader.recv_bytes())
        if has_returned:
            self._reap(child)
            return None
        _, status = os.waitpid(child, 0)
        return describe_exit(os.waitstatus_to_exitcode(status))

    def _reap(self, child: int) -> None:
        """Wait for the processes of trials that returned; the last may still be ending."""
        self._children.append(child)
        self._children = [each for each in self._children if not os.waitpid(each, os.WNOHANG)[0]]

    def _choose_limit(self, step: str) -> float:
        # Until the case that made an earlier worker hang, calls may take as long as there.
        is_before = self.is_task and len(self._met) < len(self.precautions.fatal)
        if not self.precautions.is_slow or is_before:
            return self.timeout
        usual = SLOWER * self._longest.get(step, USUAL_STEP)
        return min(self.timeout, max(usual, min(SHORTEST_WAIT, self.timeout / 10)))


def _identify_file(connection: Connection) -> tuple[int, int] | None:
    """Return the device and inode number of a connection's file, or None if it is closed.

    They differ if the subject has put another file in its place.
    """
    try:
        found = os.fstat(connection.fileno())
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _end_trial(writer: Connection) -> None:
    try:
        writer.send_bytes(b"returned")
    except OSError:
        os._exit(CLOSED_FILES)
    os._exit(0)


def _become_trial() -> None:
    """Turn this process into a trial of a step, without output and with a single thread.

    The threads of OpenMP do not exist in a forked process, so waiting for them would never end.
    """
    end_with_parent()
    lead_group()
    redirect_output(None)
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() > 1:
        torch.set_num_threads(1)

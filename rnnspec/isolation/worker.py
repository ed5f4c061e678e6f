"""The process in which a subject is used: it prepares the suite, judges cases, and reports."""

from __future__ import annotations

import os
import pickle
import signal
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from rnnspec.errors import CannotCheck
from rnnspec.isolation.announcement import Announcement
from rnnspec.isolation.limits import end_with_parent, limit_memory
from rnnspec.isolation.messages import (
    Broken,
    Done,
    Job,
    Judged,
    JudgeRange,
    Precautions,
    Ready,
    Refused,
    Reported,
    WriteReport,
)
from rnnspec.isolation.output import redirect_output

# What imports torch is imported in the process of the worker only, inside functions.
if TYPE_CHECKING:
    from rnnspec.engine.outcome import CaseResult
    from rnnspec.isolation.guard import Guard

WHOLE_CASE = "judging the case"
"""What a process ended in if it was no step of the subject."""


@dataclass(frozen=True)
class Start:
    """How a worker is started.

    is_first     whether what the subject prints on import counts, which is once
    environment  the environment variables of the process that starts it
    """

    is_first: bool
    environment: dict[str, str]


def set_environment(variables: Mapping[str, str]) -> None:
    """Give this process these environment variables and no others."""
    for name in os.environ.keys() - variables.keys():
        del os.environ[name]
    os.environ.update(variables)


def serve(
    connection: Connection,
    output: Connection,
    shared: Announcement,
    job: Job,
    precautions: Precautions,
    start: Start,
) -> None:
    """Answer the requests that come on a connection until it is closed.

    `output` is the pipe for what the subject prints.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    set_environment(start.environment)
    redirect_output(output if start.is_first else None)

    from rnnspec.isolation.guard import Guard
    from rnnspec.subjects.steps import set_watcher

    guard = Guard(shared, job.timeout, can_fork=job.device.startswith("cpu"))
    guard.take(precautions)
    set_watcher(guard)
    try:
        worker = Worker(connection, job, guard)
        redirect_output(output)
        limit_memory(job.memory)
        worker.answer_requests()
    except CannotCheck as error:
        connection.send(Refused(error))
    except (EOFError, OSError):  # nobody listens any more
        return
    except BaseException:
        connection.send(Broken(traceback.format_exc()))


class Worker:
    """A suite that is judged on request. Raises CannotCheck if nothing can be checked."""

    def __init__(self, connection: Connection, job: Job, guard: Guard) -> None:
        from rnnspec.engine.outcome import Progress, Tally
        from rnnspec.pipeline import list_scored_levels

        self.connection = connection
        self.job = job
        self.guard = guard
        self.suite, self.notes = job.prepare(*job.arguments)
        levels = list_scored_levels(job.strict) if job.fail_fast else ()
        self.until = {rule.id for rule in self.suite.rules if rule.level in levels}
        self.empty = lambda: Progress({rule.id: Tally() for rule in self.suite.rules})
        self.progress: Progress[Any] = self.empty()
        self.highest = -1

    def answer_requests(self) -> None:
        """Answer one request after the other. Raises EOFError if there are no more."""
        self.connection.send(Ready(self.suite.size))
        while True:
            request = self.connection.recv()
            self.guard.take(request.precautions)
            if isinstance(request, JudgeRange):
                self._judge(request)
            else:
                self._report(request)

    def _judge(self, request: JudgeRange) -> None:
        stop = request.stop
        for index, case in self.suite.draw_cases(request.start, request.stop):
            if self.guard.shared.must_stop or self.guard.is_exhausted:
                stop = index
                break
            result = self._judge_case(index, case, request.precautions)
            is_last = not self.until.isdisjoint(result.failed)
            kept = self._drop_findings(result)
            self.connection.send(
                Judged(index, pickle.dumps(kept), is_last, has_ended=self.guard.has_ended)
            )
            if is_last:
                stop = index + 1
                break
        exhausted = ""
        if self.guard.is_exhausted:
            waited = f"{self.guard.waited:.0f} s"
            exhausted = f"steps of the target that failed in the end took {waited}"
        self.connection.send(Done(stop, exhausted))

    def _judge_case(self, index: int, case: Any, precautions: Precautions) -> CaseResult[Any]:
        from rnnspec.engine.campaign import block_case, judge_one_case
        from rnnspec.subjects.failures import Ended, Raised

        self.guard.begin_case(index)
        try:
            if index in precautions.fatal:
                self.guard.has_ended = True
                step, cause = precautions.fatal[index]
                return block_case(self.suite, index, case, Ended(step, cause))
            return judge_one_case(self.suite, index, case)
        except BaseException as error:
            return block_case(self.suite, index, case, Raised(WHOLE_CASE, error))
        finally:
            self.guard.end_case()

    def _drop_findings(self, result: CaseResult[Any]) -> CaseResult[Any]:
        """Return a result without findings that the report will not need.

        Only the findings of the first cases are needed, so all are kept if the cases do not come
        in order.
        """
        is_in_order, self.highest = result.index > self.highest, max(self.highest, result.index)
        is_kept = self.progress.add(result)
        return result if is_kept or not is_in_order else replace(result, failing=None)

    def _report(self, request: WriteReport) -> None:
        from rnnspec.pipeline import report_progress

        self.guard.begin_report(gives_up=request.gives_up)
        progress = self.empty()
        for result in sorted(map(pickle.loads, request.results), key=lambda each: each.index):
            progress.add(result)
        progress.stopped = request.is_stopped
        report = report_progress(
            self.suite,
            progress,
            strict=self.job.strict,
            fail_fast=self.job.fail_fast,
            notes=self.notes,
        )
        self.connection.send(Reported(pickle.dumps(report)))

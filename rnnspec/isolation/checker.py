"""The work of a worker: prepare a suite, check cases, and find the faults for the report."""

from __future__ import annotations

import pickle
from collections.abc import Collection, Iterable
from dataclasses import replace
from hashlib import sha256
from multiprocessing.connection import Connection
from typing import Any

from rnnspec.contract.clauses import Level
from rnnspec.engine.campaign import Watcher, block_case, check_one_case
from rnnspec.engine.outcome import CaseResult, FindingKind, Progress, Tally
from rnnspec.engine.suite import Suite
from rnnspec.isolation.ends import WHOLE_CASE
from rnnspec.isolation.guard import Guard
from rnnspec.isolation.limits import is_memory_short
from rnnspec.isolation.messages import (
    CheckedCase,
    CheckRange,
    Done,
    Job,
    Precautions,
    Progressed,
    Ready,
    Reported,
    Sampling,
    WriteReport,
    pack,
    unpack,
)
from rnnspec.isolation.sources import read_sources
from rnnspec.isolation.unfinished import Blank
from rnnspec.options import SizeSource
from rnnspec.pipeline import report_progress
from rnnspec.report.data import Report
from rnnspec.rulekit.selection import AnyRule
from rnnspec.subjects.failures import Ended, Raised

IDENTIFYING = 40
"""Number of cases used to decide whether two processes draw the same cases."""


class Checker:
    """Checks a suite on request. The constructor raises CannotCheck if nothing can be checked."""

    def __init__(self, connection: Connection, job: Job, guard: Guard) -> None:
        self.connection = connection
        self.job = job
        self.guard = guard
        self.suite, self.notes = job.prepare(*job.arguments)
        self.until = list_ending_rules(self.suite.rules, job.scored, fail_fast=job.fail_fast)
        self.packer = ResultPacker(self.suite)

    def answer_requests(self) -> None:
        """Answer requests one by one. Raises EOFError when there are no more."""
        drawn = self._identify_cases() if self.job.is_shared else ""
        own = Sampling(self.suite.sizes.value, self.suite.remarks)
        recorded = self.job.is_recorded
        sources = read_sources(str(self.job.arguments[0])) if recorded else {}
        blank = pickle.dumps(self._make_blank())
        self.connection.send(Ready(self.suite.size, own, drawn, sources, blank))
        while True:
            request = self.connection.recv()
            self.guard.take(request.precautions)
            self._take_choice(request.choice)
            if isinstance(request, CheckRange):
                self._check(request)
            else:
                self._report(request)

    def _make_blank(self) -> Blank:
        progress = begin_progress(self.suite)
        # Without a missing feature, nearly every rule applies to some case.
        progress.ends_now = not self.suite.unsupported
        with self.guard.refuse_steps():
            report = self._make_report(progress, is_stopped=True)
        conditions = {rule.id: rule.when.text for rule in self.suite.rules}
        return Blank(report, self.suite.profile.minimum, conditions)

    def _identify_cases(self) -> str:
        """Return a text that is equal in two processes if they draw the same cases."""
        # Hypothesis also draws constants that it finds in loaded modules, so machines may differ.
        drawn = [str(each) for each in self.suite.draw_cases(0, IDENTIFYING)]
        return sha256("\n".join(drawn).encode()).hexdigest()[:16]

    def _take_choice(self, choice: Sampling) -> None:
        """Choose cases as the first worker decided, whatever this worker measured."""
        sizes = SizeSource(choice.sizes)
        if sizes is not self.suite.sizes or choice.remarks != self.suite.remarks:
            self.suite = replace(self.suite, sizes=sizes, remarks=choice.remarks)

    def _check(self, request: CheckRange) -> None:
        for index, case in self.suite.draw_cases(request.start, request.stop):
            if self.guard.shared.must_stop:
                break
            result = self._check_case(index, case, request.precautions)
            is_last = not self.until.isdisjoint(result.failed)
            if self.guard.is_left:
                self.connection.send(Done(index))
                return
            packed = self.packer.pack(result)
            self.connection.send(replace(packed, is_last=is_last, has_ended=self.guard.has_ended))
            is_worn = is_memory_short(self.job.memory)
            if is_last or is_worn or self.guard.is_exhausted:
                self.connection.send(Done(index + 1, self._describe_waiting(), is_worn))
                return
        self.connection.send(Done(request.stop))

    def _describe_waiting(self) -> str:
        if not self.guard.is_exhausted:
            return ""
        return f"steps of the target that failed in the end took {self.guard.waited:.0f} s"

    def _check_case(self, index: int, case: Any, precautions: Precautions) -> CaseResult[Any]:
        self.guard.begin_index(index)
        try:
            if index in precautions.fatal:
                self.guard.has_ended = True
                step, cause = precautions.fatal[index]
                return block_case(self.suite, index, case, Ended(step, cause))
            return check_one_case(self.suite, index, case)
        except BaseException as error:
            return block_case(self.suite, index, case, Raised(WHOLE_CASE, error))
        finally:
            self.guard.end_index()

    def _report(self, request: WriteReport) -> None:
        progress, is_stopped = self._read_progress(request), request.is_stopped
        if progress.failing and not request.gives_up:
            at_once = self._read_progress(request)
            at_once.ends_now = True  # without programs, which take too long to write here
            with self.guard.refuse_steps():  # guarantees a report even if the search crashes
                known = self._make_report(at_once, is_stopped)
            self.connection.send(Reported(pickle.dumps(known), is_final=False))
        self.guard.begin_report(gives_up=request.gives_up)
        report = self._make_report(progress, is_stopped, self._report_search)
        self.connection.send(Reported(pickle.dumps(report)))

    def _read_progress(self, request: WriteReport) -> Progress[Any]:
        progress = begin_progress(self.suite)
        add_results(progress, request.results)
        progress.stop_reason = request.stop_reason
        return progress

    def _report_search(self, explained: int, failures: int) -> None:
        self.connection.send(Progressed(explained, failures))

    def _make_report(
        self, progress: Progress[Any], is_stopped: bool, watch: Watcher | None = None
    ) -> Report:
        progress.stopped = is_stopped
        report: Report = report_progress(
            self.suite,
            progress,
            scored=self.job.scored,
            fail_fast=self.job.fail_fast,
            notes=self.notes,
            watch=watch,
        )
        return report


def list_ending_rules(
    rules: Iterable[AnyRule], scored: Collection[Level], *, fail_fast: bool
) -> frozenset[str]:
    """Return the ids of the rules whose failure ends a run: all scored rules with `fail_fast`."""
    levels = scored if fail_fast else ()
    return frozenset(rule.id for rule in rules if rule.level in levels)


def begin_progress(suite: Suite[Any, Any]) -> Progress[Any]:
    """Return the progress of a suite without any checked case."""
    return Progress({rule.id: Tally() for rule in suite.rules})


class ResultPacker:
    """Packs results of cases in the form used for messages and files."""

    def __init__(self, suite: Suite[Any, Any]) -> None:
        self._progress = begin_progress(suite)
        self._highest = -1

    def pack(self, result: CaseResult[Any]) -> CheckedCase:
        """Return the result of a case in the form used for messages."""
        found = result.failing.findings if result.failing is not None else {}
        return CheckedCase(
            result.index,
            pack(self._drop_findings(result)),
            passed=result.passed,
            failed={name: finding.message for name, finding in found.items()},
            refused=dict(result.unsupported),
            errors=tuple(
                name for name, finding in found.items() if finding.kind is FindingKind.CHECKER_ERROR
            ),
        )

    def _drop_findings(self, result: CaseResult[Any]) -> CaseResult[Any]:
        """Return a result without findings that the report will not need.

        The report needs only the findings of the first cases, so all are kept if the cases do not
        come in order.
        """
        is_in_order, self._highest = result.index > self._highest, max(self._highest, result.index)
        is_kept = self._progress.add(result)
        return result if is_kept or not is_in_order else replace(result, failing=None)


def add_results(progress: Progress[Any], results: Iterable[bytes]) -> None:
    """Add packed results of cases, in the order of their indices."""
    for result in sorted(map(unpack, results), key=lambda each: each.index):
        progress.add(result)

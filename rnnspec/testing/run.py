"""A check whose report is shared by the tests of all its rules, in any number of processes."""

from __future__ import annotations

import functools
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from rnnspec.api.layer import LayerTarget
from rnnspec.errors import DeviceError, RnnspecError
from rnnspec.isolation.crew import WorkerError
from rnnspec.isolation.journal import describe_run
from rnnspec.isolation.sending import NotImportableError, PrepareSuite
from rnnspec.options import RunOptions
from rnnspec.report.data import Report
from rnnspec.subjects.target import resolve_target
from rnnspec.testing.checking import CheckOutcome, Isolation, check_here, check_in_worker
from rnnspec.testing.session import Session, name_run
from rnnspec.testing.shared import OtherCasesError, SharedRun

OptionsT = TypeVar("OptionsT", bound=RunOptions)
HERE = "checked in pytest's own process, where a crash ends the session, because"


@dataclass
class Run(Generic[OptionsT]):
    """A check whose report is shared by the tests of all its rules.

    The check starts when the first test needs its result. If the tests are distributed over several
    processes, these processes share the check. If pytest stops at the first failing test, the run
    stops at the first violation.

    prepare   returns the suite for a target and options, with the first notes of the report
    session   facts about the session of pytest
    test      identifies the test, with the same text in every process
    remarks   lines for the user on how the check ran
    selected  the rules whose tests pytest runs, in order; None if unknown
    refused   the rule whose test reported that nothing can be checked, or None
    asked     the rules whose results the current test has read
    """

    target: LayerTarget
    options: OptionsT
    prepare: PrepareSuite[OptionsT]
    isolation: Isolation = field(default_factory=Isolation)
    session: Session = field(default_factory=Session)
    test: str = ""
    remarks: tuple[str, ...] = ()
    selected: tuple[str, ...] | None = None
    refused: str | None = None
    asked: set[str] = field(default_factory=set)
    _outcome: Report | RnnspecError | WorkerError | None = field(default=None, repr=False)

    @property
    def report(self) -> Report:
        """The report of the run. If nothing could be checked, raises the same error every time."""
        if self._outcome is None:
            try:
                outcome = self._check()
                self._outcome, self.remarks = outcome.report, outcome.remarks
            except (RnnspecError, WorkerError) as error:
                self._outcome = error
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    @property
    def chosen(self) -> OptionsT:
        """The options, with fail_fast and the seed overridden by the pytest session."""
        early = self.options.fail_fast or self.session.stops_early
        seed = self.options.seed if self.session.seed is None else self.session.seed
        return replace(self.options, fail_fast=early, seed=seed)

    def find_unreported(self, rule: str) -> str | None:
        """Return the rule behind the failure of `rule`, if this test has to report it.

        That is so if pytest does not run the test of the root rule, and `rule` is the first
        selected rule that fails because of it.
        """
        root = self.report.result(rule).caused_by
        if root is None or self.selected is None or root in self.selected:
            return None
        followers = (each for each in self.selected if self.report.result(each).caused_by == root)
        return root if next(followers, None) == rule else None

    @property
    def is_done(self) -> bool:
        """Whether the run has a report."""
        return isinstance(self._outcome, Report)

    def _check(self) -> CheckOutcome:
        options = self.chosen
        if self.session.folder is None:
            return self._check_where_possible(options, None)
        label = resolve_target(self.target).label if callable(self.target) else self.target
        name = name_run(self.test, describe_run(label, options))
        with (
            suppress(OtherCasesError),
            SharedRun(self.session.folder / name, self.session.workers) as shared,
        ):
            known: CheckOutcome | None = shared.find_made()
            return known or self._check_where_possible(options, shared)
        return self._check_where_possible(options, None)

    def _check_where_possible(self, options: OptionsT, shared: SharedRun | None) -> CheckOutcome:
        """Check in a worker if the target can and may run there, otherwise in this process."""
        prepare: Any = self.prepare
        if self.session.cases:
            prepare = functools.partial(prepare, replayed=self.session.cases)
        reason = self.session.needs_here
        if self.isolation.isolate is False or (self.isolation.isolate is None and reason):
            remark = f"{HERE} {reason}" if self.isolation.isolate is None else ""
            return check_here(self.target, options, prepare, shared, remark)
        try:
            return check_in_worker(
                self.target, options, prepare, self.isolation, self.session.workers, shared
            )
        except (NotImportableError, DeviceError) as error:
            remark = f"{HERE} a worker process cannot use it: {error}"
            return check_here(self.target, options, prepare, shared, remark)

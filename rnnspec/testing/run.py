"""One check whose report the tests of all its rules share, in one process or in several."""

from __future__ import annotations

import functools
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from rnnspec.api.layer import LayerTarget
from rnnspec.errors import DeviceError, RnnspecError
from rnnspec.isolation.crew import WorkerError
from rnnspec.isolation.journal import describe_run
from rnnspec.isolation.sending import NotImportableError, Prepare
from rnnspec.options import RunOptions
from rnnspec.report.data import Report
from rnnspec.subjects.target import resolve_target
from rnnspec.testing.judging import Isolation, Outcome, judge_here, judge_in_worker
from rnnspec.testing.session import Session, name_run
from rnnspec.testing.shared import OtherCasesError, SharedRun

OptionsT = TypeVar("OptionsT", bound=RunOptions)
HERE = "judged in pytest's own process, where a crash ends the session, because"


@dataclass
class Run(Generic[OptionsT]):
    """One check whose report the tests of all its rules share.

    The check begins when the first of the tests asks. If the tests are divided between processes,
    the processes whose tests ask share it. If pytest stops at the first failing test, the run stops
    at the first violation.

    prepare    returns the suite for a target and options, and the first notes of the report
    session    what is known of the session of pytest
    test       what tells the test from all others, in every process
    remarks    lines for the user that are about how the target was judged
    selected   the rules whose tests pytest runs, in their order, or None if that is not known
    refused    the rule whose test tells that nothing can be checked, or None if none has yet
    asked      the rules whose result the running test has asked for
    """

    target: LayerTarget
    options: OptionsT
    prepare: Prepare[OptionsT]
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
        """The report, from one run. Raises CannotCheck, each time the same."""
        if self._outcome is None:
            try:
                outcome = self._judge()
                self._outcome, self.remarks = outcome.report, outcome.remarks
            except (RnnspecError, WorkerError) as error:
                self._outcome = error
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    @property
    def chosen(self) -> OptionsT:
        """The options with what the user typed for the session: whether it stops, and the seed."""
        early = self.options.fail_fast or self.session.stops_early
        seed = self.options.seed if self.session.seed is None else self.session.seed
        return replace(self.options, fail_fast=early, seed=seed)

    def find_untold(self, rule: str) -> str | None:
        """Return the rule that names the fault because of which a rule fails, if nobody tells it.

        That is so if pytest does not run its test, and this is the first test of a rule that fails
        because of it.
        """
        root = self.report.result(rule).caused_by
        if root is None or self.selected is None or root in self.selected:
            return None
        followers = (each for each in self.selected if self.report.result(each).caused_by == root)
        return root if next(followers, None) == rule else None

    @property
    def is_done(self) -> bool:
        """Whether there is a report."""
        return isinstance(self._outcome, Report)

    def _judge(self) -> Outcome:
        options = self.chosen
        if self.session.folder is None:
            return self._judge_where_possible(options, None)
        label = resolve_target(self.target).label if callable(self.target) else self.target
        name = name_run(self.test, describe_run(label, options))
        with (
            suppress(OtherCasesError),
            SharedRun(self.session.folder / name, self.session.workers) as shared,
        ):
            known: Outcome | None = shared.find_made()
            return known or self._judge_where_possible(options, shared)
        return self._judge_where_possible(options, None)

    def _judge_where_possible(self, options: OptionsT, shared: SharedRun | None) -> Outcome:
        """Judge in a worker if the target can and may be used there, and else here."""
        prepare: Any = self.prepare
        if self.session.cases:
            prepare = functools.partial(prepare, replayed=self.session.cases)
        reason = self.session.needs_here
        if self.isolation.isolate is False or (self.isolation.isolate is None and reason):
            remark = f"{HERE} {reason}" if self.isolation.isolate is None else ""
            return judge_here(self.target, options, prepare, shared, remark)
        try:
            return judge_in_worker(
                self.target, options, prepare, self.isolation, self.session.workers, shared
            )
        except (NotImportableError, DeviceError) as error:
            remark = f"{HERE} a worker process cannot use it: {error}"
            return judge_here(self.target, options, prepare, shared, remark)

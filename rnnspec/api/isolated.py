"""Run a check called from Python in a worker process."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar, cast

from rnnspec.engine.campaign import Watcher
from rnnspec.isolation.sending import NotImportableError, OptionsT, PrepareSuite, make_sent_job
from rnnspec.isolation.standing import Standing
from rnnspec.isolation.supervisor import Supervisor
from rnnspec.report.data import Report

NOT_ISOLATED = (
    "the target was checked in the process of the caller, because another one cannot import it"
)
ReportT_co = TypeVar("ReportT_co", bound=Report, covariant=True)


class RunHere(Protocol[ReportT_co]):
    """A check of a target in this process; `notes` become notes of the report."""

    def __call__(
        self, target: Any, options: Any, *, watch: Watcher | None, notes: tuple[str, ...]
    ) -> ReportT_co:
        """Return the report. Raises CannotCheck."""


def run_isolated(
    target: Any,
    options: OptionsT,
    prepare: PrepareSuite[OptionsT],
    run_here: RunHere[ReportT_co],
    *,
    watch: Watcher | None,
    timeout: float,
    memory: int | None,
) -> ReportT_co:
    """Check a target in a worker, or in this process if no other process can import it.

    `prepare` returns the suite from which the worker makes the same report as `run_here`. See
    `make_job` for the limits. Raises CannotCheck.
    """

    def report_progress(standing: Standing) -> None:
        if watch is not None and not standing.doing:
            watch(standing.checked, standing.size)

    try:
        job = make_sent_job(target, options, prepare, workers=1, timeout=timeout, memory=memory)
        return cast(ReportT_co, Supervisor(job, 1, watch=report_progress).run())
    except NotImportableError as error:
        return run_here(target, options, watch=watch, notes=(f"{NOT_ISOLATED} ({error})",))

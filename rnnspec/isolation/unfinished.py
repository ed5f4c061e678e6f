"""The report on a run that has to end before any worker can write it.

A worker may be in a call of the subject that takes minutes, and a new worker may need as long to
get ready. For this reason, the first worker that is ready sends the report on no case at all, and
the known failures of the cases are added to that report.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from rnnspec.isolation.messages import CheckedCase
from rnnspec.report.data import FaultSummary, Report, Result, RunVerdict, Verdict

NO_TIME = "the run was ended before there was time for a program"


def fill_report(blank: Report, checked: Mapping[int, CheckedCase]) -> Report:
    """Return the report on these cases, from the report on none: each rule that fails is a fault.

    It cannot contain causes, smallest cases, or the rules that hold.
    """
    failing: dict[str, list[CheckedCase]] = {}
    for index in sorted(checked):
        for rule in checked[index].failed:
            failing.setdefault(rule, []).append(checked[index])
    results = tuple(
        _add_failures(each, failing[each.rule]) if each.rule in failing else each
        for each in blank.results
    )
    broken = [each for each in results if each.rule in failing]
    is_violated = any(each.verdict is Verdict.FAIL and each.is_scored for each in broken)
    return replace(
        blank,
        verdict=RunVerdict.VIOLATES if is_violated else RunVerdict.INCONCLUSIVE,
        cases=len(checked),
        stopped=True,
        results=results,
        faults=tuple(FaultSummary(each.rule, each.part, each.violations) for each in broken),
    )


def _add_failures(result: Result, cases: list[CheckedCase]) -> Result:
    """Return the result of a rule that fails in these cases, with the message of the first case."""
    is_error = all(result.rule in each.errors for each in cases)
    return replace(
        result,
        verdict=Verdict.CHECKER_ERROR if is_error else Verdict.FAIL,
        cases=len(cases),
        violations=len(cases),
        message=cases[0].failed[result.rule],
        no_repro=NO_TIME,
    )

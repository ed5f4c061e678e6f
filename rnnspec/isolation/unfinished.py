"""The report on a run that has to end before any worker can write it.

A worker may be in a call of the subject that takes minutes, and a new worker may need as long to
get ready. For this reason, the first worker that is ready sends the report on no case at all, and
the known results of the cases are added to that report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rnnspec.engine.explanations import STOPPED_EARLY, explain_unreached
from rnnspec.isolation.messages import CheckedCase
from rnnspec.report.data import FaultSummary, Report, Result, RunVerdict, Verdict

NO_TIME = "the run was ended before there was time for a program"


@dataclass(frozen=True)
class Blank:
    """The report on no case, and everything that is needed to fill it.

    minimum     the least number of cases that a rule must check before it can hold
    conditions  by the id of a rule, the cases to which it applies, in words
    """

    report: Report
    minimum: int
    conditions: Mapping[str, str]


def fill_report(blank: Blank, checked: Mapping[int, CheckedCase]) -> Report:
    """Return the report on these cases: each rule that fails is a fault.

    It cannot contain causes or smallest cases.
    """
    cases = [checked[index] for index in sorted(checked)]
    held = Counter(rule for each in cases for rule in each.passed)
    results = tuple(
        _fill_result(blank, each, held[each.rule], cases) for each in blank.report.results
    )
    broken = [each for each in results if each.violations]
    is_violated = any(each.verdict is Verdict.FAIL and each.is_scored for each in broken)
    return replace(
        blank.report,
        verdict=RunVerdict.VIOLATES if is_violated else RunVerdict.INCONCLUSIVE,
        cases=len(checked),
        stopped=True,
        results=results,
        faults=tuple(FaultSummary(each.rule, each.part, each.violations) for each in broken),
    )


def _fill_result(blank: Blank, result: Result, held: int, cases: Sequence[CheckedCase]) -> Result:
    """Return the result of a rule that held in so many of these cases."""
    failing = [each for each in cases if result.rule in each.failed]
    if failing:
        return _add_failures(result, failing, held, blank.minimum)
    if result.verdict is not Verdict.UNREACHED:
        return result
    if held >= blank.minimum:
        return replace(result, verdict=Verdict.PASS, cases=held, message="")
    reasons = Counter(each.refused[result.rule] for each in cases if result.rule in each.refused)
    if reasons and not held:
        [(reason, _)] = reasons.most_common(1)
        return replace(result, verdict=Verdict.NOT_APPLICABLE, message=reason)
    condition = blank.conditions[result.rule]
    text = explain_unreached(held, blank.minimum, condition, STOPPED_EARLY)
    return replace(result, cases=held, message=text)


def _add_failures(
    result: Result, failing: Sequence[CheckedCase], held: int, minimum: int
) -> Result:
    """Return the result of a rule that fails in these cases, with the message of the first case."""
    is_error = all(result.rule in each.errors for each in failing)
    return replace(
        result,
        verdict=Verdict.CHECKER_ERROR if is_error else Verdict.FAIL,
        cases=held + len(failing),
        violations=len(failing),
        holds_otherwise=held >= minimum,
        message=failing[0].failed[result.rule],
        no_repro=NO_TIME,
    )

"""Judging the rules that a fault stopped on cases that avoid it, so that it hides nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from rnnspec.engine.campaign import judge_by_all
from rnnspec.engine.minimise import MinimalFailure
from rnnspec.engine.outcome import FailingCase, FindingKind, Progress
from rnnspec.engine.suite import CaseSpace, Observed, Suite

CaseT = TypeVar("CaseT")
ObservedT = TypeVar("ObservedT", bound=Observed[Any])


def judge_without(
    suite: Suite[CaseT, ObservedT],
    progress: Progress[CaseT],
    situations: Iterable[MinimalFailure[CaseT]],
) -> list[FailingCase[CaseT]]:
    """Judge rules that were stopped too often on the same cases, changed so that nothing stops.

    The outcomes are added to the tallies. Return the cases on which a rule fails even so.
    """
    found = []
    known = list(situations)
    for rule in suite.rules:
        tally = progress.tallies[rule.id]
        stopped = [case for case in progress.failing.values() if _is_stopped(case, rule.id)]
        for failing in stopped:
            if tally.cases - tally.blocked >= suite.profile.minimum:
                break
            changed = (each for each in avoid(suite.space, failing.case, known) if rule.when(each))
            case = next(changed, None)
            if case is None:
                continue
            outcomes, broken = judge_by_all(suite, [rule], failing.index, case)
            tally.add(outcomes[rule.id])
            if broken is not None:
                found.append(broken)
    return found


def _is_stopped(case: FailingCase[Any], rule: str) -> bool:
    finding = case.findings.get(rule)
    return finding is not None and finding.kind is FindingKind.SUBJECT_ERROR


def avoid(
    space: CaseSpace[CaseT], case: CaseT, situations: Iterable[MinimalFailure[CaseT]]
) -> Iterator[CaseT]:
    """Yield variants of a case that lie in none of the situations in which the subject stops."""
    known = [each for each in situations if each.needed]

    def stops(variant: CaseT) -> bool:
        return any(space.is_covered(variant, each.finding.case, each.needed) for each in known)

    for situation in known:
        if not space.is_covered(case, situation.finding.case, situation.needed):
            continue
        values = list(situation.passed.items())
        for name in situation.required:
            values += [(name, value) for value in space.list_others(case, name)]
        for name, value in values:
            variant = space.change_field(case, name, value)
            if variant is not None and not stops(variant):
                yield variant

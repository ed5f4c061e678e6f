"""Which of several broken rules is the cause, and which fail only because of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from rnnspec.engine.minimise import MinimalFailure
from rnnspec.engine.outcome import Finding, FindingKind, judge_case
from rnnspec.engine.suite import Observed, Suite
from rnnspec.rulekit.rule import Rule

CaseT = TypeVar("CaseT")
ObservedT = TypeVar("ObservedT", bound=Observed[Any])


def find_causes(
    suite: Suite[CaseT, ObservedT], minimal: Mapping[str, MinimalFailure[CaseT]]
) -> dict[str, str]:
    """Return, for each rule that is only a consequence, the rule that it is a consequence of.

    A rule is a consequence of another if that rule's minimal case is simpler, or as simple and
    reported earlier, and that rule also fails on this rule's minimal case. If that rule does not
    apply there, its minimal case must raise no axis that this rule's case does not raise.
    """

    def complexity(rule: Rule[CaseT, ObservedT]) -> tuple[int, int]:
        case = minimal[rule.id].finding.case
        return len(suite.space.list_raised(case)), suite.space.total_size(case)

    broken = sorted((rule for rule in suite.rules if rule.id in minimal), key=complexity)
    found: dict[str, str] = {}
    for place, rule in enumerate(broken):
        for other in broken[:place]:
            if other.id not in found and _explains(other, rule, suite, minimal):
                found[rule.id] = other.id
                break
    return found


def _explains(
    other: Rule[CaseT, ObservedT],
    rule: Rule[CaseT, ObservedT],
    suite: Suite[CaseT, ObservedT],
    minimal: Mapping[str, MinimalFailure[CaseT]],
) -> bool:
    cause, effect = minimal[other.id].finding, minimal[rule.id].finding
    if not _is_comparable(other, cause, rule, effect):
        return False
    if other.when(effect.case):
        return isinstance(judge_case(other, suite.observe(effect.case)), Finding)
    return suite.space.list_raised(cause.case) <= suite.space.list_raised(effect.case)


def _is_comparable(
    other: Rule[Any, Any], cause: Finding[Any], rule: Rule[Any, Any], effect: Finding[Any]
) -> bool:
    """Return whether one finding can be the cause of another.

    A wrong number can follow from a wrong number, an error of the subject from anything, any other
    broken fact from a rule of its own theme. Rules of models say themselves what they follow from.
    An error of the checker says nothing about the subject.
    """
    if FindingKind.CHECKER_ERROR in (cause.kind, effect.kind):
        return False
    if effect.kind is FindingKind.SUBJECT_ERROR:
        return True
    if effect.difference is not None:
        return cause.difference is not None or cause.kind is FindingKind.SUBJECT_ERROR
    return other.theme is rule.theme and not rule.theme.is_about_models

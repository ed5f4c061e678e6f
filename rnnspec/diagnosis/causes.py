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
    """Return the cause of every rule that fails only as a consequence, both as rule ids.

    A rule is a consequence of another rule if the other rule's minimal case is simpler, or as
    simple and reported earlier, and the other rule also fails on this rule's minimal case. If the
    other rule does not apply to that case, its own minimal case must raise no axis that this rule's
    case does not raise.
    """

    def measure_complexity(rule: Rule[CaseT, ObservedT]) -> tuple[int, int]:
        case = minimal[rule.id].finding.case
        return len(suite.space.list_raised(case)), suite.space.measure_size(case)

    broken = sorted((rule for rule in suite.rules if rule.id in minimal), key=measure_complexity)
    causes: dict[str, str] = {}
    for position, rule in enumerate(broken):
        for other in broken[:position]:
            if other.id not in causes and _explains(other, rule, suite, minimal):
                causes[rule.id] = other.id
                break
    return causes


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
    """Return whether the finding of `other` can be the cause of the finding of `rule`.

    An error of the checker is neither a cause nor a consequence. An error of the subject can be a
    consequence of anything. A wrong number can be a consequence of a wrong number or of an error of
    the subject. Any other violation can be a consequence of a rule of its own theme, except that
    rules about models decide themselves what they are a consequence of.
    """
    if FindingKind.CHECKER_ERROR in (cause.kind, effect.kind):
        return False
    if effect.kind is FindingKind.SUBJECT_ERROR:
        return True
    if effect.difference is not None:
        return cause.difference is not None or cause.kind is FindingKind.SUBJECT_ERROR
    return other.theme is rule.theme and not rule.theme.is_about_models

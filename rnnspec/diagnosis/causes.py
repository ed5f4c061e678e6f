"""Which of several broken rules is the cause, and which only see the same fault."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rnnspec.engine.minimise import MinimalFailure
from rnnspec.engine.outcome import Finding, judge_case
from rnnspec.engine.suite import Suite
from rnnspec.rulekit.rule import Rule


def find_causes(suite: Suite, minimal: Mapping[str, MinimalFailure]) -> dict[str, str]:
    """From each broken rule that only follows to the rule that it follows from.

    What needs less to fail is the cause: a rule follows from another whose smallest case is simpler, or as simple and told earlier,
    and which fails on its own smallest case too or asks for nothing that it does not ask for.
    """

    def complexity(rule: Rule) -> tuple[int, int]:
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


def _explains(other: Rule, rule: Rule, suite: Suite, minimal: Mapping[str, MinimalFailure]) -> bool:
    cause, effect = minimal[other.id].finding, minimal[rule.id].finding
    if not _comparable(other, cause, rule, effect):
        return False
    if other.when(effect.case):
        return isinstance(judge_case(other, suite.observe(effect.case)), Finding)
    return _subset(suite, cause.case, effect.case)


def _comparable(other: Rule, cause: Finding, rule: Rule, effect: Finding) -> bool:
    """A wrong number can follow from a wrong number, what could not be observed from anything, a broken fact from its own theme.

    A check that crashed says nothing about the subject, so nothing follows from it and it follows from nothing.
    """
    if cause.crashed or effect.crashed:
        return False
    if effect.blocked:
        return True
    if effect.difference is not None:
        return cause.difference is not None or cause.blocked
    return other.theme == rule.theme


def _subset(suite: Suite, first: Any, second: Any) -> bool:
    return suite.space.list_raised(first) <= suite.space.list_raised(second)

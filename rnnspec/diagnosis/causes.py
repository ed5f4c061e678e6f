"""Which of several broken rules is the cause, and which only see the same fault."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rnnspec.engine.minimise import Minimum
from rnnspec.engine.outcome import Finding, judge
from rnnspec.engine.protocol import Checks
from rnnspec.judging.rule import Rule


def causes(checks: Checks, minima: Mapping[str, Minimum]) -> dict[str, str]:
    """From each broken rule that only follows to the rule that it follows from.

    What needs less to fail is the cause: a rule follows from another whose smallest case is simpler, or as simple and told earlier,
    and which fails on its own smallest case too or asks for nothing that it does not ask for.
    """

    def complexity(rule: Rule) -> tuple[int, int]:
        case = minima[rule.id].finding.case
        return len(checks.space.raised(case)), checks.space.size(case)

    broken = sorted((rule for rule in checks.rules if rule.id in minima), key=complexity)
    found: dict[str, str] = {}
    for place, rule in enumerate(broken):
        for other in broken[:place]:
            if other.id not in found and _explains(other, rule, checks, minima):
                found[rule.id] = other.id
                break
    return found


def _explains(other: Rule, rule: Rule, checks: Checks, minima: Mapping[str, Minimum]) -> bool:
    cause, effect = minima[other.id].finding, minima[rule.id].finding
    if not _comparable(other, cause, rule, effect):
        return False
    if other.when(effect.case):
        return isinstance(judge(other, checks.observe(effect.case)), Finding)
    return _subset(checks, cause.case, effect.case)


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


def _subset(checks: Checks, first: Any, second: Any) -> bool:
    return checks.space.raised(first) <= checks.space.raised(second)

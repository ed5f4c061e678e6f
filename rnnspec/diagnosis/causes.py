"""Which of several broken rules is the cause, and which only see the same fault."""

from __future__ import annotations

from collections.abc import Mapping

from rnnspec.cases.axes import AXES
from rnnspec.cases.case import SIZES, Case
from rnnspec.engine.minimise import Minimum
from rnnspec.engine.outcome import Finding, judge
from rnnspec.observe.observation import Observation
from rnnspec.rules.rule import Rule
from rnnspec.subjects.subject import Subject


def complexity(case: Case) -> tuple[int, int]:
    """How far a case is from the simplest: how many axes are not at their simplest value, then the sum of its sizes."""
    raised = sum(case.axis(axis.name) != axis.simplest for axis in AXES)
    return raised, sum(case.size(name) for name in SIZES)


def causes(rules: tuple[Rule, ...], subject: Subject, minima: Mapping[str, Minimum]) -> dict[str, str]:
    """From each broken rule that only follows to the rule that it follows from.

    A rule follows from another that fails on its smallest case too and whose own smallest case is simpler, or as simple and told
    earlier. What needs less to fail is the cause.
    """
    broken = sorted((rule for rule in rules if rule.id in minima), key=lambda rule: complexity(minima[rule.id].finding.case))
    found: dict[str, str] = {}
    for place, rule in enumerate(broken):
        case = minima[rule.id].finding.case
        for other in broken[:place]:
            if other.id not in found and _fails(other, subject, case):
                found[rule.id] = other.id
                break
    return found


def _fails(rule: Rule, subject: Subject, case: Case) -> bool:
    return rule.when(case) and isinstance(judge(rule, Observation(subject, case)), Finding)

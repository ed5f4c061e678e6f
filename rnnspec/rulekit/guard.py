"""Rules that do not fail in cases covered by declared deviations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rnnspec.rulekit.deviation import Deviation
from rnnspec.rulekit.rule import Rule
from rnnspec.rulekit.violation import Violation
from rnnspec.subjects.failures import Failure, Unsupported


def guard_rules(
    rules: Sequence[Rule[Any, Any]], deviations: Sequence[Deviation[Any]]
) -> tuple[Rule[Any, Any], ...]:
    """Return the rules, changed so that they do not fail in a case that a declared deviation
    covers.

    If a rule would fail there, it reports the case as unsupported, with the label of the deviation
    as the reason.
    """
    return tuple(
        _guard_rule(rule, [each for each in deviations if rule.id in (each.rule, *each.follows)])
        for rule in rules
    )


def _guard_rule(rule: Rule[Any, Any], deviations: Sequence[Deviation[Any]]) -> Rule[Any, Any]:
    if not deviations:
        return rule

    def check(observation: Any) -> None:
        known = [each for each in deviations if each.covers(observation.case)]
        try:
            rule.check(observation)
        except Unsupported:
            raise
        except (Violation, Failure) as error:
            if not known:
                raise
            raise Unsupported(known[0].label) from error

    own = tuple(each for each in deviations if each.rule == rule.id)
    excuses = tuple(each for each in deviations if each.rule != rule.id)
    return replace(rule, check=check, deviations=own, excuses=excuses)

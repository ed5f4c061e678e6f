"""Rules that do not fail in cases covered by declared deviations or refusals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rnnspec.rulekit.deviation import DeclaredRefusal, Deviation
from rnnspec.rulekit.rule import Rule
from rnnspec.rulekit.violation import Violation
from rnnspec.subjects.failures import Failure, Unsupported


def guard_rules(
    rules: Sequence[Rule[Any, Any]],
    deviations: Sequence[Deviation[Any]],
    refusals: Sequence[DeclaredRefusal[Any]] = (),
) -> tuple[Rule[Any, Any], ...]:
    """Return the rules, changed so that they do not fail in a case that a declared deviation or
    refusal covers.

    If a rule would fail there, it reports the case as unsupported, with the label of the
    declaration as the reason.
    """
    return tuple(
        _guard_rule(
            rule,
            [each for each in deviations if rule.id in (each.rule, *each.follows)],
            [each for each in refusals if not each.features],
        )
        for rule in rules
    )


def find_excuse(declared: Sequence[Deviation[Any] | DeclaredRefusal[Any]], case: Any) -> str:
    """Return the label of the first declaration that covers a case, or an empty string."""
    return next((each.label for each in declared if each.covers(case)), "")


def _guard_rule(
    rule: Rule[Any, Any],
    deviations: Sequence[Deviation[Any]],
    refusals: Sequence[DeclaredRefusal[Any]],
) -> Rule[Any, Any]:
    if not deviations and not refusals:
        return rule

    def check(observation: Any) -> None:
        try:
            rule.check(observation)
        except (Violation, Failure) as error:
            excuse = find_excuse(choose_declared(error), observation.case)
            if not excuse:
                raise
            raise Unsupported(excuse) from error

    def choose_declared(error: Exception) -> Sequence[Deviation[Any] | DeclaredRefusal[Any]]:
        if not isinstance(error, Unsupported):
            return [*refusals, *deviations]
        # An exception of the layer itself shows that a declared refusal is true; a rule that
        # finds that it does not apply shows nothing.
        cause = error.__cause__
        return [] if cause is None or isinstance(cause, Failure) else refusals

    own = tuple(each for each in deviations if each.rule == rule.id)
    excuses = tuple(each for each in deviations if each.rule != rule.id)
    return replace(rule, check=check, deviations=own, excuses=excuses, refusals=tuple(refusals))

"""Find the reason why a rule applies to no case of a layer.

The subject, the run or the kind of layer may lack something that the rule needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rnnspec.cases.axes import AXES, Axis, Feature
from rnnspec.cases.case import Case
from rnnspec.cases.plan import Scope, list_missing_features
from rnnspec.cases.reach import list_domains, make_search
from rnnspec.contract.kinds import KINDS
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.rule import Rule
from rnnspec.text import join_words


@dataclass(frozen=True)
class Restriction:
    """Values that a scope lacks.

    reason   why it lacks them
    axis     the name of the axis on which values are missing
    missing  these values
    """

    reason: str
    axis: str
    missing: frozenset[Any]


def find_obstacle(
    rule: Rule[Case, Observation], scope: Scope, unsupported: Mapping[Feature, str]
) -> str:
    """Return why a rule applies to no case of a scope, or an empty string if it does.

    The reason names as few restrictions as are enough to rule all cases out. `unsupported` are the
    features that the subject lacks, with the reasons.
    """
    needed = list_restrictions(scope, unsupported)
    if _can_apply(rule, scope, needed):
        return ""
    for reason in _list_reasons(needed):
        others = [each for each in needed if each.reason != reason]
        if not _can_apply(rule, scope, others):
            needed = others
    reasons = _list_reasons(needed)
    if not reasons:
        return f"no case of {KINDS[scope.kind].page} has this: {rule.when.text}"
    return join_words(reasons, "and")


def _list_reasons(restrictions: Iterable[Restriction]) -> list[str]:
    return list(dict.fromkeys(each.reason for each in restrictions))


def _can_apply(
    rule: Rule[Case, Observation], scope: Scope, restrictions: Iterable[Restriction]
) -> bool:
    """Return whether a rule applies to a case that only these restrictions limit."""
    domains = limit_domains(scope, restrictions)
    return make_search(domains, scope.kind).can_hold(rule.when.can_hold)


def limit_domains(scope: Scope, restrictions: Iterable[Restriction]) -> dict[str, tuple[Any, ...]]:
    """Return the values of each axis that some restrictions of a scope allow.

    An axis on which they allow no value has its value of the plan.
    """
    domains = {axis.name: axis.values for axis in AXES}
    for each in restrictions:
        left = tuple(value for value in domains[each.axis] if value not in each.missing)
        domains[each.axis] = left
    within = list_domains(scope)
    return {name: values or within[name] for name, values in domains.items()}


def list_restrictions(scope: Scope, unsupported: Mapping[Feature, str]) -> list[Restriction]:
    """Return everything that a scope lacks, beginning with restrictions of the kind of layer.

    `unsupported` are the features that the subject lacks, with the reasons.
    """
    page, pinned = KINDS[scope.kind].page, dict(scope.pinned)
    found = []
    for axis in AXES:
        others = frozenset(axis.values) - {pinned.get(axis.name, axis.simplest)}
        if axis.name in pinned:
            reason = f"{axis.name} is {pinned[axis.name]} in this run"
            found.append(Restriction(reason, axis.name, others))
        elif not scope.has_axis(axis.name):
            found.append(Restriction(f"{page} has no argument {axis.name}", axis.name, others))
    reasons = {
        **{each: f"{page} has no {each.meaning}" for each in list_missing_features(scope.kind)},
        **unsupported,
    }
    bound = {each.axis for each in found}
    for feature, reason in reasons.items():
        for axis in AXES:
            missing = frozenset(_list_values_with(axis, feature))
            if missing and axis.name not in bound:
                found.append(Restriction(reason, axis.name, missing))
    return found


def _list_values_with(axis: Axis, feature: Feature) -> list[Any]:
    return [value for value in axis.values if axis.needed_feature(value) is feature]

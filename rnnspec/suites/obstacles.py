"""Why a rule applies to no case of a layer: what the subject or the run does not have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache

from rnnspec.cases.axes import AXES, Feature
from rnnspec.cases.case import Case
from rnnspec.cases.drawing import list_pool_cases
from rnnspec.cases.plan import PROFILES, Scope, plan_rows
from rnnspec.contract.kinds import KINDS
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.rule import Rule


def find_obstacle(
    rule: Rule[Case, Observation], scope: Scope, unsupported: Mapping[Feature, str]
) -> str:
    """Return why a rule applies to no case of a scope, or an empty string if it does.

    If there are several reasons, it is the most frequent one. `unsupported` are the features that
    the subject does not have, with the reasons.
    """
    reasons: Counter[str] = Counter()
    for case in _list_unrestricted_cases():
        if rule.when(case):
            obstacles = _list_obstacles(case, scope, unsupported)
            if not obstacles:
                return ""
            reasons.update(sorted(obstacles))
    return reasons.most_common(1)[0][0] if reasons else ""


def _list_obstacles(case: Case, scope: Scope, unsupported: Mapping[Feature, str]) -> set[str]:
    """Return the reasons why a scope does not have a case like this one."""
    obstacles = set()
    for axis in AXES:
        value = case.get_choice(axis.name)
        needed = axis.needed_feature(value)
        if needed is not None and needed in unsupported:
            obstacles.add(unsupported[needed])
        elif not scope.has_axis(axis.name) and value != axis.simplest:
            obstacles.add(f"{KINDS[scope.kind].page} has no argument {axis.name}")
        elif value not in scope.list_values(axis):
            obstacles.add(f"{axis.name} is {scope.list_values(axis)[0]} in this run")
    return obstacles


@lru_cache(maxsize=1)
def _list_unrestricted_cases() -> tuple[Case, ...]:
    """Return cases with all values of all axes, whatever a subject supports."""
    return tuple(list_pool_cases(plan_rows(PROFILES["quick"], 0, Scope())))

"""How the user and the release pick some of the rules."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch

from rnnspec.contract.clauses import is_in_force
from rnnspec.errors import SelectionError, suggest
from rnnspec.rulekit.rule import REGISTRY, Rule, Theme

AnyRule = Rule[Any, Any]


def list_rules(*, about_models: bool) -> tuple[AnyRule, ...]:
    """Return the registered rules of layers or of models, in the order of the report."""
    themes = [theme for theme in Theme if theme.is_about_models is about_models]
    return tuple(rule for theme in themes for rule in REGISTRY[theme])


def select_in_force(
    rules: Sequence[AnyRule], version: str = torch.__version__
) -> tuple[AnyRule, ...]:
    """Return the rules of which a torch release promises at least one clause.

    The release is by default the installed one. Raises ValueError if `version` is no version.
    """
    return tuple(rule for rule in rules if any(is_in_force(each, version) for each in rule.clauses))


def find_by_id(name: str, rules: Sequence[AnyRule]) -> AnyRule:
    """Return the rule with an id. Raises SelectionError with a suggestion if there is none."""
    known = {rule.id: rule for rule in rules}
    if name not in known:
        near = suggest(name, known)
        raise SelectionError(f"no rule {name!r}.{near} `rnnspec rules` lists all.")
    return known[name]


def select_by_pattern(
    patterns: Sequence[str] | None, rules: Sequence[AnyRule]
) -> tuple[AnyRule, ...]:
    """Return the rules whose id matches one of the glob patterns, or all if there is no pattern.

    A single string is one pattern. Raises SelectionError, with a suggestion, for a pattern that
    matches nothing.
    """
    patterns = (patterns,) if isinstance(patterns, str) else patterns or ()
    for pattern in patterns:
        if not any(fnmatchcase(rule.id, pattern) for rule in rules):
            themes = [f"{rule.theme.value}.*" for rule in rules]
            near = suggest(pattern, [*themes, *(rule.id for rule in rules)])
            raise SelectionError(
                f"--rule {pattern!r} matches no rule.{near} `rnnspec rules` lists all."
            )
    if not patterns:
        return tuple(rules)
    return tuple(rule for rule in rules if any(fnmatchcase(rule.id, each) for each in patterns))

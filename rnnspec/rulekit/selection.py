"""Selecting rules by id, by pattern, and by the release of torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from rnnspec.contract.clauses import is_in_force
from rnnspec.contract.kinds import UNGATED
from rnnspec.contract.parts import Part
from rnnspec.errors import SelectionError, suggest_similar
from rnnspec.options import check_choice, select_ids
from rnnspec.rulekit.rule import REGISTRY, Rule, Theme

AnyRule = Rule[Any, Any]


def list_rules(*, about_models: bool) -> tuple[AnyRule, ...]:
    """Return the registered rules about layers or about models, in the order of the report.

    Within a theme, rules are sorted by the names of their modules, whichever was imported first.
    """
    themes = [theme for theme in Theme if theme.is_about_models is about_models]
    return tuple(
        rule
        for theme in themes
        for rule in sorted(REGISTRY[theme], key=lambda each: each.check.__module__)
    )


def select_in_force(
    rules: Sequence[AnyRule], version: str = torch.__version__, kind: str = UNGATED.name
) -> tuple[AnyRule, ...]:
    """Return the rules with at least one clause that a torch release promises for a kind of layer.

    The default is the installed release. Raises ValueError if `version` is not a version.
    """
    return tuple(
        rule
        for rule in rules
        if any(is_in_force(each, version, kind) for each in rule.clauses_of(kind))
    )


def select_parts(rules: Sequence[AnyRule], parts: Sequence[str]) -> tuple[AnyRule, ...]:
    """Return the rules of these parts of the contract, or all rules if no part is given.

    Raises SelectionError, with a suggestion, if a part does not exist or has none of the rules.
    """
    known = {part.value: part for part in Part}
    for name in parts:
        check_choice("parts", name, known)
    chosen = {known[name] for name in parts} or set(Part)
    found = tuple(rule for rule in rules if rule.part in chosen)
    if not found:
        raise SelectionError(
            f"{', '.join(parts)}: none of the chosen rules belongs to it.", "parts"
        )
    return found


def find_by_id(name: str, rules: Sequence[AnyRule]) -> AnyRule:
    """Return the rule with an id. Raises SelectionError, with a suggestion, if no rule has it."""
    known = {rule.id: rule for rule in rules}
    if name not in known:
        near = suggest_similar(name, known)
        raise SelectionError(f"no rule {name!r}.{near} `rnnspec rules` lists all.")
    return known[name]


def select_by_pattern(
    patterns: Sequence[str] | None,
    rules: Sequence[AnyRule],
    option: str | None = "rules",
    noun: str = "rule",
) -> tuple[AnyRule, ...]:
    """Return the rules whose id matches one of the glob patterns, or all rules without a pattern.

    A single string counts as one pattern. Raises SelectionError, with a suggestion, if a pattern
    matches no rule; the message begins with the name of the `option` that gave the pattern, if any,
    and uses `noun` for a rule.
    """
    chosen = set(select_ids(patterns, [rule.id for rule in rules], option, noun))
    return tuple(rule for rule in rules if rule.id in chosen)

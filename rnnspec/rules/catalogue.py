"""Every rule, and how the user picks some of them."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TypeVar

import torch

from rnnspec import rules
from rnnspec.contract.clauses import is_in_force
from rnnspec.errors import SelectionError, suggest
from rnnspec.rulekit.rule import THEMES, Rule

R = TypeVar("R", bound=Rule)

ORDER = (
    "construction",
    "parameters",
    "errors",
    "modes",
    "shapes",
    "packed",
    "layouts",
    "modules",
    "side-effects",
    "dropout",
    "samples",
    "nonlinearity",
    "states",
    "directions",
    "stacking",
    "recurrence",
    "gradients",
)
"""The themes in the order of the report, and of blame: where the same case breaks several rules, the first is told as the cause."""


@lru_cache(maxsize=1)
def list_layer_rules() -> tuple[Rule, ...]:
    """Every rule, by theme in the order of the report and within it in order of definition."""
    names = [
        module.name
        for module in pkgutil.iter_modules(rules.__path__)
        if module.name.replace("_", "-") in ORDER
    ]
    for name in names:
        importlib.import_module(f"rnnspec.rules.{name}")
    return tuple(rule for theme in sorted(THEMES, key=_place) for rule in THEMES[theme])


def _place(theme: str) -> tuple[int, str]:
    return (ORDER.index(theme) if theme in ORDER else len(ORDER), theme)


def select_in_force(rules: Sequence[Rule], version: str = torch.__version__) -> tuple[Rule, ...]:
    """The rules of which at least one clause is promised by the torch release of this version, by default the installed one.

    Raises ValueError where it is no version.
    """
    return tuple(
        rule for rule in rules if any(is_in_force(clause, version) for clause in rule.clauses)
    )


def find_by_id(name: str, rules: Sequence[R]) -> R:
    """The rule with this id; raises SelectionError with a suggestion where there is none."""
    known = {rule.id: rule for rule in rules}
    if name not in known:
        raise SelectionError(f"no rule {name!r}.{suggest(name, known)} `rnnspec rules` lists all.")
    return known[name]


def select_by_pattern(patterns: Sequence[str] | None, rules: Sequence[R]) -> tuple[R, ...]:
    """The rules whose id matches one of the glob patterns, all where there is none; a single string is one pattern.

    Raises SelectionError, with a suggestion, for a pattern that matches nothing.
    """
    patterns = (patterns,) if isinstance(patterns, str) else patterns
    for pattern in patterns or ():
        if not any(fnmatchcase(rule.id, pattern) for rule in rules):
            near = suggest(
                pattern,
                [*(f"{rule.id.split('.')[0]}.*" for rule in rules), *(rule.id for rule in rules)],
            )
            raise SelectionError(
                f"--rule {pattern!r} matches no rule.{near} `rnnspec rules` lists all."
            )
    return tuple(
        rule
        for rule in rules
        if not patterns or any(fnmatchcase(rule.id, pattern) for pattern in patterns)
    )


def find_layer_rule(name: str) -> Rule:
    """The rule of a layer with this id; raises SelectionError."""
    return find_by_id(name, list_layer_rules())


def select_layer_rules(patterns: Sequence[str] | None) -> tuple[Rule, ...]:
    """The rules of a layer whose id matches one of the glob patterns, all where there is none; raises SelectionError."""
    return select_by_pattern(patterns, list_layer_rules())

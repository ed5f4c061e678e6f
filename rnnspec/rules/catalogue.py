"""Every rule, and how the user picks some of them."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import lru_cache

import torch

from rnnspec import rules
from rnnspec.contract.clauses import applies_to
from rnnspec.errors import SelectionError, suggestion
from rnnspec.rules.rule import THEMES, Rule

ORDER = (
    "construction",
    "parameters",
    "errors",
    "modes",
    "sizes",
    "packed",
    "layouts",
    "modules",
    "effects",
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
def all_rules() -> tuple[Rule, ...]:
    """Every rule, by theme in the order of the report and within it in order of definition."""
    names = [module.name for module in pkgutil.iter_modules(rules.__path__) if module.name in ORDER]
    for name in names:
        importlib.import_module(f"rnnspec.rules.{name}")
    return tuple(rule for theme in sorted(THEMES, key=_place) for rule in THEMES[theme])


def _place(theme: str) -> tuple[int, str]:
    return (ORDER.index(theme) if theme in ORDER else len(ORDER), theme)


def in_force(rules: Sequence[Rule], version: str = torch.__version__) -> tuple[Rule, ...]:
    """The rules of which at least one clause is promised by the torch release of this version, by default the installed one.

    Raises ValueError where it is no version.
    """
    return tuple(rule for rule in rules if any(applies_to(clause, version) for clause in rule.clauses))


def find(name: str) -> Rule:
    """The rule with this id; raises SelectionError with a suggestion where there is none."""
    known = {rule.id: rule for rule in all_rules()}
    if name not in known:
        raise SelectionError(f"no rule {name!r}.{suggestion(name, known)} `rnnspec rules` lists all.")
    return known[name]


def select(patterns: Sequence[str] | None) -> tuple[Rule, ...]:
    """The rules whose id matches one of the glob patterns, all where there is none.

    Raises SelectionError, with a suggestion, for a pattern that matches nothing.
    """
    if not patterns:
        return all_rules()
    for pattern in patterns:
        if not any(fnmatchcase(rule.id, pattern) for rule in all_rules()):
            raise SelectionError(f"--rule {pattern!r} matches no rule.{_near(pattern)} `rnnspec rules` lists all.")
    return tuple(rule for rule in all_rules() if any(fnmatchcase(rule.id, pattern) for pattern in patterns))


def _near(pattern: str) -> str:
    themes = [f"{theme}.*" for theme in THEMES]
    return suggestion(pattern, [*themes, *(rule.id for rule in all_rules())])

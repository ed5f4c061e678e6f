"""The rules about recurrent layers."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from functools import lru_cache

from rnnspec import rules
from rnnspec.rulekit.selection import AnyRule, find_by_id, list_rules, select_by_pattern


@lru_cache(maxsize=1)
def list_layer_rules() -> tuple[AnyRule, ...]:
    """Return all rules about recurrent layers, in the order of the report."""
    for module in pkgutil.iter_modules(rules.__path__):
        importlib.import_module(f"rnnspec.rules.{module.name}")
    return list_rules(about_models=False)


def find_layer_rule(name: str) -> AnyRule:
    """Return the rule with an id. Raises SelectionError if there is none."""
    return find_by_id(name, list_layer_rules())


def select_layer_rules(
    patterns: Sequence[str] | None, option: str = "rules"
) -> tuple[AnyRule, ...]:
    """Return the rules whose ids match a glob pattern. Raises SelectionError."""
    return select_by_pattern(patterns, list_layer_rules(), option)

"""The rules for models that contain a recurrent layer."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from functools import lru_cache

from rnnspec.contract.clauses import load_clauses
from rnnspec.models import rules
from rnnspec.rulekit.selection import AnyRule, list_rules, select_by_pattern


@lru_cache(maxsize=1)
def list_model_rules() -> tuple[AnyRule, ...]:
    """Return all rules for models, in the order of the report."""
    for module in pkgutil.iter_modules(rules.__path__):
        importlib.import_module(f"rnnspec.models.rules.{module.name}")
    order = list(load_clauses())
    return tuple(sorted(list_rules(about_models=True), key=lambda rule: order.index(rule.id)))


def select_model_rules(patterns: Sequence[str] | None) -> tuple[AnyRule, ...]:
    """Return the model rules whose id matches a glob pattern. Raises SelectionError."""
    return select_by_pattern(patterns, list_model_rules(), "rules", "rule about models")

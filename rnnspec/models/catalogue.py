"""The rules for models that contain a recurrent layer."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from functools import lru_cache

from rnnspec.contract.clauses import Clause, load_clauses
from rnnspec.models import rules
from rnnspec.rulekit.selection import AnyRule, list_rules, select_by_pattern


@lru_cache(maxsize=1)
def list_model_rules() -> tuple[AnyRule, ...]:
    """Return all rules for models, in the order of the report."""
    for module in pkgutil.iter_modules(rules.__path__):
        importlib.import_module(f"rnnspec.models.rules.{module.name}")
    order = list(load_clauses())
    return tuple(sorted(list_rules(about_models=True), key=lambda rule: order.index(rule.id)))


def load_model_clauses() -> Mapping[str, Clause]:
    """Return the clauses about models, by id."""
    ids = {clause.id for rule in list_model_rules() for clause in rule.clauses}
    return {id: clause for id, clause in load_clauses().items() if id in ids}


def select_model_rules(
    patterns: Sequence[str] | None, option: str = "rules"
) -> tuple[AnyRule, ...]:
    """Return the model rules whose id matches a glob pattern. Raises SelectionError."""
    return select_by_pattern(patterns, list_model_rules(), option, "rule about models")

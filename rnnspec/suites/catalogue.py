"""All rules, of layers and of models, for the commands that list and explain them."""

from __future__ import annotations

from collections.abc import Sequence

from rnnspec.models.catalogue import list_model_rules
from rnnspec.rulekit.selection import AnyRule, find_by_id, select_by_pattern
from rnnspec.rules.catalogue import list_layer_rules


def list_all_rules() -> tuple[AnyRule, ...]:
    """Return the rules of layers, then those of models."""
    return (*list_layer_rules(), *list_model_rules())


def find_rule(name: str) -> AnyRule:
    """Return the rule with this id. Raises SelectionError, with a suggestion, if there is none."""
    return find_by_id(name, list_all_rules())


def select_rules(patterns: Sequence[str] | None) -> tuple[AnyRule, ...]:
    """Return the rules whose id matches one of the glob patterns, or all rules without patterns.

    Raises SelectionError if a pattern matches no rule.
    """
    return select_by_pattern(patterns, list_all_rules(), None)

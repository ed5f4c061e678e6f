"""Every rule of every contract, for the commands that tell them."""

from __future__ import annotations

from collections.abc import Sequence

from rnnspec.models.registry import list_model_rules
from rnnspec.rulekit.rule import Rule
from rnnspec.rules.catalogue import find_by_id, list_layer_rules, select_by_pattern


def list_all_rules() -> tuple[Rule, ...]:
    """The rules of layers, then those of models."""
    return (*list_layer_rules(), *list_model_rules().values())


def find_rule(name: str) -> Rule:
    """The rule with this id; raises SelectionError with a suggestion where there is none."""
    return find_by_id(name, list_all_rules())


def select_rules(patterns: Sequence[str] | None) -> tuple[Rule, ...]:
    """The rules whose id matches one of the glob patterns, all where there is none; raises SelectionError."""
    return select_by_pattern(patterns, list_all_rules())

"""Every rule of every contract, for the commands that tell them."""

from __future__ import annotations

from collections.abc import Sequence

from rnnspec.models.catalogue import list_model_rules
from rnnspec.rulekit.selection import AnyRule, find_by_id, select_by_pattern
from rnnspec.rules.catalogue import list_layer_rules


def list_all_rules() -> tuple[AnyRule, ...]:
    """The rules of layers, then those of models."""
    return (*list_layer_rules(), *list_model_rules())


def find_rule(name: str) -> AnyRule:
    """The rule with this id; raises SelectionError with a suggestion where there is none."""
    return find_by_id(name, list_all_rules())


def select_rules(patterns: Sequence[str] | None) -> tuple[AnyRule, ...]:
    """The rules whose id matches one of the glob patterns, all where there is none; raises SelectionError."""
    return select_by_pattern(patterns, list_all_rules())

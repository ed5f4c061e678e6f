"""All rules, of layers and of models."""

from __future__ import annotations

from rnnspec.models.catalogue import list_model_rules
from rnnspec.rulekit.selection import AnyRule
from rnnspec.rules.catalogue import list_layer_rules


def list_all_rules() -> tuple[AnyRule, ...]:
    """Return the rules of layers, then the rules of models."""
    return (*list_layer_rules(), *list_model_rules())

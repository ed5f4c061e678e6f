"""Every rule of every contract, for the commands that tell them."""

from __future__ import annotations

from collections.abc import Sequence

from rnnspec.judging.rule import Rule
from rnnspec.models.registry import model_rules
from rnnspec.rules.catalogue import all_rules, named, picked


def every_rule() -> tuple[Rule, ...]:
    """The rules of layers, then those of models."""
    return (*all_rules(), *model_rules().values())


def find_any(name: str) -> Rule:
    """The rule with this id; raises SelectionError with a suggestion where there is none."""
    return named(name, every_rule())


def select_any(patterns: Sequence[str] | None) -> tuple[Rule, ...]:
    """The rules whose id matches one of the glob patterns, all where there is none; raises SelectionError."""
    return picked(patterns, every_rule())

"""Conditions of model rules: sizes that are free, and rules that hold."""

from __future__ import annotations

from typing import Any

from rnnspec.models.observation import ModelObservation, NotApplicable
from rnnspec.rulekit.rule import Rule
from rnnspec.rulekit.violation import Violation


def require_free_size(what: str, size: int | None) -> None:
    """Raise NotApplicable if the model accepts only one size."""
    if size is not None:
        number = f"batches of {size}" if what == "batches" else f"sequences of {size} steps"
        raise NotApplicable(f"the model takes {number} only")


def require_several_steps(observation: ModelObservation) -> None:
    """Raise NotApplicable if the model takes a single step.

    The first step multiplies the recurrent weights by an initial state, which may be zero.
    """
    if observation.interface.steps == 1:
        raise NotApplicable("the model takes one step at a time, and recurrence shows in several")


def require_rule(observation: ModelObservation, rule: Rule[Any, ModelObservation]) -> None:
    """Raise NotApplicable if another rule fails."""
    try:
        rule.check(observation)
    except Violation:
        raise NotApplicable.because_of(rule.id) from None

"""Detect intended differences in training mode: dropout, and statistics over the batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from rnnspec.models.lines import Recorder

FUNCTIONS = frozenset(
    {
        *("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout"),
        *("feature_dropout", "feature_alpha_dropout"),
        *("dropout_", "alpha_dropout_", "feature_dropout_", "feature_alpha_dropout_"),
    }
)
"""Functions of torch that drop values of their first argument, also called by dropout modules."""

NORMS = frozenset({"batch_norm", "instance_norm"})
"""Functions of torch that may use different statistics in training mode, also called by modules
such as nn.BatchNorm1d.
"""

PROBABILITIES = frozenset(
    {
        *("dropout", "dropout_p", "dropout_prob", "dropout_rate", "dropout_probability"),
        *("drop", "drop_p", "drop_prob", "drop_rate", "p", "p_drop", "p_dropout"),
    }
)
"""Attributes that hold a dropout probability, in torch and in other libraries."""


class WithoutDropout(Recorder):
    """Skips the dropout of torch functions, also inside modules.

    `norms` are the names of the functions that normalise by statistics.
    """

    def __init__(self) -> None:
        super().__init__()
        self.norms: set[str] = set()

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run a function of torch, or return its input if it is a dropout function."""
        keywords = dict(kwargs or {})
        name = getattr(function, "__name__", "")
        if name in FUNCTIONS:
            return args[0] if args else keywords["input"]
        if name in NORMS:
            self.norms.add(name)
        if "dropout_p" in keywords:  # attention as a single function
            keywords["dropout_p"] = 0.0
        return function(*args, **keywords)


def set_dropout_to_zero(model: nn.Module) -> nn.Module:
    """Set every dropout probability of a module to zero, and return the model."""
    for module in model.modules():
        for name in PROBABILITIES & set(vars(module)):
            value = vars(module)[name]
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if is_number and 0 < value <= 1:
                setattr(module, name, 0.0)
    return model


def list_statistics(model: nn.Module, call: Callable[[], object]) -> list[str]:
    """Return the names of sources of batch statistics in a call in training mode.

    They are functions of torch, and floating-point buffers of the model that the call changes, as
    in a handwritten normalisation. Raises any exception of the call.
    """
    before = {name: each.clone() for name, each in model.named_buffers()}
    with torch.no_grad(), WithoutDropout() as functions:
        call()
    changed = [
        name
        for name, buffer in model.named_buffers()
        if buffer.is_floating_point() and not (name in before and torch.equal(buffer, before[name]))
    ]
    return [*sorted(functions.norms), *(f"self.{name}" for name in changed)]

"""Every fault that stops a model's forward pass, not the first alone: each is repaired in a copy, and the copy called again."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from rnnspec.models.layers import find_layers, is_recurrent
from rnnspec.models.observation import describe_error

MISSING = re.compile(r"has no attribute '(\w+)'")
LIMIT = 5


def find_faults(model: nn.Module, x: Tensor) -> list[str]:
    """One sentence a fault, in the order in which a call meets them; empty where the call succeeds.

    Known faults, an attribute that is read but never set and a linear layer of another width than it is given, are repaired to see what
    comes after them; at anything else the search ends with the exception's own words.
    """
    return _repaired(model, x)[1]


def repair_model(model: nn.Module, x: Tensor) -> nn.Module:
    """A copy of the model without the faults that could be repaired; a call of it may still fail."""
    return _repaired(model, x)[0]


def _repaired(model: nn.Module, x: Tensor) -> tuple[nn.Module, list[str]]:
    found: list[str] = []
    copied = copy.deepcopy(model)
    for _ in range(LIMIT):
        said = _next_fault(copied, x)
        if said is None:
            break
        found.append(said[0])
        if not said[1]:
            break
    return copied, found


def _next_fault(model: nn.Module, x: Tensor) -> tuple[str, bool] | None:
    """The fault that this call meets and whether it could be repaired; None where it meets none."""
    given: dict[str, int] = {}
    handles = [
        module.register_forward_pre_hook(_noting(given, name))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        with torch.no_grad():
            model(x.clone())
    except Exception as error:  # the model may raise anything
        return (
            _missing_attribute(model, error)
            or _wrong_width(model, given)
            or (describe_error(error), False)
        )
    finally:
        for handle in handles:
            handle.remove()
    return None


def _noting(given: dict[str, int], name: str) -> Callable[[nn.Module, Any], None]:
    def note(_module: nn.Module, arguments: Any) -> None:
        given[name] = int(arguments[0].shape[-1])

    return note


def _missing_attribute(model: nn.Module, error: Exception) -> tuple[str, bool] | None:
    match = MISSING.search(str(error)) if isinstance(error, AttributeError) else None
    if match is None:
        return None
    name = match[1]
    value = next(
        (
            getattr(module, name)
            for module in model.modules()
            if is_recurrent(module) and hasattr(module, name)
        ),
        None,
    )
    if value is None:
        return f"forward reads the attribute {name!r}, which is never set", False
    setattr(model, name, value)
    return (
        f"forward reads self.{name}, which is never set: add self.{name} = {name} to __init__",
        True,
    )


def _wrong_width(model: nn.Module, given: dict[str, int]) -> tuple[str, bool] | None:
    for name, width in given.items():
        linear = model.get_submodule(name)
        if isinstance(linear, nn.Linear) and linear.in_features != width:
            said = f"{name} expects {linear.in_features} features and is given {width}{_because(model, width)}"
            _replace(model, name, nn.Linear(width, linear.out_features).to(linear.weight))
            return said, True
    return None


def _because(model: nn.Module, width: int) -> str:
    for layer in find_layers(model):
        if layer.width * layer.directions == width:
            many = "one direction gives" if layer.directions == 1 else "two directions give"
            return f": {layer.name}'s {many} {layer.directions} * hidden_size = {width}"
    return ""


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)

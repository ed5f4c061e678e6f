"""Find all faults that stop a model's forward pass, not only the first.

Each fault is repaired in a copy of the model, which is then called again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rnnspec.models.copying import CannotCopy, copy_model
from rnnspec.models.hooks import watch_arguments
from rnnspec.models.infer import Interface
from rnnspec.models.layers import find_layers, is_recurrent
from rnnspec.models.steps import describe_error, find_cause
from rnnspec.models.tensors import find_input

MAX_FAULTS = 5


@dataclass(frozen=True)
class CallFault:
    """A fault that stops a call of a model, and whether it was repaired in the copy."""

    message: str
    is_repaired: bool


def find_faults(model: nn.Module, interface: Interface, x: Tensor) -> list[str]:
    """Return a sentence for each fault, in the order of the calls that meet them.

    The list is empty if the call succeeds. Two kinds of fault are repaired to find later ones: an
    attribute that is read but never set, and a linear layer whose `in_features` do not fit its
    input. The search ends at the first fault of another kind, which is described by its exception.
    """
    return _repair_copy(model, interface, x)[1]


def repair_model(model: nn.Module, interface: Interface, x: Tensor) -> nn.Module:
    """Return a copy of the model without the faults that can be repaired.

    A call of the copy may still fail.
    """
    return _repair_copy(model, interface, x)[0]


def _repair_copy(model: nn.Module, interface: Interface, x: Tensor) -> tuple[nn.Module, list[str]]:
    found: list[str] = []
    try:
        copied = copy_model(model)
    except CannotCopy:
        return model, found
    for _ in range(MAX_FAULTS):
        fault = _repair_next_fault(copied, interface, x)
        if fault is None:
            break
        found.append(fault.message)
        if not fault.is_repaired:
            break
    return copied, found


def _repair_next_fault(model: nn.Module, interface: Interface, x: Tensor) -> CallFault | None:
    """Repair the fault that stops a call of the model, if possible, and return it."""
    given: dict[str, int] = {}
    handles = [
        handle
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        for handle in watch_arguments(module, _make_width_hook(given, name))
    ]
    try:
        with torch.no_grad():
            interface.predict(model, x.clone())
    except Exception as error:  # the model may raise anything
        return (
            _set_missing_attribute(model, error)
            or _replace_linear(model, given)
            or CallFault(describe_error(error), is_repaired=False)
        )
    finally:
        for handle in handles:
            handle.remove()
    return None


def _make_width_hook(given: dict[str, int], name: str) -> Callable[[nn.Module, Any, Any], None]:
    def record(_module: nn.Module, arguments: Any, keywords: Any) -> None:
        first = find_input(arguments, keywords)
        if isinstance(first, Tensor) and first.dim():
            given[name] = first.shape[-1]

    return record


def _set_missing_attribute(model: nn.Module, error: Exception) -> CallFault | None:
    cause = find_cause(error)
    if not isinstance(cause, AttributeError):
        return None
    owner, name = cause.obj, cause.name
    # An attribute that another object, such as a tensor, lacks cannot be set in __init__.
    path = next((path for path, module in model.named_modules() if module is owner), None)
    if path is None or name is None:
        return None
    full = f"{path}.{name}" if path else name
    values = (
        getattr(module, name)
        for module in model.modules()
        if is_recurrent(module) and hasattr(module, name)
    )
    value = next(values, None)
    if value is None:
        message = f"forward reads self.{full}, which is never set"
        return CallFault(message, is_repaired=False)
    setattr(owner, name, value)
    message = f"forward reads self.{full}, which is never set: add self.{full} = {name} to __init__"
    return CallFault(message, is_repaired=True)


def _replace_linear(model: nn.Module, given: dict[str, int]) -> CallFault | None:
    for name, width in given.items():
        linear = dict(model.named_modules())[name]
        if isinstance(linear, nn.Linear) and linear.in_features != width:
            expected = f"{name} expects {linear.in_features} features"
            message = f"{expected} but its input has {width}{_explain_width(model, width)}"
            _replace_module(model, name, nn.Linear(width, linear.out_features).to(linear.weight))
            return CallFault(message, is_repaired=True)
    return None


def _explain_width(model: nn.Module, width: int) -> str:
    for layer in find_layers(model):
        if layer.width * layer.directions == width:
            source = f"{layer.name} has {layer.directions} direction{'s' * (layer.directions > 1)}"
            return (
                f": {source}, so its output has {layer.directions} * {layer.width_name} = {width}"
            )
    return ""


def _replace_module(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(dict(model.named_modules())[parent], last, module)

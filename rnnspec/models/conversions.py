"""Turn what a factory built into a module, and put it into a mode, a dtype or on a device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn


class CallableModule(nn.Module):
    """A callable that is not a module, wrapped as a module without parameters."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        """Return what the callable returns."""
        return self.function(*arguments, **keywords)


def wrap_as_module(built: Any) -> nn.Module:
    """Return what a factory built as a module. Raises TypeError if it cannot be called."""
    if isinstance(built, nn.Module):
        return built
    if not callable(built):
        raise TypeError(f"the factory must return a module or another callable, got {built!r}")
    return CallableModule(built)


def set_mode(model: nn.Module, *, training: bool) -> nn.Module:
    """Return the model itself, in training or in evaluation mode.

    What `train` and `eval` return is not used: a model may override them and return nothing.
    """
    if training:
        model.train()
    else:
        model.eval()
    return model


def move_model(model: nn.Module, device: str) -> nn.Module:
    """Return a model on a device: the model itself, unless its own `to` returns another one."""
    moved = model.to(device)
    return moved if isinstance(moved, nn.Module) else model


def convert_to_float64(model: nn.Module) -> nn.Module:
    """Return a model in float64: the model itself, unless its own `double` returns another one."""
    converted = model.double()
    return converted if isinstance(converted, nn.Module) else model

"""Turn the result of a factory into a module, and set its mode, dtype and device."""

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
        """Return the result of the callable."""
        return self.function(*arguments, **keywords)


def wrap_as_module(built: Any) -> nn.Module:
    """Return the result of a factory as a module. Raises TypeError if it cannot be called."""
    if isinstance(built, nn.Module):
        return built
    if not callable(built):
        raise TypeError(f"the factory must return a module or another callable, got {built!r}")
    return CallableModule(built)


def set_mode(model: nn.Module, *, training: bool) -> nn.Module:
    """Put the model into training or evaluation mode, and return it.

    The results of `train` and `eval` are ignored: a model may override them and return nothing.
    """
    if training:
        model.train()
    else:
        model.eval()
    return model


def move_model(model: nn.Module, device: str) -> nn.Module:
    """Move a model to a device. Returns the model itself, unless its own `to` returns another."""
    moved = model.to(device)
    return moved if isinstance(moved, nn.Module) else model


def convert_to_float64(model: nn.Module) -> nn.Module:
    """Convert a model to float64. Returns the model, unless its own `double` returns another."""
    converted = model.double()
    return converted if isinstance(converted, nn.Module) else model

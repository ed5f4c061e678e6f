"""Find the recurrent layers of a model by their attributes, not by their class."""

from __future__ import annotations

from torch import nn

from rnnspec.readout.map import Layer
from rnnspec.subjects.documented import find_documented_kind


def is_recurrent_layer(module: nn.Module) -> bool:
    """Return whether a module is a torch recurrent layer, or has the attributes of such a layer.

    These are `weight_hh_l0`, `input_size` and `hidden_size`. A layer of torch may lack the first
    until it is called, for example if dropout is applied to the weight in each call.
    """
    is_layer = isinstance(module, nn.RNNBase) or hasattr(module, "weight_hh_l0")
    return is_layer and _has_size(module, "input_size") and _has_size(module, "hidden_size")


def is_recurrent(module: nn.Module) -> bool:
    """Return whether a module is a recurrent layer, or a recurrent cell with `weight_hh`."""
    return is_recurrent_layer(module) or (
        hasattr(module, "weight_hh") and _has_size(module, "hidden_size")
    )


def _has_size(module: nn.Module, name: str) -> bool:
    """Return whether an attribute is a single number, not a list with a number per layer."""
    return isinstance(getattr(module, name, None), int)


def read_size(module: nn.Module, name: str, default: int) -> int:
    """Return an attribute if it is a number, else the default."""
    return getattr(module, name) if _has_size(module, name) else default


def find_layers(model: nn.Module) -> list[Layer]:
    """Return every recurrent layer of a model, in order of registration."""
    return [
        _describe_layer(name, module)
        for name, module in model.named_modules()
        if is_recurrent_layer(module)
    ]


def list_recurrent_parameters(model: nn.Module) -> frozenset[str]:
    """Return the names of the parameters of recurrent layers and cells."""
    return frozenset(
        f"{place}.{name}" if place else name
        for place, module in model.named_modules()
        if is_recurrent(module)
        for name, _ in module.named_parameters()
    )


def _describe_layer(name: str, module: nn.Module) -> Layer:
    return Layer(
        name,
        _find_kind(module),
        read_size(module, "num_layers", 1),
        2 if getattr(module, "bidirectional", False) is True else 1,
        read_size(module, "proj_size", 0) or read_size(module, "hidden_size", 0),
        getattr(module, "batch_first", False) is True,
        read_size(module, "hidden_size", 0),
    )


def _find_kind(module: nn.Module) -> str:
    kind = find_documented_kind(type(module))
    return type(module).__name__ if kind is None or kind.is_cell else kind.title

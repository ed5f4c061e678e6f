"""Find the recurrent layers of a model by their attributes, not by their class."""

from __future__ import annotations

from torch import nn

from rnnspec.contract.kinds import LAYERS
from rnnspec.readout.map import Layer


def is_recurrent_layer(module: nn.Module) -> bool:
    """Return whether a module has the attributes of a torch recurrent layer.

    These are `weight_hh_l0`, `input_size` and `hidden_size`.
    """
    return (
        hasattr(module, "weight_hh_l0")
        and hasattr(module, "input_size")
        and hasattr(module, "hidden_size")
    )


def is_recurrent(module: nn.Module) -> bool:
    """Return whether a module is a recurrent layer, or a recurrent cell with `weight_hh`."""
    return is_recurrent_layer(module) or (
        hasattr(module, "weight_hh") and hasattr(module, "hidden_size")
    )


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
        int(getattr(module, "num_layers", 1)),
        2 if getattr(module, "bidirectional", False) else 1,
        int(getattr(module, "proj_size", 0) or getattr(module, "hidden_size", 0)),
        bool(getattr(module, "batch_first", False)),
        int(getattr(module, "hidden_size", 0)),
    )


def _find_kind(module: nn.Module) -> str:
    for kind in LAYERS:
        if isinstance(module, getattr(nn, kind.title)):
            return kind.title
    return type(module).__name__

"""Recurrent layers inside a model: found by what they have, not by their class."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Layer:
    """A recurrent layer of a model: its name there, its kind and its sizes. `width` is the number of output features of one direction."""

    name: str
    kind: str
    num_layers: int
    directions: int
    width: int
    batch_first: bool

    @property
    def call(self) -> str:
        """How the model's own code calls the layer."""
        return f"self.{self.name}" if self.name else "self"


def is_recurrent_layer(module: nn.Module) -> bool:
    """Whether the module has the parameters of a torch recurrent layer (`weight_hh_l0`) and its `input_size` and `hidden_size`."""
    return (
        hasattr(module, "weight_hh_l0")
        and hasattr(module, "input_size")
        and hasattr(module, "hidden_size")
    )


def is_recurrent(module: nn.Module) -> bool:
    """Whether the module is a recurrent layer or a recurrent cell (`weight_hh`)."""
    return is_recurrent_layer(module) or (
        hasattr(module, "weight_hh") and hasattr(module, "hidden_size")
    )


def find_layers(model: nn.Module) -> list[Layer]:
    """Every recurrent layer of the model, in order of registration."""
    return [
        _described(name, module)
        for name, module in model.named_modules()
        if is_recurrent_layer(module)
    ]


def _described(name: str, module: nn.Module) -> Layer:
    return Layer(
        name,
        _kind(module),
        int(getattr(module, "num_layers", 1)),
        2 if getattr(module, "bidirectional", False) else 1,
        int(getattr(module, "proj_size", 0) or getattr(module, "hidden_size", 0)),
        bool(getattr(module, "batch_first", False)),
    )


def _kind(module: nn.Module) -> str:
    for base in (nn.LSTM, nn.GRU, nn.RNN):
        if isinstance(module, base):
            return base.__name__
    return type(module).__name__

"""The constructor arguments and the parameters of the reference layer, and what it refuses at construction."""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from torch import Tensor, nn


class Parameters(nn.Module):
    """Construction of the reference layer: arguments kept as attributes, parameters registered and drawn.

    Raises TypeError for a size that is no int or a flag that is no bool, ValueError for a size below 1, a dropout
    outside [0, 1] or an unknown nonlinearity; warns (UserWarning) of dropout with a single layer.
    Source: the signature, *Args* and *Variables* of the nn.RNN page.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.check_nonlinearity(nonlinearity)
        self.check_dropout(dropout)
        self.check_flags(bias=bias, batch_first=batch_first)
        self.check_sizes(input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        self.warn_of_single_layer(dropout, num_layers)
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.nonlinearity, self.bias, self.batch_first = nonlinearity, bias, batch_first
        self.dropout, self.bidirectional = float(dropout), bidirectional
        self.create_parameters(device, dtype)
        self.reset_parameters()

    def check_nonlinearity(self, nonlinearity: str) -> None:
        """ValueError unless it is 'tanh' or 'relu'."""
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")

    def check_dropout(self, dropout: float) -> None:
        """ValueError unless it is a number from 0 to 1; TypeError for None."""
        given: object = dropout
        if given is None:
            raise TypeError("dropout must be a number, got None")
        if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 <= given <= 1:
            raise ValueError(f"dropout must be a number in [0, 1], got {dropout!r}")

    def check_flags(self, **flags: bool) -> None:
        """TypeError for a flag that is no bool."""
        for name, value in flags.items():
            if not isinstance(value, bool):
                raise TypeError(f"{name} must be a bool, got {value!r}")

    def check_sizes(self, **sizes: int) -> None:
        """TypeError for a size that is no int, ValueError for one below 1."""
        for name, value in sizes.items():
            if not isinstance(value, int):
                raise TypeError(f"{name} must be an int, got {value!r}")
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value!r}")

    def warn_of_single_layer(self, dropout: float, num_layers: int) -> None:
        """UserWarning for dropout with one layer, where there is nothing to drop between."""
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                f"dropout={dropout!r} has no effect with num_layers=1", UserWarning, stacklevel=4
            )

    @property
    def directions(self) -> int:
        """2 if bidirectional, else 1."""
        return 2 if self.bidirectional else 1

    def parameter_kinds(self) -> tuple[str, ...]:
        """The parameters of one layer and direction, in order of registration."""
        return (
            ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            if self.bias
            else ("weight_ih", "weight_hh")
        )

    def parameter_name(self, kind: str, layer: int, direction: int) -> str:
        """The name of one parameter, such as weight_ih_l0_reverse."""
        return f"{kind}_l{layer}{'_reverse' if direction else ''}"

    def parameter_order(self) -> list[tuple[str, int, int]]:
        """Kind, layer and direction of every parameter in order of registration."""
        return [
            (kind, layer, direction)
            for layer in range(self.num_layers)
            for direction in range(self.directions)
            for kind in self.parameter_kinds()
        ]

    def parameter_shape(self, kind: str, layer: int) -> tuple[int, ...]:
        """The shape of one parameter."""
        columns = self.input_size if layer == 0 else self.directions * self.hidden_size
        shapes = {
            "weight_ih": (self.hidden_size, columns),
            "weight_hh": (self.hidden_size, self.hidden_size),
        }
        return shapes.get(kind, (self.hidden_size,))

    def create_parameters(self, device: Any, dtype: Any) -> None:
        """Register every parameter, not yet drawn."""
        for kind, layer, direction in self.parameter_order():
            empty = torch.empty(self.parameter_shape(kind, layer), device=device, dtype=dtype)
            self.register_parameter(
                self.parameter_name(kind, layer, direction), nn.Parameter(empty)
            )

    def initial_limit(self) -> float:
        """Half the width of the interval that parameters are drawn from."""
        return 1.0 / math.sqrt(self.hidden_size)

    def reset_parameters(self) -> None:
        """Draw every parameter from U(-1/sqrt(H), 1/sqrt(H))."""
        limit = self.initial_limit()
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-limit, limit)

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        """The present value of one parameter, whatever was done to the attribute since construction."""
        value: Tensor = getattr(self, self.parameter_name(kind, layer, direction))
        return value

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The parameters of each layer and direction."""
        pairs = [
            (layer, direction)
            for layer in range(self.num_layers)
            for direction in range(self.directions)
        ]
        return [[self.parameter(kind, *pair) for kind in self.parameter_kinds()] for pair in pairs]

    def flatten_parameters(self) -> None:
        """Nothing to do: the parameters have no second home."""

    def extra_repr(self) -> str:
        """The arguments as they were given, for repr."""
        names = ("num_layers", "nonlinearity", "bias", "batch_first", "dropout", "bidirectional")
        return ", ".join(
            [f"{self.input_size}, {self.hidden_size}"]
            + [f"{name}={getattr(self, name)!r}" for name in names]
        )

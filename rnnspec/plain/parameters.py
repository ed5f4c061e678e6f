"""The constructor of the reference layer: its arguments, their checks, and its parameters."""

from __future__ import annotations

import math
import warnings
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rnnspec.contract.kinds import RNN, Kind


class Parameters(nn.Module):
    """A module that keeps the arguments of `nn.RNN` as attributes and registers its parameters.

    Raises TypeError if a size is not an int, a flag is not a bool or `dropout` is None. Raises
    ValueError if a size is below 1, `dropout` is outside [0, 1] or `nonlinearity` is unknown. Warns
    (UserWarning) if dropout is set for a single layer.

    Source: the signature, *Args* and *Variables* of the nn.RNN page.
    """

    kind: ClassVar[Kind] = RNN
    """The kind of the layer or the cell."""

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
        """Raise ValueError unless `nonlinearity` is 'tanh' or 'relu'."""
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")

    def check_dropout(self, dropout: float) -> None:
        """Raise ValueError unless `dropout` is a number in [0, 1], or TypeError if it is None."""
        given: object = dropout
        if given is None:
            raise TypeError("dropout must be a number, got None")
        if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 <= given <= 1:
            raise ValueError(f"dropout must be a number in [0, 1], got {dropout!r}")

    def check_flags(self, **flags: bool) -> None:
        """Raise TypeError if a flag is not a bool."""
        for name, value in flags.items():
            if not isinstance(value, bool):
                raise TypeError(f"{name} must be a bool, got {value!r}")

    def check_sizes(self, **sizes: int) -> None:
        """Raise TypeError if a size is not an int, or ValueError if it is below 1."""
        for name, value in sizes.items():
            if not isinstance(value, int):
                raise TypeError(f"{name} must be an int, got {value!r}")
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value!r}")

    def warn_of_single_layer(self, dropout: float, num_layers: int) -> None:
        """Warn if dropout is set for a single layer, where it has no effect."""
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                f"dropout={dropout!r} has no effect with num_layers=1", UserWarning, stacklevel=4
            )

    @property
    def directions(self) -> int:
        """The number of directions: 2 if bidirectional, otherwise 1."""
        return 2 if self.bidirectional else 1

    @property
    def output_size(self) -> int:
        """The number of units of a hidden state."""
        return self.hidden_size

    @property
    def states_size(self) -> int:
        """The number of units of all states of a layer and direction together."""
        return self.output_size

    def parameter_kinds(self) -> tuple[str, ...]:
        """Return the kinds of parameters of a layer and direction, in registration order."""
        return (
            ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            if self.bias
            else ("weight_ih", "weight_hh")
        )

    def parameter_name(self, kind: str, layer: int, direction: int) -> str:
        """Return the name of a parameter, e.g. `weight_ih_l0_reverse`."""
        return f"{kind}_l{layer}{'_reverse' if direction else ''}"

    def parameter_order(self) -> list[tuple[str, int, int]]:
        """Return (kind, layer, direction) of every parameter, in registration order."""
        return [
            (kind, layer, direction)
            for layer in range(self.num_layers)
            for direction in range(self.directions)
            for kind in self.parameter_kinds()
        ]

    def parameter_shape(self, kind: str, layer: int) -> tuple[int, ...]:
        """Return the shape of a parameter, which stacks the rows of all gates."""
        rows = len(self.kind.gates) * self.hidden_size
        columns = self.input_size if layer == 0 else self.directions * self.output_size
        shapes = {"weight_ih": (rows, columns), "weight_hh": (rows, self.output_size)}
        return shapes.get(kind, (rows,))

    def create_parameters(self, device: Any, dtype: Any) -> None:
        """Register all parameters, without initialising them."""
        for kind, layer, direction in self.parameter_order():
            empty = torch.empty(self.parameter_shape(kind, layer), device=device, dtype=dtype)
            self.register_parameter(
                self.parameter_name(kind, layer, direction), nn.Parameter(empty)
            )

    def initial_limit(self) -> float:
        """Return the limit of the initial distribution U(-limit, limit)."""
        return 1.0 / math.sqrt(self.hidden_size)

    def reset_parameters(self) -> None:
        """Draw all parameters from U(-1/sqrt(H), 1/sqrt(H))."""
        limit = self.initial_limit()
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-limit, limit)

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        """Return the current value of the attribute of a parameter, even if it was replaced."""
        value: Tensor = getattr(self, self.parameter_name(kind, layer, direction))
        return value

    def multiply(self, rows: Tensor, weight: Tensor, added: Tensor | None = None) -> Tensor:
        """Return the product of rows (..., F) and a transposed weight (F, units), plus `added`."""
        return rows @ weight if added is None else torch.addmm(added, rows, weight)

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
        """Do nothing, because the parameters are not kept in a shared buffer."""

    def extra_repr(self) -> str:
        """Return the constructor arguments for `repr`."""
        names = ("num_layers", "nonlinearity", "bias", "batch_first", "dropout", "bidirectional")
        return ", ".join(
            [f"{self.input_size}, {self.hidden_size}"]
            + [f"{name}={getattr(self, name)!r}" for name in names]
        )

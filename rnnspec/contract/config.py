"""The constructor arguments of a recurrent layer."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from rnnspec.contract.kinds import KINDS, UNGATED, UNGATED_CELL, Kind


@dataclass(frozen=True)
class Config:
    """The constructor arguments of a layer, with the documented defaults.

    Use `config.arguments` or `config.changed` to build your layer with them. If a kind of layer
    lacks an argument, its value is the default: a GRU, for example, always activates its candidate
    state with tanh. Raises ValueError if a size is below 1, if the kind of layer is unknown or
    lacks an argument that you give, if `dropout` is not between 0 and 1, or if `proj_size` is not
    between 0 and `hidden_size` - 1.

    Source: the signatures and the *Args* sections of the nn.RNN, nn.LSTM and nn.GRU pages.
    """

    input_size: int
    hidden_size: int
    num_layers: int = 1
    nonlinearity: str = "tanh"
    bias: bool = True
    batch_first: bool = False
    dropout: float = 0.0
    bidirectional: bool = False
    proj_size: int = 0
    kind: str = UNGATED.name

    def __post_init__(self) -> None:
        for name in ("input_size", "hidden_size", "num_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)!r}")
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        for name in OPTIONAL:
            value = getattr(self, name)
            if name not in self.kind_data.arguments and value != DEFAULTS[name]:
                raise ValueError(f"nn.{self.kind_data.title} has no {name}, got {value!r}")
        known = self.kind_data.nonlinearities
        if known and self.nonlinearity not in known:
            raise ValueError(f"nonlinearity must be one of {known}, got {self.nonlinearity!r}")
        if not 0.0 <= self.dropout <= 1.0:
            raise ValueError(f"dropout must be between 0 and 1, got {self.dropout!r}")
        if not 0 <= self.proj_size < self.hidden_size:
            raise ValueError(
                f"proj_size must be between 0 and hidden_size - 1, got {self.proj_size!r}"
            )

    @property
    def kind_data(self) -> Kind:
        """The kind of layer that these arguments configure."""
        return KINDS[self.kind]

    @property
    def num_directions(self) -> int:
        """The number of directions: 2 if `bidirectional`, 1 otherwise (D on the page)."""
        return 2 if self.bidirectional else 1

    @property
    def output_size(self) -> int:
        """The number of units of a hidden state: `proj_size` if it is projected."""
        return self.proj_size or self.hidden_size

    @property
    def has_dropout(self) -> bool:
        """Whether a layer drops values in training mode: p > 0, and at least two layers."""
        return self.dropout > 0 and self.num_layers > 1

    @property
    def dropout_scale(self) -> float:
        """The factor 1 / (1 - p) by which dropout scales values that survive; requires p < 1."""
        return 1.0 / (1.0 - self.dropout)

    @property
    def arguments(self) -> dict[str, Any]:
        """All constructor arguments of this kind by name, in the documented order."""
        return {name: getattr(self, name) for name in self.kind_data.arguments}

    @property
    def changed(self) -> dict[str, Any]:
        """The arguments that you have to pass: both sizes, and every value that is no default."""
        return {name: value for name, value in self.arguments.items() if value != DEFAULTS[name]}

    @property
    def ungated(self) -> Config:
        """The same configuration for a layer or a cell with a single gate."""
        ungated = UNGATED_CELL if self.kind_data.is_cell else UNGATED
        return replace(self, kind=ungated.name, proj_size=0)

    def __str__(self) -> str:
        sizes = [str(self.input_size), str(self.hidden_size)]
        rest = [
            f"{name}={value!r}"
            for name, value in self.changed.items()
            if name not in ("input_size", "hidden_size")
        ]
        return f"{self.kind_data.title}({', '.join(sizes + rest)})"


DEFAULTS: dict[str, Any] = {field.name: field.default for field in fields(Config)}
"""The default of each argument; a size has no default, so every value differs from it."""
OPTIONAL = ("num_layers", "nonlinearity", "batch_first", "dropout", "bidirectional", "proj_size")
"""The arguments that some kinds do not have."""

"""The constructor arguments of a recurrent layer."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from rnnspec.contract.kinds import KINDS, Kind


@dataclass(frozen=True)
class Config:
    """The constructor arguments of one layer, in the documented order with the documented defaults.

    Raises ValueError if a size is below 1, if the kind of layer is unknown or lacks the
    nonlinearity, or if `dropout` is not between 0 and 1.

    Source: the signature and the *Args* section of the nn.RNN page.
    """

    input_size: int
    hidden_size: int
    num_layers: int = 1
    nonlinearity: str = "tanh"
    bias: bool = True
    batch_first: bool = False
    dropout: float = 0.0
    bidirectional: bool = False
    kind: str = "rnn"

    def __post_init__(self) -> None:
        for name in ("input_size", "hidden_size", "num_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)!r}")
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if self.nonlinearity not in self.kind_data.nonlinearities:
            raise ValueError(
                f"nonlinearity must be one of {self.kind_data.nonlinearities}, "
                f"got {self.nonlinearity!r}"
            )
        if not 0.0 <= self.dropout <= 1.0:
            raise ValueError(f"dropout must be between 0 and 1, got {self.dropout!r}")

    @property
    def kind_data(self) -> Kind:
        """The kind of layer that these arguments configure."""
        return KINDS[self.kind]

    @property
    def num_directions(self) -> int:
        """The number of directions: 2 if `bidirectional`, 1 otherwise (D on the page)."""
        return 2 if self.bidirectional else 1

    @property
    def arguments(self) -> dict[str, Any]:
        """All constructor arguments by name, in the documented order."""
        return {
            field.name: getattr(self, field.name) for field in fields(self) if field.name != "kind"
        }

    @property
    def changed(self) -> dict[str, Any]:
        """The arguments that a caller must pass: both sizes, and every non-default value."""
        default = {field.name: field.default for field in fields(self)}
        return {name: value for name, value in self.arguments.items() if value != default[name]}

    def __str__(self) -> str:
        sizes = [str(self.input_size), str(self.hidden_size)]
        rest = [
            f"{name}={value!r}"
            for name, value in self.changed.items()
            if name not in ("input_size", "hidden_size")
        ]
        return f"{self.kind_data.title}({', '.join(sizes + rest)})"

"""What the plain layers with gates share: no nonlinearity to choose, and rows for each gate."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from rnnspec.plain.layer import Plain


class Gated(Plain):
    """A plain layer whose weights and biases stack the rows of several gates.

    Source: the signatures of the nn.GRU and nn.LSTM pages.
    """

    gates: ClassVar[int]
    """How many gates there are, the one that computes the new state included."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            device=device,
            dtype=dtype,
        )

    def parameter_shape(self, kind: str, layer: int) -> tuple[int, ...]:
        """Return the shape of a parameter, which stacks the rows of all gates."""
        rows, *columns = super().parameter_shape(kind, layer)
        return (self.gates * rows, *columns)

    def gate(self, x: Tensor) -> Tensor:
        """Apply the sigmoid."""
        return torch.sigmoid(x)

    def extra_repr(self) -> str:
        """Return the constructor arguments for `repr`."""
        return super().extra_repr().replace("nonlinearity='tanh', ", "")

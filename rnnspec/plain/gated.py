"""The plain layers with gates. A GRU needs nothing beyond them."""

from __future__ import annotations

from typing import Any

from rnnspec.contract.kinds import GRU
from rnnspec.plain.layer import Plain


class Gated(Plain):
    """A plain layer without a choice of nonlinearities.

    Source: the signatures of the nn.GRU and nn.LSTM pages.
    """

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

    def extra_repr(self) -> str:
        """Return the constructor arguments for `repr`."""
        return super().extra_repr().replace("nonlinearity='tanh', ", "")


class PlainGRU(Gated):
    """A replacement for `nn.GRU`.

    Source: the signature of the nn.GRU page.
    """

    kind = GRU

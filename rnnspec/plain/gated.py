"""The plain layers with gates. A GRU needs nothing more; an LSTM has a pair of states."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnnspec.contract.kinds import GRU, LSTM
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


GATES = len(LSTM.gates)
TwoStates = tuple[Tensor, Tensor]


class StatesAsPair:
    """Takes and returns the pair (h, c). The layer behind it has both in a single tensor.

    Raises RuntimeError if the initial states are not a pair, or do not fit each other.
    """

    def forward(
        self, input: Tensor | PackedSequence, hx: TwoStates | None = None
    ) -> tuple[Tensor | PackedSequence, TwoStates]:
        """Return `output` and (`h_n`, `c_n`) for a tensor or a packed sequence."""
        states = None if hx is None else self.join_pair(hx)
        result: Any = super().forward(input, states)  # type: ignore[misc]
        output, final = result
        return output, self.split_pair(final)

    def read_pair(self, hx: TwoStates) -> TwoStates:
        """Return h and c from the passed states."""
        if not isinstance(hx, (tuple, list)) or len(hx) != 2:
            raise RuntimeError(f"hx must be a pair of h_0 and c_0, got a {type(hx).__name__}")
        h, c = hx
        return h, c

    def join_pair(self, hx: TwoStates) -> Tensor:
        """Return h and c concatenated."""
        h, c = self.read_pair(hx)
        if h.shape[:-1] != c.shape[:-1]:
            raise RuntimeError(
                f"h_0 and c_0 must fit each other, got {tuple(h.shape)} and {tuple(c.shape)}"
            )
        units = c.size(-1) - h.size(-1)
        if units != self.hidden_size - self.output_size:  # type: ignore[attr-defined]
            raise RuntimeError(f"c_0 has {units} units more than h_0")
        return torch.cat([h, c], dim=-1)

    def split_pair(self, states: Tensor) -> TwoStates:
        """Return h and c."""
        size: int = self.output_size  # type: ignore[attr-defined]
        return states[..., :size], states[..., size:]


class JoinedLSTM(Gated):
    """An LSTM whose states h and c are a single tensor (D * num_layers, N, H_out + H).

    Source: the signature and *Variables* of the nn.LSTM page.
    """

    kind = LSTM

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        self.__dict__["proj_size"] = proj_size
        if not 0 <= proj_size < hidden_size:
            raise ValueError(
                f"proj_size must be at least 0 and less than hidden_size={hidden_size}, "
                f"got {proj_size!r}"
            )
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device,
            dtype,
        )

    @property
    def output_size(self) -> int:
        """The number of units of a hidden state: `proj_size` if it is projected."""
        return int(self.__dict__["proj_size"]) or self.hidden_size

    @property
    def states_size(self) -> int:
        """The number of units of h and c together."""
        return self.output_size + self.hidden_size

    def parameter_kinds(self) -> tuple[str, ...]:
        """Return the kinds of parameters of a layer and direction, in registration order."""
        projection = ("weight_hr",) if self.__dict__["proj_size"] else ()
        return (*super().parameter_kinds(), *projection)

    def parameter_shape(self, kind: str, layer: int) -> tuple[int, ...]:
        """Return the shape of a parameter; W_hr has no gates."""
        if kind == "weight_hr":
            return (self.output_size, self.hidden_size)
        return super().parameter_shape(kind, layer)

    def extra_repr(self) -> str:
        """Return the constructor arguments for `repr`."""
        return f"{super().extra_repr()}, proj_size={self.__dict__['proj_size']!r}"


class PlainLSTM(StatesAsPair, JoinedLSTM):  # type: ignore[misc]
    """A replacement for `nn.LSTM`."""

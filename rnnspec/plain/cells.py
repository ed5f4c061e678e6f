"""The reference layers as cells, which compute a single step and return the states after it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from rnnspec.contract.kinds import GRU_CELL, LSTM_CELL, RNN_CELL
from rnnspec.plain.gated import JoinedLSTM, PlainGRU, StatesAsPair
from rnnspec.plain.layer import Plain

CellStates = Tensor | tuple[Tensor, ...]


class OneStep:
    """Calls the layer behind it with a single time step, and returns only the final states.

    Source: the signatures, *Inputs* and *Outputs* of the nn.RNNCell, nn.GRUCell and nn.LSTMCell
    pages.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        **chosen: Any,
    ) -> None:
        super().__init__(  # type: ignore[call-arg]
            input_size, hidden_size, bias=bias, device=device, dtype=dtype, **chosen
        )

    def forward(self, input: Tensor, hx: CellStates | None = None) -> CellStates:
        """Return the states after a step, for a batch (N, I) or a single sample (I,)."""
        result: Any = super().forward(  # type: ignore[misc]
            self.add_axis(input), None if hx is None else self.map_states(self.add_axis, hx)
        )
        return self.map_states(self.take_axis, result[1])

    def map_states(self, change: Any, states: CellStates) -> CellStates:
        """Return a state, or each state of a pair, changed by a function."""
        if isinstance(states, Tensor):
            changed: Tensor = change(states)
            return changed
        return tuple(change(each) for each in states)

    def add_axis(self, tensor: Tensor) -> Tensor:
        """Return a tensor with an axis for its only time step, or only layer and direction."""
        return tensor.unsqueeze(0)

    def take_axis(self, state: Tensor) -> Tensor:
        """Return the state of the only layer and direction."""
        return state[0]


class OneStepOfRNN(OneStep):
    """Calls an RNN with a single time step; the nonlinearity is the fourth argument."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, device, dtype, nonlinearity=nonlinearity)


class WithoutPlaces(Plain):
    """A layer whose parameters have the names of a cell's, such as `weight_ih`."""

    def parameter_name(self, kind: str, layer: int, direction: int) -> str:
        """Return the name of a parameter, without a layer and a direction."""
        return kind


class PlainRNNStep(WithoutPlaces):
    """The layer behind a plain `nn.RNNCell`."""

    kind = RNN_CELL


class PlainGRUStep(WithoutPlaces, PlainGRU):
    """The layer behind a plain `nn.GRUCell`."""

    kind = GRU_CELL


class PlainLSTMStep(WithoutPlaces, JoinedLSTM):
    """The layer behind a plain `nn.LSTMCell`, with h and c in a single tensor."""

    kind = LSTM_CELL


class PlainRNNCell(OneStepOfRNN, PlainRNNStep):  # type: ignore[misc]
    """A replacement for `nn.RNNCell`."""


class PlainGRUCell(OneStep, PlainGRUStep):  # type: ignore[misc]
    """A replacement for `nn.GRUCell`."""


class PlainLSTMCell(OneStep, StatesAsPair, PlainLSTMStep):  # type: ignore[misc]
    """A replacement for `nn.LSTMCell`."""

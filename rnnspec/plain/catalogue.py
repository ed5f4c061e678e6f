"""The plain layer or cell of each kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rnnspec.contract.kinds import GRU, GRU_CELL, LSTM, LSTM_CELL, RNN, RNN_CELL
from rnnspec.plain.cells import OneStep, OneStepOfRNN, PlainGRUStep, PlainLSTMStep, PlainRNNStep
from rnnspec.plain.gated import JoinedLSTM, PlainGRU, StatesAsPair
from rnnspec.plain.layer import Plain


@dataclass(frozen=True)
class PlainKind:
    """The plain layer of a kind.

    joined   the layer, whose states are a single tensor
    outside  the class that takes and returns states in the documented form, if it differs
    """

    joined: type[Plain]
    outside: tuple[type, ...] = ()

    @property
    def bases(self) -> tuple[type, ...]:
        """The base classes of a layer that takes and returns states in the documented form."""
        return (*self.outside, self.joined)


PLAIN_KINDS: Mapping[str, PlainKind] = {
    RNN.name: PlainKind(Plain),
    GRU.name: PlainKind(PlainGRU),
    LSTM.name: PlainKind(JoinedLSTM, (StatesAsPair,)),
    RNN_CELL.name: PlainKind(PlainRNNStep, (OneStepOfRNN,)),
    GRU_CELL.name: PlainKind(PlainGRUStep, (OneStep,)),
    LSTM_CELL.name: PlainKind(PlainLSTMStep, (OneStep, StatesAsPair)),
}

"""The plain layer of each kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rnnspec.contract.kinds import GRU, LSTM, RNN
from rnnspec.plain.gru import PlainGRU
from rnnspec.plain.layer import Plain
from rnnspec.plain.lstm import JoinedLSTM, PairOfStates


@dataclass(frozen=True)
class PlainKind:
    """The plain layer of a kind.

    joined   the layer, whose states are one tensor
    outside  what takes and returns them as the contract says, if that is otherwise
    """

    joined: type[Plain]
    outside: tuple[type, ...] = ()


PLAIN_KINDS: Mapping[str, PlainKind] = {
    RNN.name: PlainKind(Plain),
    GRU.name: PlainKind(PlainGRU),
    LSTM.name: PlainKind(JoinedLSTM, (PairOfStates,)),
}

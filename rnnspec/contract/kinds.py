"""The kinds of recurrent layer that a contract can describe."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Nonlinearity(str, Enum):
    """The activation of an nn.RNN, with the values of its `nonlinearity` argument."""

    TANH = "tanh"
    RELU = "relu"


@dataclass(frozen=True)
class Kind:
    """One kind of recurrent layer: the gates that its weights stack and the states that it carries.

    Source: the *Variables* sections of the nn.RNN, nn.LSTM and nn.GRU pages.
    """

    name: str
    title: str
    gates: int
    states: tuple[str, ...]
    nonlinearities: tuple[str, ...]


RNN = Kind(
    "rnn", "RNN", gates=1, states=("h",), nonlinearities=tuple(each.value for each in Nonlinearity)
)

KINDS: dict[str, Kind] = {kind.name: kind for kind in (RNN,)}

"""The kinds of recurrent layer that a contract can be about."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One kind of recurrent layer: how many gates its weights stack and which states it carries.

    Source: the *Variables* sections of the nn.RNN, nn.LSTM and nn.GRU pages.
    """

    name: str
    title: str
    gates: int
    states: tuple[str, ...]
    nonlinearities: tuple[str, ...]


RNN = Kind("rnn", "RNN", gates=1, states=("h",), nonlinearities=("tanh", "relu"))

KINDS: dict[str, Kind] = {kind.name: kind for kind in (RNN,)}

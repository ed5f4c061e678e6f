"""The banks of layers and cells by kind: planted bugs and correct implementations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module

from torch import nn

from rnnspec.contract.kinds import GRU, GRU_CELL, LSTM, LSTM_CELL, RNN, RNN_CELL
from rnnspec.options import check_choice


@dataclass(frozen=True)
class Bank:
    """The layers of a kind with which rnnspec is tested, by name."""

    bugs: Mapping[str, type[nn.Module]]
    correct: Mapping[str, type[nn.Module]]


BANKS: Mapping[str, str] = {
    RNN.name: "bank",
    GRU.name: "gru",
    LSTM.name: "lstm",
    RNN_CELL.name: "rnn_cell",
    GRU_CELL.name: "gru_cell",
    LSTM_CELL.name: "lstm_cell",
}
"""The module with the bank of each kind, which is imported only when it is needed."""


def find_bank(kind: str) -> Bank:
    """Return the bank of a kind. Raises SelectionError, with a suggestion, if it has none."""
    check_choice("kind", kind, BANKS)
    module = import_module(f"rnnspec.selftest.{BANKS[kind]}")
    return Bank(module.BUGS, module.CORRECT)

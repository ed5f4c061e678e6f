"""The banks of layers by kind: planted bugs and correct implementations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from rnnspec.contract.kinds import GRU, LSTM, RNN
from rnnspec.options import check_choice


@dataclass(frozen=True)
class Bank:
    """The layers of one kind that rnnspec is judged by, by name."""

    bugs: Mapping[str, type[nn.Module]]
    correct: Mapping[str, type[nn.Module]]


def find_bank(kind: str) -> Bank:
    """Return the bank of a kind. Raises SelectionError, with a suggestion, if it has none."""
    check_choice("kind", kind, BANKS)
    return BANKS[kind]()


def _load_rnn_bank() -> Bank:
    from rnnspec.selftest import bank

    return Bank(bank.BUGS, bank.CORRECT)


def _load_gru_bank() -> Bank:
    from rnnspec.selftest import gru

    return Bank(gru.BUGS, gru.CORRECT)


def _load_lstm_bank() -> Bank:
    from rnnspec.selftest import lstm

    return Bank(lstm.BUGS, lstm.CORRECT)


BANKS: Mapping[str, Callable[[], Bank]] = {
    RNN.name: _load_rnn_bank,
    GRU.name: _load_gru_bank,
    LSTM.name: _load_lstm_bank,
}
"""What loads the bank of each kind; only what is asked for is loaded."""

"""The cell of every kind of layer."""

from __future__ import annotations

from collections.abc import Mapping

from rnnspec.contract.config import DEFAULTS, Config
from rnnspec.contract.kinds import GRU, LSTM, RNN, Kind, Nonlinearity
from rnnspec.oracle.cells import Cell
from rnnspec.oracle.elman import RELU, TANH, ElmanCell
from rnnspec.oracle.gru import GruCell
from rnnspec.oracle.lstm import LstmCell

CELLS: Mapping[str, Mapping[str, Cell]] = {
    RNN.name: {Nonlinearity.TANH.value: ElmanCell(TANH), Nonlinearity.RELU.value: ElmanCell(RELU)},
    GRU.name: {DEFAULTS["nonlinearity"]: GruCell()},
    LSTM.name: {DEFAULTS["nonlinearity"]: LstmCell()},
}
"""The cells by kind of layer, then by nonlinearity. A kind without that argument uses its
default."""


def cell_of(config: Config) -> Cell:
    """Return the cell of a configuration."""
    return CELLS[config.kind_data.layer][config.nonlinearity]


def list_separate_gates(kind: Kind) -> list[str]:
    """Return the gates whose two biases are not added to each other, because they have two sums."""
    cell = cell_of(Config(2, 2, kind=kind.name))
    blocks = zip(kind.gates, cell.input_blocks, cell.hidden_blocks, strict=True)
    return [gate for gate, read, carried in blocks if read != carried]

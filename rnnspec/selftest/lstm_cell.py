"""The bank of LSTM cells: bugs planted in every kind, and bugs of cells and of an LSTM's states."""

from __future__ import annotations

from torch import nn

from rnnspec.contract.kinds import LSTM_CELL
from rnnspec.plain.cells import OneStep, PlainLSTMCell, PlainLSTMStep
from rnnspec.plain.lstm import JoinedLSTM, PairOfStates, PlainLSTM
from rnnspec.selftest import bank, correct, correct_cells, correct_gates
from rnnspec.selftest.bugs import cell_states, gate_backward, gate_mixups, gate_order, lstm, pairs
from rnnspec.selftest.planting import gather_cells

OWN = {
    **bank.list_classes(gate_order, JoinedLSTM),
    **bank.list_classes(lstm, JoinedLSTM),
    **bank.list_classes(gate_mixups, JoinedLSTM),
    **bank.list_classes(gate_backward, JoinedLSTM),
    **bank.list_classes(cell_states, JoinedLSTM),
    **bank.list_classes(pairs, JoinedLSTM),
}

BUGS, MADE = gather_cells(
    LSTM_CELL,
    globals(),
    bugs={**bank.BUGS, **OWN},
    correct={
        "DoubleInside": correct.DoubleInside,
        **bank.list_classes(correct_gates, PlainLSTM),
    },
    inside=PlainLSTMStep,
    outside=(OneStep, PairOfStates),
)
"""Every planted bug, and the correct cells that are made of layers, by name."""
CORRECT: dict[str, type[nn.Module]] = {
    "PlainLSTMCell": PlainLSTMCell,
    "SubclassOfLSTMCell": correct_cells.SubclassOfLSTMCell,
    **MADE,
}
"""Every correct implementation, by name."""

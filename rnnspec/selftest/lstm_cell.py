"""The bank of LSTM cells: bugs planted in every kind, and bugs of cells and of an LSTM's states."""

from __future__ import annotations

from rnnspec.contract.kinds import LSTM_CELL
from rnnspec.plain.cells import PlainLSTMCell
from rnnspec.plain.gated import PlainLSTM
from rnnspec.selftest import correct, correct_cells, correct_gates
from rnnspec.selftest.bank import list_classes
from rnnspec.selftest.bugs import cell_states, gate_backward, gate_mixups, gate_order, lstm, pairs
from rnnspec.selftest.planting import fill_bank

BUGS, CORRECT = fill_bank(
    LSTM_CELL,
    globals(),
    own=(gate_order, lstm, gate_mixups, gate_backward, cell_states, pairs),
    correct=(
        PlainLSTMCell,
        correct_cells.SubclassOfLSTMCell,
        correct.DoubleInside,
        *list_classes(correct_gates, PlainLSTM).values(),
    ),
)
"""Every planted bug, and every correct implementation, by name."""

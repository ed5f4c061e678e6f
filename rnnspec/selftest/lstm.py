"""The bank of LSTMs: bugs planted in every kind of layer, and bugs of the cell of an LSTM."""

from __future__ import annotations

from rnnspec.contract.kinds import LSTM
from rnnspec.plain.gated import PlainLSTM
from rnnspec.selftest import correct_gates
from rnnspec.selftest.bank import list_classes
from rnnspec.selftest.bugs import (
    cell_states,
    gate_backward,
    gate_mixups,
    gate_order,
    lstm,
    pairs,
    projections,
)
from rnnspec.selftest.planting import OTHERWISE_RUN, fill_bank

BUGS, CORRECT = fill_bank(
    LSTM,
    globals(),
    own=(gate_order, lstm, gate_mixups, gate_backward, cell_states, pairs, projections),
    correct=(
        PlainLSTM,
        *OTHERWISE_RUN,
        correct_gates.SubclassOfLSTM,
        *list_classes(correct_gates, PlainLSTM).values(),
    ),
)
"""Every planted bug, and every correct implementation, by name."""

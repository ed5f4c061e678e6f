"""The bank of GRU cells: bugs planted in every kind, and bugs of cells and of a GRU's gates."""

from __future__ import annotations

from rnnspec.contract.kinds import GRU_CELL
from rnnspec.plain.cells import PlainGRUCell
from rnnspec.plain.gated import PlainGRU
from rnnspec.selftest import correct, correct_cells, correct_gates
from rnnspec.selftest.bank import list_classes
from rnnspec.selftest.bugs import gate_activations, gate_backward, gate_order, gru
from rnnspec.selftest.planting import fill_bank

BUGS, CORRECT = fill_bank(
    GRU_CELL,
    globals(),
    own=(gate_order, gru, gate_activations, gate_backward),
    correct=(
        PlainGRUCell,
        correct_cells.SubclassOfGRUCell,
        correct.DoubleInside,
        *list_classes(correct_gates, PlainGRU).values(),
    ),
)
"""Every planted bug, and every correct implementation, by name."""

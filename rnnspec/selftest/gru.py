"""The bank of GRUs: bugs planted in every kind of layer, and bugs of the cell of a GRU."""

from __future__ import annotations

from rnnspec.contract.kinds import GRU
from rnnspec.plain.gated import PlainGRU
from rnnspec.selftest import correct_gates
from rnnspec.selftest.bank import list_classes
from rnnspec.selftest.bugs import gate_activations, gate_backward, gate_order, gru
from rnnspec.selftest.planting import OTHERWISE_RUN, fill_bank

BUGS, CORRECT = fill_bank(
    GRU,
    globals(),
    own=(gate_order, gru, gate_activations, gate_backward),
    correct=(
        PlainGRU,
        *OTHERWISE_RUN,
        correct_gates.SubclassOfGRU,
        *list_classes(correct_gates, PlainGRU).values(),
    ),
)
"""Every planted bug, and every correct implementation, by name."""

"""The bank of GRU cells: bugs planted in every kind, and bugs of cells and of a GRU's gates."""

from __future__ import annotations

from torch import nn

from rnnspec.contract.kinds import GRU_CELL
from rnnspec.plain.cells import OneStep, PlainGRUCell, PlainGRUStep
from rnnspec.plain.gated import PlainGRU
from rnnspec.selftest import bank, correct, correct_cells, correct_gates
from rnnspec.selftest.bugs import gate_activations, gate_backward, gate_order, gru
from rnnspec.selftest.planting import gather_cells

OWN = {
    **bank.list_classes(gate_order, PlainGRU),
    **bank.list_classes(gru, PlainGRU),
    **bank.list_classes(gate_activations, PlainGRU),
    **bank.list_classes(gate_backward, PlainGRU),
}

BUGS, MADE = gather_cells(
    GRU_CELL,
    globals(),
    bugs={**bank.BUGS, **OWN},
    correct={
        "DoubleInside": correct.DoubleInside,
        **bank.list_classes(correct_gates, PlainGRU),
    },
    inside=PlainGRUStep,
    outside=(OneStep,),
)
"""Every planted bug, and the correct cells that are made of layers, by name."""
CORRECT: dict[str, type[nn.Module]] = {
    "PlainGRUCell": PlainGRUCell,
    "SubclassOfGRUCell": correct_cells.SubclassOfGRUCell,
    **MADE,
}
"""Every correct implementation, by name."""

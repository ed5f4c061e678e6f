"""The bank of RNN cells: bugs planted in every kind, and bugs of cells."""

from __future__ import annotations

from torch import nn

from rnnspec.contract.kinds import RNN_CELL
from rnnspec.plain.cells import OneStepOfRNN, PlainRNNCell, PlainRNNStep
from rnnspec.selftest import bank, correct, correct_cells, correct_sums
from rnnspec.selftest.bugs import cells_rnn
from rnnspec.selftest.bugs.planted import Planted
from rnnspec.selftest.planting import gather_cells

CORRECT_LAYERS: tuple[type[nn.Module], ...] = (
    correct.SumsReversed,
    correct.SumsInBlocks,
    correct.ElementwiseProducts,
    correct.DoubleInside,
    correct.BiasesAddedFirst,
    correct.TanhBySigmoid,
    correct.ReluByMaximum,
    correct.HandWrittenBackward,
    correct_sums.SumsIn16Bits,
)
OWN = bank.list_classes(cells_rnn, Planted)

BUGS, MADE = gather_cells(
    RNN_CELL,
    globals(),
    bugs={**bank.BUGS, **OWN},
    correct={layer.__name__: layer for layer in CORRECT_LAYERS},
    inside=PlainRNNStep,
    outside=(OneStepOfRNN,),
)
"""Every planted bug, and the correct cells that are made of layers, by name."""
CORRECT: dict[str, type[nn.Module]] = {
    "PlainRNNCell": PlainRNNCell,
    "SubclassOfRNNCell": correct_cells.SubclassOfRNNCell,
    **MADE,
}
"""Every correct implementation, by name."""

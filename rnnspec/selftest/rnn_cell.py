"""The bank of RNN cells: bugs planted in every kind, and bugs of cells."""

from __future__ import annotations

from rnnspec.contract.kinds import RNN_CELL
from rnnspec.plain.cells import PlainRNNCell
from rnnspec.selftest import correct, correct_cells, correct_sums
from rnnspec.selftest.bugs import cells_rnn
from rnnspec.selftest.planting import fill_bank

BUGS, CORRECT = fill_bank(
    RNN_CELL,
    globals(),
    own=(cells_rnn,),
    correct=(
        PlainRNNCell,
        correct_cells.SubclassOfRNNCell,
        correct.SumsReversed,
        correct.SumsInBlocks,
        correct.ElementwiseProducts,
        correct.DoubleInside,
        correct.BiasesAddedFirst,
        correct.TanhBySigmoid,
        correct.ReluByMaximum,
        correct.HandWrittenBackward,
        correct_sums.SumsIn16Bits,
    ),
)
"""Every planted bug, and every correct implementation, by name."""

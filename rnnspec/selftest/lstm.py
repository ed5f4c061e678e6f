"""The bank of LSTMs: bugs planted in every kind of layer, and bugs of the cell of an LSTM."""

from __future__ import annotations

from torch import nn

from rnnspec.contract.kinds import LSTM
from rnnspec.plain.lstm import JoinedLSTM, PairOfStates, PlainLSTM
from rnnspec.selftest import bank, correct_gates
from rnnspec.selftest.bugs import (
    cell_states,
    gate_backward,
    gate_mixups,
    gate_order,
    lstm,
    pairs,
    projections,
)
from rnnspec.selftest.planting import OTHERWISE_RUN, combine, plant_everywhere

BUGS: dict[str, type[nn.Module]] = {
    **plant_everywhere(bank.BUGS, JoinedLSTM, LSTM, globals(), outside=(PairOfStates,)),
    **{
        name: combine(name, bug, __name__, outside=(PairOfStates,), kind=LSTM)
        for module in (gate_order, lstm, gate_mixups, gate_backward)
        for name, bug in bank.list_classes(module, JoinedLSTM).items()
        if bank.names_rule(bug)
    },
    **{
        name: bug
        for module in (cell_states, pairs, projections)
        for name, bug in bank.list_classes(module, JoinedLSTM).items()
        if bank.names_rule(bug)
    },
}
"""Every planted bug, by name."""

CORRECT: dict[str, type[nn.Module]] = {
    "PlainLSTM": PlainLSTM,
    **{
        layer.__name__: combine(
            layer.__name__, layer, __name__, inside=(JoinedLSTM,), outside=(PairOfStates,)
        )
        for layer in OTHERWISE_RUN
    },
    **bank.list_classes(correct_gates, nn.LSTM),
    **bank.list_classes(correct_gates, PlainLSTM),
}
"""Every correct implementation, by name."""
globals().update(BUGS | CORRECT)

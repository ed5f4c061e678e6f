"""The bank of GRUs: bugs planted in every kind of layer, and bugs of the cell of a GRU."""

from __future__ import annotations

from torch import nn

from rnnspec.contract.kinds import GRU
from rnnspec.plain.gated import PlainGRU
from rnnspec.selftest import bank, correct_gates
from rnnspec.selftest.bugs import gate_activations, gate_backward, gate_order, gru
from rnnspec.selftest.planting import OTHERWISE_RUN, combine, plant_everywhere

BUGS: dict[str, type[nn.Module]] = {
    **plant_everywhere(bank.BUGS, PlainGRU, GRU, globals()),
    **{
        name: bug
        for module in (gate_order, gru, gate_activations, gate_backward)
        for name, bug in bank.list_classes(module, PlainGRU).items()
        if bank.names_rule(bug)
    },
}
"""Every planted bug, by name."""

CORRECT: dict[str, type[nn.Module]] = {
    "PlainGRU": PlainGRU,
    **{
        layer.__name__: combine(layer.__name__, layer, __name__, inside=(PlainGRU,))
        for layer in OTHERWISE_RUN
    },
    **bank.list_classes(correct_gates, nn.GRU),
    **bank.list_classes(correct_gates, PlainGRU),
}
"""Every correct implementation, by name."""
globals().update(BUGS | CORRECT)

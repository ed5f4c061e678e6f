"""Planted bugs that mistake a part of an LSTM for another, re-created from public code."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnspec.contract.kinds import LSTM
from rnnspec.plain.call import Here
from rnnspec.plain.gated import GATES
from rnnspec.selftest.bugs.planted import (
    Planter,
    change_rows,
    take_rows,
    use_for_tanh,
    use_in_gates,
)

plant = Planter(__name__, LSTM)

BiasOfOutputGateInThree = plant(
    "The input and the forget gate add the biases of the output gate.",
    "recurrence.output gates.alone",
    dict.fromkeys(("bias_ih", "bias_hh"), take_rows(3, 3, 2, 3)),
    report="ddbourgin/numpy-ml #42",
)
EveryGateOfInputRows = plant(
    "All gates are computed with the rows of the input gate.",
    "recurrence.output",
    {"sums": lambda sums: dict.fromkeys(sums, sums["input"])},
    report="stanfordnlp/stanza #88",
)
NewMemoryAdded = plant(
    "The cell state receives `i + g` in place of `i g`.",
    "recurrence.output",
    {"c": lambda c, i, f, g, before: f * before["c"] + (i + g)},
    report="MartinuzziFrancesco/torchrecurrent #22",
)
ForgetGateCoupled = plant(
    "The forget gate is `1 - i`.",
    "gates.alone recurrence.output",
    {"gate.forget": lambda f, i: 1 - i},
    report="glample/tagger #25",
)


def add_late(f: Tensor, spot: Here) -> Tensor:
    """Return the forget gate plus `b_hf`."""
    return f + spot.call.weight("bias_hh", *spot.place).chunk(GATES)[1]


ForgetBiasAfterSigmoid = plant(
    "`b_hf` is added to the forget gate after its sigmoid.",
    "recurrence.two-biases recurrence.output",
    {"bias_hh": change_rows(1, GATES, torch.zeros_like), "gate.forget": add_late},
    report="apache/tvm PR #3410",
    where=lambda spot: spot.call.has_biases,
)
ActivationsExchanged = plant(
    "tanh and the sigmoid have changed places.",
    "recurrence.output",
    {**use_in_gates(torch.tanh, "input", "forget", "output"), **use_for_tanh(torch.sigmoid)},
    report="tflearn/tflearn PR #200",
)
MemoryReadAbove = plant(
    "Without a projection, layers above the first read the cell states of the layer below in place "
    "of its hidden states.",
    "stacking.composition recurrence.output",
    {"steps.h": lambda h, states: states["c"]},
    report="pytorch/examples #167",
    where=lambda spot: spot.layer + 1 < spot.call.layers and not spot.call.has_projection,
    beyond_cells=True,
)
plant.name_classes(globals())

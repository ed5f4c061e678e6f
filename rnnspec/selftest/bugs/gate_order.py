"""Planted bugs in the order in which a GRU takes the rows of its weights for gates."""

from __future__ import annotations

from rnnspec.contract.kinds import GRU
from rnnspec.selftest.bugs.planted import Planter, take_rows

plant = Planter(__name__, GRU)
PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")

UpdateGateFirst = plant(
    "The rows are read as update, reset and new gate, the order of Keras.",
    "gates.order",
    dict.fromkeys(PARAMETERS, take_rows(1, 0, 2)),
    report="microsoft/onnxscript PR #2674",
)
NewGateBeforeUpdate = plant(
    "The rows are read as reset, new and update gate.",
    "gates.order",
    dict.fromkeys(PARAMETERS, take_rows(0, 2, 1)),
)
NewGateFirst = plant(
    "The rows are read as new, update and reset gate.",
    "gates.order",
    dict.fromkeys(PARAMETERS, take_rows(2, 1, 0)),
)
GatesRotatedDown = plant(
    "The rows are read as new, reset and update gate.",
    "gates.order",
    dict.fromkeys(PARAMETERS, take_rows(1, 2, 0)),
)
GatesRotatedUp = plant(
    "The rows are read as update, new and reset gate.",
    "gates.order",
    dict.fromkeys(PARAMETERS, take_rows(2, 0, 1)),
)
BiasesOfUpdateFirst = plant(
    "The rows of both biases are read as update, reset and new gate, those of the weights as they "
    "should.",
    "gates.order recurrence.two-biases",
    dict.fromkeys(("bias_ih", "bias_hh"), take_rows(1, 0, 2)),
    report="openvinotoolkit/openvino PR #17651",
)
GatesExchangedInBackward = plant(
    "The backward direction exchanges the reset and the update gate.",
    "directions.own-weights gates.order gates.alone recurrence.output",
    dict.fromkeys(PARAMETERS, take_rows(1, 0, 2)),
    where=lambda spot: spot.direction == 1,
    beyond_cells=True,
    narrow=True,
)
RecurrentGatesExchanged = plant(
    "In `weight_hh` and `bias_hh` only, the rows of the reset and the update gate are exchanged.",
    "gates.order",
    dict.fromkeys(("weight_hh", "bias_hh"), take_rows(1, 0, 2)),
)
plant.name_classes(globals())

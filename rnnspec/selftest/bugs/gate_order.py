"""Planted bugs in the order of gates that an LSTM or a GRU uses to read the rows of its weights."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import torch

from rnnspec.contract.kinds import GRU, LSTM
from rnnspec.plain.gated import GATES
from rnnspec.selftest.bugs.lstm import PlantedLSTM
from rnnspec.selftest.bugs.planted import Planter, take_rows
from rnnspec.selftest.labels import seen_by

plant = Planter(__name__, LSTM)
plant_in_gru = Planter(__name__, GRU)
PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
LETTERS = "IFGO"
"""The gates in the documented order: input, forget, cell and output."""
REPORTS = {
    "IFOG": "apple/coremltools PR #93",
    "FIGO": "NX-AI/xlstm #98",
    "IGOF": "CrispStrobe/CrispASR PR #106",
    "IGFO": "keras-team/keras #3088",
    "GIOF": "PaddlePaddle/Paddle #23116",
    "GFIO": "PaddlePaddle/Paddle #32893",
}
"""Public reports of rows in another order than the code assumed.

The letters are the gates as which rows in the documented order are read.
"""

for _letters in map("".join, permutations(LETTERS)):
    if _letters != LETTERS:
        globals()[f"RowsReadAs{_letters}"] = plant(
            f"The rows are read as the gates "
            f"{', '.join(LSTM.gates[LETTERS.index(each)] for each in _letters)}.",
            "gates.order",
            dict.fromkeys(PARAMETERS, take_rows(*map(_letters.index, LETTERS))),
            report=REPORTS.get(_letters, ""),
        )

OutputGateSecondInBackward = plant(
    "The backward direction reads the rows as input, forget, output and cell gate.",
    "gates.order gates.alone directions.own-weights recurrence.output",
    dict.fromkeys(PARAMETERS, take_rows(0, 1, 3, 2)),
    where=lambda spot: spot.direction == 1,
    beyond_cells=True,
    narrow=True,
)
RecurrentGatesInOtherOrder = plant(
    "In `weight_hh` and `bias_hh` only, the rows of the forget and the cell gate are exchanged.",
    "gates.order",
    dict.fromkeys(("weight_hh", "bias_hh"), take_rows(0, 2, 1, 3)),
)


@seen_by("parameters.loaded", report="NVIDIA/sentiment-discovery #18", narrow=True)
class GatesReorderedOnLoad(PlantedLSTM):
    """`load_state_dict()` treats the rows as rows of an older version, in the order input, forget,
    output and cell gate, and reorders them.
    """

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        loaded = dict(state_dict)
        for name in self._parameters:
            if prefix + name in loaded and not name.startswith("weight_hr"):
                i, f, o, g = loaded[prefix + name].chunk(GATES)
                loaded[prefix + name] = torch.cat([i, f, g, o])
        super()._load_from_state_dict(loaded, prefix, *rest)


UpdateGateFirst = plant_in_gru(
    "The rows are read as update, reset and new gate, the order of Keras.",
    "gates.order",
    dict.fromkeys(PARAMETERS, take_rows(1, 0, 2)),
    report="microsoft/onnxscript PR #2674",
)
NewGateBeforeUpdate = plant_in_gru(
    "The rows are read as reset, new and update gate.",
    "gates.order",
    dict.fromkeys(PARAMETERS, take_rows(0, 2, 1)),
)
NewGateFirst = plant_in_gru(
    "The rows are read as new, update and reset gate.",
    "gates.order",
    dict.fromkeys(PARAMETERS, take_rows(2, 1, 0)),
)
GatesRotatedDown = plant_in_gru(
    "The rows are read as new, reset and update gate.",
    "gates.order",
    dict.fromkeys(PARAMETERS, take_rows(1, 2, 0)),
)
GatesRotatedUp = plant_in_gru(
    "The rows are read as update, new and reset gate.",
    "gates.order",
    dict.fromkeys(PARAMETERS, take_rows(2, 0, 1)),
)
BiasesOfUpdateFirst = plant_in_gru(
    "The rows of both biases are read as update, reset and new gate, those of the weights as they "
    "should.",
    "gates.order recurrence.two-biases",
    dict.fromkeys(("bias_ih", "bias_hh"), take_rows(1, 0, 2)),
    report="openvinotoolkit/openvino PR #17651",
)
GatesExchangedInBackward = plant_in_gru(
    "The backward direction exchanges the reset and the update gate.",
    "directions.own-weights gates.order gates.alone recurrence.output",
    dict.fromkeys(PARAMETERS, take_rows(1, 0, 2)),
    where=lambda spot: spot.direction == 1,
    beyond_cells=True,
    narrow=True,
)
RecurrentGatesExchanged = plant_in_gru(
    "In `weight_hh` and `bias_hh` only, the rows of the reset and the update gate are exchanged.",
    "gates.order",
    dict.fromkeys(("weight_hh", "bias_hh"), take_rows(1, 0, 2)),
)
plant.name_classes(globals())

"""Planted bugs in the order in which an LSTM takes the rows of its weights for gates."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from itertools import permutations
from typing import Any

import torch
from torch import Tensor

from rnnspec.contract.kinds import LSTM
from rnnspec.plain.lstm import GATES
from rnnspec.selftest.bugs.lstm import PlantedLSTM
from rnnspec.selftest.seen import seen_by

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
"""The public reports of rows in another order than the one that was taken for granted.

The letters tell which gates the rows of the documented order are read as.
"""


class Reordered(PlantedLSTM):
    """The base of the bugs that read the rows of weights and biases in another order."""

    stacked: tuple[int, ...] = (0, 1, 2, 3)

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        rows = super().parameter(kind, layer, direction)
        if kind == "weight_hr":
            return rows
        blocks = rows.chunk(GATES)
        return torch.cat([blocks[self.stacked.index(gate)] for gate in range(GATES)])


def _make_bug(order: tuple[int, ...]) -> type[PlantedLSTM]:
    """Return the bug of reading the rows in another order of the gates."""
    letters = "".join(LETTERS[gate] for gate in order)
    named = ", ".join(LSTM.gates[gate] for gate in order)
    label = seen_by("gates.order", report=REPORTS.get(letters, ""))
    attributes: dict[str, Any] = {
        "__doc__": f"The rows are read as the gates {named}.",
        "__module__": __name__,
        "stacked": order,
    }
    return label(type(f"RowsReadAs{letters}", (Reordered,), attributes))


globals().update(
    {
        bug.__name__: bug
        for bug in map(_make_bug, permutations(range(GATES)))
        if bug.stacked != tuple(range(GATES))  # type: ignore[attr-defined]
    }
)


@seen_by("gates.order", "gates.alone", "directions.own-weights", "recurrence.output")
class OutputGateSecondInBackward(PlantedLSTM):
    """The backward direction reads the rows as input, forget, output and cell gate."""

    beyond_cells = True
    narrow = True

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        rows = super().parameter(kind, layer, direction)
        if kind == "weight_hr" or not direction:
            return rows
        i, f, g, o = rows.chunk(GATES)
        return torch.cat([i, f, o, g])


@seen_by("gates.order")
class RecurrentGatesInOtherOrder(PlantedLSTM):
    """In `weight_hh` and `bias_hh` only, the rows of the forget and the cell gate are exchanged."""

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        rows = super().parameter(kind, layer, direction)
        if kind not in ("weight_hh", "bias_hh"):
            return rows
        i, f, g, o = rows.chunk(GATES)
        return torch.cat([i, g, f, o])


@seen_by("parameters.loaded", report="NVIDIA/sentiment-discovery #18")
class GatesReorderedOnLoad(PlantedLSTM):
    """`load_state_dict()` takes the rows for those of an older version, in the order input, forget,
    output and cell gate, and reorders them.
    """

    narrow = True

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        loaded = dict(state_dict)
        for name in self._parameters:
            if prefix + name in loaded and not name.startswith("weight_hr"):
                i, f, o, g = loaded[prefix + name].chunk(GATES)
                loaded[prefix + name] = torch.cat([i, f, g, o])
        super()._load_from_state_dict(loaded, prefix, *rest)

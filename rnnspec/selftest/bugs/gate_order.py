"""Planted bugs in the order in which a GRU takes the rows of its weights for gates."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

import torch
from torch import Tensor

from rnnspec.plain.gru import GATES
from rnnspec.selftest.bugs.gru import PlantedGRU
from rnnspec.selftest.seen import seen_by


class Reordered(PlantedGRU):
    """The base of the bugs that read the rows of weights and biases in another order."""

    stacked: tuple[int, ...] = (0, 1, 2)

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        blocks = super().parameter(kind, layer, direction).chunk(GATES)
        return torch.cat([blocks[place] for place in self.stacked])


@seen_by("gates.order", report="microsoft/onnxscript PR #2674")
class UpdateGateFirst(Reordered):
    """The rows are read as update, reset and new gate, the order of Keras."""

    stacked = (1, 0, 2)


@seen_by("gates.order")
class NewGateBeforeUpdate(Reordered):
    """The rows are read as reset, new and update gate."""

    stacked = (0, 2, 1)


@seen_by("gates.order")
class NewGateFirst(Reordered):
    """The rows are read as new, update and reset gate."""

    stacked = (2, 1, 0)


@seen_by("gates.order")
class GatesRotatedDown(Reordered):
    """The rows are read as new, reset and update gate."""

    stacked = (1, 2, 0)


@seen_by("gates.order")
class GatesRotatedUp(Reordered):
    """The rows are read as update, new and reset gate."""

    stacked = (2, 0, 1)


@seen_by("gates.order", "recurrence.two-biases", report="openvinotoolkit/openvino PR #17651")
class BiasesOfUpdateFirst(PlantedGRU):
    """The rows of both biases are read as update, reset and new gate, those of the weights as they
    should.
    """

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        read = [bias.chunk(GATES) for bias in super().biases(layer, direction)]
        return [torch.cat([update, reset, new]) for reset, update, new in read]


@seen_by("directions.own-weights", "gates.order", "gates.alone", "recurrence.output")
class GatesExchangedInBackward(PlantedGRU):
    """The backward direction exchanges the reset and the update gate."""

    beyond_cells = True
    narrow = True

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        reset, update, new = super().parameter(kind, layer, direction).chunk(GATES)
        return torch.cat([update, reset, new] if direction else [reset, update, new])


@seen_by("gates.order")
class RecurrentGatesExchanged(PlantedGRU):
    """In `weight_hh` and `bias_hh` only, the rows of the reset and the update gate are
    exchanged.
    """

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        reset, update, new = super().parameter(kind, layer, direction).chunk(GATES)
        return torch.cat([update, reset, new] if "hh" in kind else [reset, update, new])

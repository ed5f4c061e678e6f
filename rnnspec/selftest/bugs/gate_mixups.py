"""Planted bugs that take one part of an LSTM for another, as somebody's code once did."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

import torch
from torch import Tensor

from rnnspec.plain.layer import Sizes
from rnnspec.plain.lstm import GATES
from rnnspec.selftest.bugs.lstm import PlantedLSTM
from rnnspec.selftest.seen import seen_by


@seen_by("recurrence.output", "gates.alone", report="ddbourgin/numpy-ml #42")
class BiasOfOutputGateInThree(PlantedLSTM):
    """The input and the forget gate add the biases of the output gate."""

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        rows = [bias.chunk(GATES) for bias in super().biases(layer, direction)]
        return [torch.cat([o, o, g, o]) for _, _, g, o in rows]


@seen_by("recurrence.output", report="stanfordnlp/stanza #88")
class EveryGateOfInputRows(PlantedLSTM):
    """All gates are computed with the rows of the input gate."""

    def open_gates(self, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> tuple[Tensor, ...]:
        return super().open_gates(i, i, i, i)


@seen_by("recurrence.output", report="MartinuzziFrancesco/torchrecurrent #22")
class NewMemoryAdded(PlantedLSTM):
    """The cell state receives `i + g` in place of `i g`."""

    def renew(self, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Tensor:
        return f * c + (i + g)


@seen_by("gates.alone", "recurrence.output", report="glample/tagger #25")
class ForgetGateCoupled(PlantedLSTM):
    """The forget gate is `1 - i`."""

    def renew(self, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Tensor:
        return (1 - i) * c + i * g


@seen_by("recurrence.two-biases", "recurrence.output", report="apache/tvm PR #3410")
class ForgetBiasAfterSigmoid(PlantedLSTM):
    """`b_hf` is added to the forget gate after its sigmoid."""

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        right = super().biases(layer, direction)
        if not right:
            self.__dict__["late"] = 0
            return right
        i, f, g, o = right[1].chunk(GATES)
        self.__dict__["late"] = f
        return [right[0], torch.cat([i, torch.zeros_like(f), g, o])]

    def renew(self, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Tensor:
        return super().renew(c, i, f + self.__dict__["late"], g, o)


@seen_by("recurrence.output", report="tflearn/tflearn PR #200")
class ActivationsExchanged(PlantedLSTM):
    """tanh and the sigmoid have changed places."""

    def gate(self, x: Tensor) -> Tensor:
        return torch.tanh(x)

    def activation(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x)


@seen_by("stacking.composition", "recurrence.output", report="pytorch/examples #167")
class MemoryReadAbove(PlantedLSTM):
    """Without a projection, layers above the first read the cell states of the layer below in place
    of its hidden states.
    """

    beyond_cells = True

    def run_direction(
        self, data: Tensor, sizes: Sizes, h: Tensor, layer: int, direction: int
    ) -> tuple[Tensor, Tensor]:
        self.__dict__["is_read"] = layer + 1 < self.num_layers
        return super().run_direction(data, sizes, h, layer, direction)

    def join(self, outputs: dict[int, Tensor], length: int) -> Tensor:
        right = super().join(outputs, length)
        if not self.__dict__["is_read"] or self.output_size != self.hidden_size:
            return right
        return torch.cat([self.recall(right), self.show(right)], dim=-1)

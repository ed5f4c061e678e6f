"""Planted bugs in the cell of an LSTM: its gates, and how they renew and show the cell state."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import hardsigmoid, hardtanh

from rnnspec.plain.lstm import GATES, JoinedLSTM
from rnnspec.selftest.bugs.planted import Planted, replace_gradient
from rnnspec.selftest.seen import seen_by


class PlantedLSTM(Planted, JoinedLSTM):
    """The reference LSTM with one thing wrong about its cell."""


@seen_by("recurrence.output")
class ForgetGateInverted(PlantedLSTM):
    """The cell state is multiplied by `1 - f`."""

    def renew(self, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Tensor:
        return (1 - f) * c + i * g


@seen_by("gates.alone", "recurrence.output", report="clab/dynet #807")
class ForgetBiasOfOne(PlantedLSTM):
    """The forget gate adds 1 to its sum, as in other libraries."""

    def open_gates(self, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> tuple[Tensor, ...]:
        return super().open_gates(i, f + 1, g, o)


@seen_by("gates.alone", "recurrence.output")
class InputGateCoupled(PlantedLSTM):
    """The input gate is `1 - f`."""

    def renew(self, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Tensor:
        return f * c + (1 - f) * g


@seen_by("gates.alone", "recurrence.output")
class PeepholeToInputGate(PlantedLSTM):
    """The input gate reads the cell state too."""

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        peep = torch.zeros_like(x)
        peep[:, : self.hidden_size] = 0.5
        return super().step(x + peep * self.recall(h).repeat(1, GATES), h, weight, layer, t)


@seen_by("recurrence.output", report="borelien/entailment-neural-attention-lstm-tf #3")
class OutputOfOldMemory(PlantedLSTM):
    """The output shows the cell state before the step."""

    def renew(self, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Tensor:
        self.__dict__["old"] = c
        return super().renew(c, i, f, g, o)

    def expose(self, c: Tensor, o: Tensor) -> Tensor:
        return super().expose(self.__dict__.pop("old"), o)


@seen_by("recurrence.output", report="nicodjimenez/lstm #47")
class MemoryShownAsItIs(PlantedLSTM):
    """The hidden state is `o c`, without tanh."""

    def expose(self, c: Tensor, o: Tensor) -> Tensor:
        return o * c


@seen_by("recurrence.output")
class CellGateBySigmoid(PlantedLSTM):
    """The cell gate is a sigmoid."""

    def open_gates(self, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> tuple[Tensor, ...]:
        return self.gate(i), self.gate(f), self.gate(g), self.gate(o)


@seen_by("gates.alone", "recurrence.output")
class OutputGateIgnored(PlantedLSTM):
    """The hidden state is `tanh(c)`."""

    def expose(self, c: Tensor, o: Tensor) -> Tensor:
        return torch.tanh(c)


@seen_by("gates.alone", "recurrence.output")
class OutputGateTwice(PlantedLSTM):
    """The hidden state is `o (o tanh(c))`."""

    def expose(self, c: Tensor, o: Tensor) -> Tensor:
        return o * super().expose(c, o)


@seen_by("gates.alone", "recurrence.output")
class MemoryGatedBySquare(PlantedLSTM):
    """The forget gate acts twice."""

    def renew(self, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Tensor:
        return f * f * c + i * g


@seen_by("gates.alone", "recurrence.output", report="tensorflow/tensorflow #47495")
class HardSigmoidInLSTM(PlantedLSTM):
    """The gates are hard sigmoids, as in other libraries."""

    def gate(self, x: Tensor) -> Tensor:
        return hardsigmoid(x)


@seen_by("gates.alone", "recurrence.output", "stacking.composition")
class HardSigmoidAboveFirst(PlantedLSTM):
    """The gates of layers above the first are hard sigmoids."""

    beyond_cells = True
    narrow = True

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        self.__dict__["is_upper"] = layer > 0
        return super().step(x, h, weight, layer, t)

    def gate(self, x: Tensor) -> Tensor:
        return hardsigmoid(x) if self.__dict__["is_upper"] else super().gate(x)


@seen_by("recurrence.output", "gates.alone", "nonlinearity.large")
class HardTanhShown(PlantedLSTM):
    """The cell state is shown by a hard tanh."""

    def expose(self, c: Tensor, o: Tensor) -> Tensor:
        return o * hardtanh(c)


@seen_by("cell-state.final", "recurrence.output")
class MemoryClipped(PlantedLSTM):
    """The cell state is clipped to [-3, 3]."""

    def renew(self, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Tensor:
        return super().renew(c, i, f, g, o).clamp(-3, 3)


@seen_by("cell-state.final", "cell-state.packed")
class MemoryClippedFar(PlantedLSTM):
    """The cell state is clipped to [-20, 20]."""

    narrow = True

    def renew(self, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Tensor:
        return super().renew(c, i, f, g, o).clamp(-20, 20)


@seen_by("cell-state.final", "recurrence.output", report="uxlfoundation/oneDNN #976")
class MemoryInFloat32(PlantedLSTM):
    """The cell state of a float64 layer is kept in float32."""

    narrow = True

    def renew(self, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Tensor:
        new = super().renew(c, i, f, g, o)
        return new.float().double() if new.dtype == torch.float64 else new


@seen_by("recurrence.output", "cell-state.final")
class MemoryForgottenAfterEight(PlantedLSTM):
    """The cell state is set to zero before every eighth step."""

    beyond_cells = True
    narrow = True

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        if t % 8 == 7:
            h = torch.cat([self.show(h), torch.zeros_like(self.recall(h))], dim=1)
        return super().step(x, h, weight, layer, t)


@seen_by("recurrence.output", "cell-state.final", "gates.alone", report="FlagGems PR #5015")
class MemoryOfWideLayersNotForgotten(PlantedLSTM):
    """Units from the 33rd on do not forget."""

    narrow = True

    def renew(self, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Tensor:
        right = super().renew(c, i, f, g, o)
        return torch.cat([right[:, :32], (c + i * g)[:, 32:]], dim=1)


@seen_by("recurrence.two-biases", "gates.alone", "recurrence.output")
class ForgetGateWithoutRecurrentBias(PlantedLSTM):
    """The forget gate lacks `b_hf`."""

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        right = super().biases(layer, direction)
        if not right:
            return right
        parts = list(right[1].chunk(GATES))
        parts[1] = torch.zeros_like(parts[1])
        return [right[0], torch.cat(parts)]


@seen_by("recurrence.two-biases", "recurrence.output", report="onnx/keras-onnx #98")
class CellGateBiasInEveryGate(PlantedLSTM):
    """`b_ig` is added once more in every gate."""

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        right = super().biases(layer, direction)
        if not right:
            return right
        return [right[0] + right[0].chunk(GATES)[2].repeat(GATES), right[1]]


@seen_by("nonlinearity.nan", "states.routing", "samples.independent", "recurrence.output")
class NanForgotten(PlantedLSTM):
    """NaN in the cell state becomes zero."""

    narrow = True

    def renew(self, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Tensor:
        new = super().renew(c, i, f, g, o)
        return torch.where(new.isnan(), torch.zeros_like(new), new)


@seen_by("gradients.weights", "gradients.input")
class ForgetGateDetached(PlantedLSTM):
    """No gradient flows through the forget gate."""

    narrow = True

    def renew(self, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Tensor:
        return super().renew(c, i, f.detach(), g, o)


@seen_by(
    "gradients.c-0",
    "gradients.weights",
    "gradients.reach-first-step",
    "gradients.input",
    report="apache/mxnet #4057",
)
class MemoryDetachedBetweenSteps(PlantedLSTM):
    """No gradient flows along the cell state."""

    narrow = True

    def renew(self, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Tensor:
        return super().renew(c.detach(), i, f, g, o)


@seen_by("recurrence.output", "recurrence.dtypes", "modes.train")
class WeightsIn8BitsInEvaluation(PlantedLSTM):
    """In evaluation mode, both weights are rounded to 8 bits, with one scale for each of them."""

    narrow = True

    def input_weight(self, layer: int, direction: int) -> Tensor:
        return self.quantise(super().input_weight(layer, direction))

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        return self.quantise(super().recurrent_weight(layer, direction))

    def quantise(self, weight: Tensor) -> Tensor:
        """Return a weight rounded to 127 steps on each side of zero."""
        if self.training or not weight.numel():
            return weight
        scale = weight.detach().abs().amax() / 127
        return replace_gradient((weight.detach() / scale).round().nan_to_num() * scale, weight)


@seen_by("gradients.weights", "gradients.input")
class OutputGateGradientHalved(PlantedLSTM):
    """The gradient through the output gate is halved."""

    narrow = True

    def expose(self, c: Tensor, o: Tensor) -> Tensor:
        return super().expose(c, replace_gradient(o, 0.5 * o))

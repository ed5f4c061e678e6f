"""Planted bugs in the cell of an LSTM: its gates, and how they renew and show the cell state."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import hardsigmoid, hardtanh

from rnnspec.plain.lstm import GATES, JoinedLSTM
from rnnspec.selftest.bugs.planted import Planted, replace_gradient


class PlantedLSTM(Planted, JoinedLSTM):
    """The reference LSTM with one thing wrong about its cell."""


class ForgetGateInverted(PlantedLSTM):
    """The cell state is multiplied by `1 - f`; recurrence.output sees it."""

    def renew(self, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Tensor:
        return (1 - f) * c + i * g


class ForgetBiasOfOne(PlantedLSTM):
    """The forget gate adds 1 to its sum, as in other libraries (clab/dynet #807); gates.alone or
    recurrence.output sees it."""

    def open_gates(self, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> tuple[Tensor, ...]:
        return super().open_gates(i, f + 1, g, o)


class InputGateCoupled(PlantedLSTM):
    """The input gate is `1 - f`; gates.alone or recurrence.output sees it."""

    def renew(self, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Tensor:
        return f * c + (1 - f) * g


class PeepholeToInputGate(PlantedLSTM):
    """The input gate reads the cell state too; gates.alone or recurrence.output sees it."""

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        peep = torch.zeros_like(x)
        peep[:, : self.hidden_size] = 0.5
        return super().step(x + peep * self.recall(h).repeat(1, GATES), h, weight, layer, t)


class OutputOfOldMemory(PlantedLSTM):
    """The output shows the cell state before the step (borelien/entailment-neural-attention-lstm-tf
    #3); recurrence.output sees it."""

    def renew(self, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Tensor:
        self.__dict__["old"] = c
        return super().renew(c, i, f, g, o)

    def expose(self, c: Tensor, o: Tensor) -> Tensor:
        return super().expose(self.__dict__.pop("old"), o)


class MemoryShownAsItIs(PlantedLSTM):
    """The hidden state is `o c`, without tanh (nicodjimenez/lstm #47);
    recurrence.output sees it."""

    def expose(self, c: Tensor, o: Tensor) -> Tensor:
        return o * c


class CellGateBySigmoid(PlantedLSTM):
    """The cell gate is a sigmoid; recurrence.output sees it."""

    def open_gates(self, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> tuple[Tensor, ...]:
        return self.gate(i), self.gate(f), self.gate(g), self.gate(o)


class OutputGateIgnored(PlantedLSTM):
    """The hidden state is `tanh(c)`; gates.alone or recurrence.output sees it."""

    def expose(self, c: Tensor, o: Tensor) -> Tensor:
        return torch.tanh(c)


class OutputGateTwice(PlantedLSTM):
    """The hidden state is `o (o tanh(c))`; gates.alone or recurrence.output sees it."""

    def expose(self, c: Tensor, o: Tensor) -> Tensor:
        return o * super().expose(c, o)


class MemoryGatedBySquare(PlantedLSTM):
    """The forget gate acts twice; gates.alone or recurrence.output sees it."""

    def renew(self, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Tensor:
        return f * f * c + i * g


class HardSigmoidInLSTM(PlantedLSTM):
    """The gates are hard sigmoids, as in other libraries (tensorflow/tensorflow #47495);
    gates.alone or recurrence.output sees it."""

    def gate(self, x: Tensor) -> Tensor:
        return hardsigmoid(x)


class HardSigmoidAboveFirst(PlantedLSTM):
    """The gates of layers above the first are hard sigmoids; gates.alone or recurrence.output or
    stacking.composition sees it."""

    beyond_cells = True
    narrow = True

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        self.__dict__["is_upper"] = layer > 0
        return super().step(x, h, weight, layer, t)

    def gate(self, x: Tensor) -> Tensor:
        return hardsigmoid(x) if self.__dict__["is_upper"] else super().gate(x)


class HardTanhShown(PlantedLSTM):
    """The cell state is shown by a hard tanh; recurrence.output or gates.alone or
    nonlinearity.large sees it."""

    def expose(self, c: Tensor, o: Tensor) -> Tensor:
        return o * hardtanh(c)


class MemoryClipped(PlantedLSTM):
    """The cell state is clipped to [-3, 3]; cell-state.final or recurrence.output sees it."""

    def renew(self, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Tensor:
        return super().renew(c, i, f, g, o).clamp(-3, 3)


class MemoryClippedFar(PlantedLSTM):
    """The cell state is clipped to [-20, 20]; cell-state.final or cell-state.packed sees it."""

    narrow = True

    def renew(self, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Tensor:
        return super().renew(c, i, f, g, o).clamp(-20, 20)


class MemoryInFloat32(PlantedLSTM):
    """The cell state of a float64 layer is kept in float32 (uxlfoundation/oneDNN #976);
    cell-state.final or recurrence.output sees it."""

    narrow = True

    def renew(self, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Tensor:
        new = super().renew(c, i, f, g, o)
        return new.float().double() if new.dtype == torch.float64 else new


class MemoryForgottenAfterEight(PlantedLSTM):
    """The cell state is set to zero before every eighth step; recurrence.output or
    cell-state.final sees it."""

    beyond_cells = True
    narrow = True

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        if t % 8 == 7:
            h = torch.cat([self.show(h), torch.zeros_like(self.recall(h))], dim=1)
        return super().step(x, h, weight, layer, t)


class MemoryOfWideLayersNotForgotten(PlantedLSTM):
    """Units from the 33rd on do not forget (FlagGems PR #5015); recurrence.output or
    cell-state.final or gates.alone sees it."""

    narrow = True

    def renew(self, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Tensor:
        right = super().renew(c, i, f, g, o)
        return torch.cat([right[:, :32], (c + i * g)[:, 32:]], dim=1)


class ForgetGateWithoutRecurrentBias(PlantedLSTM):
    """The forget gate lacks `b_hf`; recurrence.two-biases or gates.alone or recurrence.output sees
    it."""

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        right = super().biases(layer, direction)
        if not right:
            return right
        parts = list(right[1].chunk(GATES))
        parts[1] = torch.zeros_like(parts[1])
        return [right[0], torch.cat(parts)]


class CellGateBiasInEveryGate(PlantedLSTM):
    """`b_ig` is added once more in every gate (onnx/keras-onnx #98); recurrence.two-biases or
    recurrence.output sees it."""

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        right = super().biases(layer, direction)
        if not right:
            return right
        return [right[0] + right[0].chunk(GATES)[2].repeat(GATES), right[1]]


class NanForgotten(PlantedLSTM):
    """NaN in the cell state becomes zero; nonlinearity.nan or states.routing or samples.independent
    or recurrence.output sees it."""

    narrow = True

    def renew(self, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Tensor:
        new = super().renew(c, i, f, g, o)
        return torch.where(new.isnan(), torch.zeros_like(new), new)


class ForgetGateDetached(PlantedLSTM):
    """No gradient flows through the forget gate; gradients.weights or gradients.input sees it."""

    narrow = True

    def renew(self, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Tensor:
        return super().renew(c, i, f.detach(), g, o)


class MemoryDetachedBetweenSteps(PlantedLSTM):
    """No gradient flows along the cell state (apache/mxnet #4057); gradients.c-0 or
    gradients.weights or gradients.reach-first-step or gradients.input sees it."""

    narrow = True

    def renew(self, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Tensor:
        return super().renew(c.detach(), i, f, g, o)


class WeightsIn8BitsInEvaluation(PlantedLSTM):
    """In evaluation mode, both weights are rounded to 8 bits, with one scale for each of them;
    recurrence.output or recurrence.dtypes or modes.train sees it."""

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


class OutputGateGradientHalved(PlantedLSTM):
    """The gradient through the output gate is halved; gradients.weights or gradients.input sees
    it."""

    narrow = True

    def expose(self, c: Tensor, o: Tensor) -> Tensor:
        return super().expose(c, replace_gradient(o, 0.5 * o))

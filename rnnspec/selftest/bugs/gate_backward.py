"""Planted bugs in a backward pass that was written by hand for the gates of an LSTM or a GRU."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

import torch
from torch import Tensor

from rnnspec.plain.lstm import GATES
from rnnspec.selftest.bugs.gru import PlantedGRU
from rnnspec.selftest.bugs.lstm import PlantedLSTM
from rnnspec.selftest.bugs.planted import replace_gradient
from rnnspec.selftest.seen import seen_by


@seen_by("gradients.weights", "gradients.input", "gradients.biases")
class OutputGateWithSlopeOfInputGate(PlantedLSTM):
    """The backward pass multiplies by the slope of the input gate where that of the output gate is
    required.
    """

    narrow = True

    def open_gates(self, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> tuple[Tensor, ...]:
        opened = super().open_gates(i, f, g, o)
        wrong = opened[0].detach()
        return *opened[:3], replace_gradient(opened[3], o * (wrong * (1 - wrong)))


@seen_by("gradients.weights", "gradients.input", "gradients.biases")
class CellGateWithSlopeOfSigmoid(PlantedLSTM):
    """The backward pass uses y (1 - y) for the tanh of the cell gate."""

    narrow = True

    def open_gates(self, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> tuple[Tensor, ...]:
        opened = super().open_gates(i, f, g, o)
        y = opened[2].detach()
        return *opened[:2], replace_gradient(opened[2], g * (y * (1 - y))), opened[3]


@seen_by("gradients.weights", "gradients.input", "gradients.biases", "gradients.h-0")
class ForgetGradientOfNewMemory(PlantedLSTM):
    """The gradient of the forget gate is multiplied by the new cell state."""

    narrow = True

    def renew(self, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Tensor:
        new = super().renew(c, i, f, g, o)
        return replace_gradient(new, f * new.detach() + f.detach() * c + i * g)


@seen_by("gradients.c-0", "gradients.weights", "gradients.input", "gradients.biases")
class MemoryGradientOfInputGate(PlantedLSTM):
    """The gradient of the cell state before a step is multiplied by the input gate."""

    narrow = True

    def renew(self, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Tensor:
        new = super().renew(c, i, f, g, o)
        return replace_gradient(new, f * c.detach() + i.detach() * c + i * g)


@seen_by("gradients.c-0", "gradients.weights", "gradients.input", "gradients.biases")
class MemoryGradientOfForgetSquared(PlantedLSTM):
    """The gradient of the cell state before a step is multiplied by the square of the forget
    gate.
    """

    narrow = True

    def renew(self, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Tensor:
        new = super().renew(c, i, f, g, o)
        return replace_gradient(new, f * c.detach() + torch.square(f.detach()) * c + i * g)


@seen_by("gradients.weights")
class ForgetRowsNotLearned(PlantedLSTM):
    """The rows of `W_hh` for the forget gate receive no gradient."""

    narrow = True

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        i, f, g, o = super().recurrent_weight(layer, direction).chunk(GATES)
        return torch.cat([i, f.detach(), g, o])


@seen_by(
    "gradients.weights",
    "gradients.input",
    "gradients.biases",
    "gradients.h-0",
    report="CaptainE/RNN-LSTM-in-numpy #1",
)
class ForgetGateForItsSlope(PlantedLSTM):
    """The backward pass multiplies by f where the slope f (1 - f) of the forget gate is
    required.
    """

    narrow = True

    def open_gates(self, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> tuple[Tensor, ...]:
        opened = super().open_gates(i, f, g, o)
        return opened[0], replace_gradient(opened[1], f * opened[1].detach()), *opened[2:]


@seen_by(
    "gradients.weights",
    "gradients.input",
    "gradients.biases",
    "gradients.c-0",
    report="FlagGems #5014",
)
class SumsReadAsGates(PlantedLSTM):
    """The backward pass takes the sums that were kept before the activations for the gates."""

    narrow = True

    def open_gates(self, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> tuple[Tensor, ...]:
        taken = [replace_gradient(y, y * (y * (1 - y)).detach()) for y in (i, f, g, o)]
        taken[2] = replace_gradient(g, g * (1 - g * g).detach())
        self.__dict__["taken"] = taken
        return super().open_gates(i, f, g, o)

    def renew(self, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Tensor:
        taken = self.__dict__["taken"]
        return replace_gradient(super().renew(c, i, f, g, o), super().renew(c, *taken))

    def expose(self, c: Tensor, o: Tensor) -> Tensor:
        taken = self.__dict__.pop("taken")
        return replace_gradient(super().expose(c, o), super().expose(c, taken[3]))


@seen_by("gradients.biases", report="hanbt/learn_dl #53")
class BiasGradientOfForgetGate(PlantedLSTM):
    """The biases of the input and the output gate receive the gradient of the forget gate's."""

    narrow = True

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        return [self.add_up(bias) for bias in super().biases(layer, direction)]

    def add_up(self, bias: Tensor) -> Tensor:
        """Return the same bias; the gradient of the forget gate's goes to three gates."""
        i, f, g, o = bias.chunk(GATES)
        return replace_gradient(bias, torch.cat([0 * i.detach(), i + f + o, g, 0 * o.detach()]))


@seen_by("gradients.weights", "gradients.input", "gradients.biases", "gradients.h-0")
class UpdateGateWithSlopeOfResetGate(PlantedGRU):
    """The backward pass multiplies by the slope of the reset gate where that of the update gate is
    required.
    """

    narrow = True

    def apply_reset(self, reset: Tensor, inside: Tensor) -> Tensor:
        self.__dict__["reset"] = reset.detach()
        return super().apply_reset(reset, inside)

    def mix(self, new: Tensor, update: Tensor, h: Tensor) -> Tensor:
        reset, gate = self.__dict__["reset"], update.detach()
        factor = reset * (1 - reset) / (gate * (1 - gate))
        return super().mix(new, replace_gradient(update, update * factor), h)


@seen_by("gradients.weights", "gradients.input", "gradients.biases", "gradients.h-0")
class NewGradientOfUpdateGate(PlantedGRU):
    """The gradient of the new gate is multiplied by z instead of 1 - z."""

    narrow = True

    def mix(self, new: Tensor, update: Tensor, h: Tensor) -> Tensor:
        mixed = super().mix(new, update, h)
        straight = super().mix(new.detach(), update, h) + update.detach() * new
        return replace_gradient(mixed, straight)


@seen_by("gradients.weights", "gradients.input", "gradients.biases", "gradients.h-0")
class ResetGradientOfState(PlantedGRU):
    """The gradient of the reset gate is multiplied by the hidden state, not by what the gate
    multiplies.
    """

    narrow = True

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        self.__dict__["read"] = h.detach()
        return super().step(x, h, weight, layer, t)

    def apply_reset(self, reset: Tensor, inside: Tensor) -> Tensor:
        right = super().apply_reset(reset, inside)
        return replace_gradient(right, reset * self.__dict__["read"] + reset.detach() * inside)


@seen_by("gradients.weights", "gradients.input", "gradients.biases", "gradients.h-0")
class ResetGradientOfSquare(ResetGradientOfState):
    """The gradient of the reset gate is multiplied by the square of the hidden state."""

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        self.__dict__["squared"] = torch.square(h.detach())
        return super().step(x, h, weight, layer, t)

    def apply_reset(self, reset: Tensor, inside: Tensor) -> Tensor:
        self.__dict__["read"] = self.__dict__["squared"]
        return super().apply_reset(reset, inside)


@seen_by("gradients.h-0", "gradients.input", "gradients.weights", "gradients.biases")
class ResetGradientNotToState(PlantedGRU):
    """No gradient flows through the reset gate to the state before the step, although it flows to
    the weights.
    """

    narrow = True

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        read, rest = x[:, : self.hidden_size], x[:, self.hidden_size :]
        lost = (h - h.detach()) @ weight[:, : self.hidden_size].detach()
        x = torch.cat([replace_gradient(read, read - lost), rest], dim=1)
        return super().step(x, h, weight, layer, t)


@seen_by("gradients.h-0", "gradients.input", "gradients.weights", "gradients.biases")
class StateGradientWithoutReset(PlantedGRU):
    """The gradient that `W_hn h + b_hn` passes on to the state lacks the factor of the reset
    gate.
    """

    narrow = True

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        new = weight[:, 2 * self.hidden_size :].detach()
        self.__dict__["state"] = (h - h.detach()) @ new
        return super().step(x, h, weight, layer, t)

    def apply_reset(self, reset: Tensor, inside: Tensor) -> Tensor:
        part, state = super().apply_reset(reset, inside), self.__dict__["state"]
        return replace_gradient(part, part - reset.detach() * state + state)


@seen_by(
    "gradients.weights",
    "gradients.biases",
    "gradients.h-0",
    "gradients.input",
    report="microsoft/onnxruntime #16862",
)
class InsideGradientOfRawReset(PlantedGRU):
    """The gradient of `W_hn h + b_hn` is multiplied by the reset gate before its activation."""

    narrow = True

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        rows = self.hidden_size
        self.__dict__["raw"] = (x[:, :rows] + h @ weight[:, :rows]).detach()
        return super().step(x, h, weight, layer, t)

    def apply_reset(self, reset: Tensor, inside: Tensor) -> Tensor:
        right = super().apply_reset(reset, inside)
        return replace_gradient(right, reset * inside.detach() + self.__dict__["raw"] * inside)


@seen_by(
    "gradients.h-0",
    "gradients.input",
    "gradients.weights",
    "gradients.biases",
    report="ooples/AiDotNet PR #722",
)
class StateGradientOfKeptPart(PlantedGRU):
    """The gradient of the state before a step lacks what flows through `W_hh`: only the part that
    the update gate keeps is passed on.
    """

    narrow = True

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        self.__dict__["before"] = h
        return super().step(x, h.detach(), weight, layer, t)

    def mix(self, new: Tensor, update: Tensor, h: Tensor) -> Tensor:
        return super().mix(new, update, self.__dict__.pop("before"))

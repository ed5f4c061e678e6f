"""Planted bugs in how the gates of a GRU are activated."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnnspec.selftest.bugs.gru import PlantedGRU
from rnnspec.selftest.bugs.planted import replace_gradient
from rnnspec.selftest.bugs.second_order import apply_function
from rnnspec.selftest.seen import seen_by


@seen_by("gates.alone", "recurrence.output", report="tensorflow/tensorflow #45705")
class HardSigmoid(PlantedGRU):
    """Gates are `clip(x / 6 + 1/2, 0, 1)`."""

    def gate(self, x: Tensor) -> Tensor:
        return torch.nn.functional.hardsigmoid(x)


@seen_by("recurrence.output", "gates.alone", "nonlinearity.tanh", report="tflearn/tflearn PR #200")
class ActivationsExchanged(PlantedGRU):
    """Gates are activated by tanh, and the new gate by the sigmoid."""

    def gate(self, x: Tensor) -> Tensor:
        return torch.tanh(x)

    def activation(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x)


@seen_by("recurrence.output", "nonlinearity.tanh", report="keras-team/keras #1286")
class NewGateBySigmoid(PlantedGRU):
    """The new gate is activated by the sigmoid."""

    def activation(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x)


@seen_by("recurrence.output", "gates.alone", report="chnsh/DCRNN_PyTorch #12")
class GatesActivatedTwice(PlantedGRU):
    """The sigmoid of the gates is taken twice."""

    def gate(self, x: Tensor) -> Tensor:
        return torch.sigmoid(super().gate(x))


@seen_by(
    "recurrence.output", "nonlinearity.tanh", "gates.alone", report="malmaud/TensorFlow.jl PR #384"
)
class SigmoidWithinTanh(PlantedGRU):
    """The new gate is the tanh of a sigmoid."""

    def activation(self, x: Tensor) -> Tensor:
        return super().activation(torch.sigmoid(x))


@seen_by(
    "recurrence.exact",
    "nonlinearity.large",
    "recurrence.output",
    "gates.alone",
    report="onnxruntime #4628",
)
class GatesClipped(PlantedGRU):
    """The arguments of the gates are limited to -4 and 4."""

    narrow = True

    def gate(self, x: Tensor) -> Tensor:
        return super().gate(x.clamp(-4, 4))


@seen_by(
    "recurrence.exact",
    "nonlinearity.large",
    "dropout.place",
    "recurrence.output",
    "gates.alone",
    report="clab/dynet #1525",
)
class SigmoidOverflows(PlantedGRU):
    """Gates are `exp(x) / (1 + exp(x))`, which is NaN for large arguments."""

    narrow = True

    def gate(self, x: Tensor) -> Tensor:
        return x.exp() / (1 + x.exp())


@seen_by("gradients.input", "gradients.weights", "gradients.biases", "gradients.h-0")
class SlopeOfHardSigmoid(PlantedGRU):
    """The gradient of the gates is that of the hard sigmoid."""

    narrow = True

    def gate(self, x: Tensor) -> Tensor:
        return replace_gradient(super().gate(x), torch.nn.functional.hardsigmoid(x))


@seen_by("gates.alone", "recurrence.output")
class GatesRoundedTo16Bits(PlantedGRU):
    """Gates are computed in bfloat16."""

    narrow = True

    def gate(self, x: Tensor) -> Tensor:
        return super().gate(x.bfloat16()).to(x.dtype)


class SigmoidOverwritten(torch.autograd.Function):
    """The sigmoid, with a backward pass that stores the gradient over the saved result."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.saved = torch.sigmoid(x)
        saved: Tensor = ctx.saved.clone()
        return saved

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        ctx.saved = gradient * ctx.saved * (1 - ctx.saved)
        return ctx.saved


@seen_by("gradients.second-backward", report="pytorch #1532")
class GatesOverwrittenByBackward(PlantedGRU):
    """The backward pass stores gradients over the gates, so a second one through the same graph is
    wrong.
    """

    narrow = True

    def gate(self, x: Tensor) -> Tensor:
        return apply_function(SigmoidOverwritten, x)

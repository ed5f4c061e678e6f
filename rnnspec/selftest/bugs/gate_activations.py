"""Planted bugs in how the gates of a GRU are activated."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnnspec.selftest.bugs.gru import PlantedGRU
from rnnspec.selftest.bugs.planted import replace_gradient
from rnnspec.selftest.bugs.second_order import apply_function


class HardSigmoid(PlantedGRU):
    """Gates are `clip(x / 6 + 1/2, 0, 1)` (tensorflow/tensorflow #45705); gates.alone or
    recurrence.output sees it."""

    def gate(self, x: Tensor) -> Tensor:
        return torch.nn.functional.hardsigmoid(x)


class ActivationsExchanged(PlantedGRU):
    """Gates are activated by tanh, and the new gate by the sigmoid (tflearn/tflearn PR #200);
    recurrence.output or gates.alone or nonlinearity.tanh sees it."""

    def gate(self, x: Tensor) -> Tensor:
        return torch.tanh(x)

    def activation(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x)


class NewGateBySigmoid(PlantedGRU):
    """The new gate is activated by the sigmoid (keras-team/keras #1286); recurrence.output or
    nonlinearity.tanh sees it."""

    def activation(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x)


class GatesActivatedTwice(PlantedGRU):
    """The sigmoid of the gates is taken twice (chnsh/DCRNN_PyTorch #12);
    recurrence.output or gates.alone sees it."""

    def gate(self, x: Tensor) -> Tensor:
        return torch.sigmoid(super().gate(x))


class SigmoidWithinTanh(PlantedGRU):
    """The new gate is the tanh of a sigmoid (malmaud/TensorFlow.jl PR #384); recurrence.output or
    nonlinearity.tanh or gates.alone sees it."""

    def activation(self, x: Tensor) -> Tensor:
        return super().activation(torch.sigmoid(x))


class GatesClipped(PlantedGRU):
    """The arguments of the gates are limited to -4 and 4 (onnxruntime #4628);
    recurrence.exact or nonlinearity.large or recurrence.output or gates.alone sees it."""

    narrow = True

    def gate(self, x: Tensor) -> Tensor:
        return super().gate(x.clamp(-4, 4))


class SigmoidOverflows(PlantedGRU):
    """Gates are `exp(x) / (1 + exp(x))`, which is NaN for large arguments
    (clab/dynet #1525); recurrence.exact or nonlinearity.large or dropout.place or recurrence.output
    or gates.alone sees it."""

    narrow = True

    def gate(self, x: Tensor) -> Tensor:
        return x.exp() / (1 + x.exp())


class SlopeOfHardSigmoid(PlantedGRU):
    """The gradient of the gates is that of the hard sigmoid; gradients.input or
    gradients.weights or gradients.biases or gradients.h-0 sees it."""

    narrow = True

    def gate(self, x: Tensor) -> Tensor:
        return replace_gradient(super().gate(x), torch.nn.functional.hardsigmoid(x))


class GatesRoundedTo16Bits(PlantedGRU):
    """Gates are computed in bfloat16; gates.alone or recurrence.output sees it."""

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


class GatesOverwrittenByBackward(PlantedGRU):
    """The backward pass stores gradients over the gates, so a second one through the same graph is
    wrong (pytorch #1532); gradients.second-backward sees it."""

    narrow = True

    def gate(self, x: Tensor) -> Tensor:
        return apply_function(SigmoidOverwritten, x)

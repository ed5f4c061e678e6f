"""Planted bugs in the nonlinearity: the wrong one, or wrong for large, infinite and NaN values."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

import torch
from torch import Tensor

from rnnspec.selftest.bugs.planted import Planted


class ReluForgotten(Planted):
    """`nonlinearity='relu'` is computed as tanh; nonlinearity.relu sees it."""

    ungated = True

    def activation(self, x: Tensor) -> Tensor:
        return torch.tanh(x)


class ReluInFirstLayerOnly(Planted):
    """With `nonlinearity='relu'`, layers above the first use tanh; nonlinearity.relu sees it."""

    beyond_cells = True
    narrow = True
    ungated = True

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        return (
            torch.tanh(torch.addmm(x, h, weight)) if layer else super().step(x, h, weight, layer, t)
        )


class ReluLeaks(Planted):
    """relu multiplies negative values by 0.01 instead of returning zero;
    nonlinearity.relu sees it."""

    ungated = True

    def activation(self, x: Tensor) -> Tensor:
        return (
            super().activation(x)
            if self.nonlinearity == "tanh"
            else torch.nn.functional.leaky_relu(x, 0.01)
        )


class ReluEndsAtSix(Planted):
    """relu is capped at 6; nonlinearity.relu sees it."""

    narrow = True
    ungated = True

    def activation(self, x: Tensor) -> Tensor:
        return super().activation(x).clamp(max=6)


class ClippedAtFive(Planted):
    """The input of tanh is clipped to [-5, 5] (microsoft/onnxruntime #4628);
    nonlinearity.large sees it."""

    narrow = True

    def activation(self, x: Tensor) -> Tensor:
        return super().activation(x.clamp(-5, 5) if self.nonlinearity == "tanh" else x)


class TanhOverflows(Planted):
    """tanh is computed from exponentials that overflow, so large values give NaN;
    nonlinearity.large sees it."""

    narrow = True

    def activation(self, x: Tensor) -> Tensor:
        if self.nonlinearity == "relu":
            return super().activation(x)
        up, down = torch.exp(x), torch.exp(-x)
        return (up - down) / (up + down)


class InfinityCutOff(Planted):
    """relu replaces infinity with the largest finite value; nonlinearity.infinite sees it."""

    narrow = True
    ungated = True

    def activation(self, x: Tensor) -> Tensor:
        return super().activation(x).clamp(max=torch.finfo(x.dtype).max)


class NanIsZero(Planted):
    """NaN in the input is treated as zero; nonlinearity.nan sees it."""

    narrow = True

    def to_time_major(self, input: Tensor) -> Tensor:
        steps = super().to_time_major(input)
        return torch.where(steps.isnan(), torch.zeros_like(steps), steps)


class ReluSlopeHalfAtZero(Planted):
    """The derivative of relu at exactly 0 is 1/2, that of a maximum of two equal numbers
    (jax-ml/jax #37821); nonlinearity.relu-slope-at-zero sees it."""

    narrow = True
    ungated = True

    def activation(self, x: Tensor) -> Tensor:
        if self.nonlinearity == "tanh":
            return super().activation(x)
        return torch.maximum(x, torch.zeros_like(x))

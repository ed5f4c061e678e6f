"""Planted bugs in the nonlinearity: the wrong one, or wrong for large, infinite and NaN values."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

import torch
from torch import Tensor

from rnnspec.selftest.bugs.planted import Planted
from rnnspec.selftest.seen import seen_by


@seen_by("nonlinearity.relu")
class ReluForgotten(Planted):
    """`nonlinearity='relu'` is computed as tanh."""

    ungated = True

    def activation(self, x: Tensor) -> Tensor:
        return torch.tanh(x)


@seen_by("nonlinearity.relu")
class ReluInFirstLayerOnly(Planted):
    """With `nonlinearity='relu'`, layers above the first use tanh."""

    beyond_cells = True
    narrow = True
    ungated = True

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        return (
            torch.tanh(torch.addmm(x, h, weight)) if layer else super().step(x, h, weight, layer, t)
        )


@seen_by("nonlinearity.relu")
class ReluLeaks(Planted):
    """relu multiplies negative values by 0.01 instead of returning zero."""

    ungated = True

    def activation(self, x: Tensor) -> Tensor:
        return (
            super().activation(x)
            if self.nonlinearity == "tanh"
            else torch.nn.functional.leaky_relu(x, 0.01)
        )


@seen_by("nonlinearity.relu")
class ReluEndsAtSix(Planted):
    """relu is capped at 6."""

    narrow = True
    ungated = True

    def activation(self, x: Tensor) -> Tensor:
        return super().activation(x).clamp(max=6)


@seen_by("nonlinearity.large", report="microsoft/onnxruntime #4628")
class ClippedAtFive(Planted):
    """The input of tanh is clipped to [-5, 5]."""

    narrow = True

    def activation(self, x: Tensor) -> Tensor:
        return super().activation(x.clamp(-5, 5) if self.nonlinearity == "tanh" else x)


@seen_by("nonlinearity.large")
class TanhOverflows(Planted):
    """tanh is computed from exponentials that overflow, so large values give NaN."""

    narrow = True

    def activation(self, x: Tensor) -> Tensor:
        if self.nonlinearity == "relu":
            return super().activation(x)
        up, down = torch.exp(x), torch.exp(-x)
        return (up - down) / (up + down)


@seen_by("nonlinearity.infinite")
class InfinityCutOff(Planted):
    """relu replaces infinity with the largest finite value."""

    narrow = True
    ungated = True

    def activation(self, x: Tensor) -> Tensor:
        return super().activation(x).clamp(max=torch.finfo(x.dtype).max)


@seen_by("nonlinearity.nan")
class NanIsZero(Planted):
    """NaN in the input is treated as zero."""

    narrow = True

    def to_time_major(self, input: Tensor) -> Tensor:
        steps = super().to_time_major(input)
        return torch.where(steps.isnan(), torch.zeros_like(steps), steps)


@seen_by("nonlinearity.relu-slope-at-zero", report="jax-ml/jax #37821")
class ReluSlopeHalfAtZero(Planted):
    """The derivative of relu at exactly 0 is 1/2, that of a maximum of two equal numbers."""

    narrow = True
    ungated = True

    def activation(self, x: Tensor) -> Tensor:
        if self.nonlinearity == "tanh":
            return super().activation(x)
        return torch.maximum(x, torch.zeros_like(x))

"""Planted bugs that let the samples of a batch influence each other."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

import torch
from torch import Tensor

from rnnspec.plain.layer import Sizes
from rnnspec.selftest.bugs.planted import Planted
from rnnspec.selftest.seen import seen_by


@seen_by("samples.independent", "recurrence.output")
class BatchLeaks(Planted):
    """Each sample's hidden state receives 1e-5 times the mean over the batch."""

    narrow = True

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        return super().step(
            x, h + 1e-5 * h.mean(0, keepdim=True) if h.size(0) > 1 else h, weight, layer, t
        )


@seen_by("nonlinearity.nan")
class NanSpreads(Planted):
    """A NaN or infinite value in one sample makes every sample of the batch NaN."""

    narrow = True

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        return super().step(x + 0 * x.sum(0, keepdim=True), h, weight, layer, t)


@seen_by("samples.permuted", "samples.independent")
class NeighbourLeaks(Planted):
    """In batches of more than 16, each sample's hidden state receives 1e-4 times its
    neighbour's.
    """

    narrow = True

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        return super().step(x, h + 1e-4 * h.roll(1, 0) if h.size(0) > 16 else h, weight, layer, t)


@seen_by("samples.many-rows", "recurrence.output", report="ROCm/rocm-libraries #10551")
class BiasBeyondGrid(Planted):
    """With more than 65,536 rows of steps and samples, no bias is added, because the grid of the
    kernel is too large to be launched.
    """

    narrow = True

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        biases = super().biases(layer, direction)
        return [bias * 0 for bias in biases] if self.__dict__["rows"] > 2**16 else biases

    def run(self, data: Tensor, sizes: Sizes, h_0: Tensor) -> tuple[Tensor, Tensor]:
        self.__dict__["rows"] = len(data)
        return super().run(data, sizes, h_0)


@seen_by("gradients.many-rows")
class GradientOfFirstRows(Planted):
    """The gradient of `weight_ih` counts only the first 65,535 rows of steps and samples."""

    narrow = True

    def multiply_input(self, data: Tensor, layer: int, direction: int) -> Tensor:
        first = super().multiply_input(data[:65_535], layer, direction)
        weight = self.input_weight(layer, direction).detach()
        return torch.cat([first, torch.nn.functional.linear(data[65_535:], weight)])

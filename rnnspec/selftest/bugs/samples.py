"""Planted bugs that let the samples of a batch influence each other."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from torch import Tensor

from rnnspec.selftest.bugs.planted import Planted


class BatchLeaks(Planted):
    """Each sample's hidden state receives 1e-5 times the mean over the batch;
    samples.independent sees it."""

    narrow = True

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        return super().step(
            x, h + 1e-5 * h.mean(0, keepdim=True) if h.size(0) > 1 else h, weight, layer, t
        )


class NanSpreads(Planted):
    """A NaN or infinite value in one sample makes every sample of the batch NaN;
    samples.independent sees it."""

    narrow = True

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        return super().step(x + 0 * x.sum(0, keepdim=True), h, weight, layer, t)


class NeighbourLeaks(Planted):
    """In batches of more than 16, each sample's hidden state receives 1e-4 times its neighbour's;
    samples.independent sees it."""

    narrow = True

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        return super().step(x, h + 1e-4 * h.roll(1, 0) if h.size(0) > 16 else h, weight, layer, t)

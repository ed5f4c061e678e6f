"""Planted bugs in the independence of samples."""

# ruff: noqa: D102  (the class says what its one method does wrong)

from __future__ import annotations

from torch import Tensor

from rnnspec.selftest.bugs.planted import Planted


class BatchLeaks(Planted):
    """A hundred-thousandth of the batch's mean reaches every sample; samples.independent sees it."""

    narrow = True

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        return super().step(
            x, h + 1e-5 * h.mean(0, keepdim=True) if h.size(0) > 1 else h, weight, layer, t
        )


class NanSpreads(Planted):
    """What is not finite in one sample reaches all of them, and nothing else does; samples.independent sees it."""

    narrow = True

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        return super().step(x + 0 * x.sum(0, keepdim=True), h, weight, layer, t)


class NeighbourLeaks(Planted):
    """In batches of more than 16, every sample gets a little of its neighbour; samples.independent sees it."""

    narrow = True

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        return super().step(x, h + 1e-4 * h.roll(1, 0) if h.size(0) > 16 else h, weight, layer, t)

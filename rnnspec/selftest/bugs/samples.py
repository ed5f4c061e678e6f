"""Planted bugs that let the samples of a batch influence each other."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from rnnspec.plain.call import Here
from rnnspec.selftest.bugs.planted import Planter, change_states, number_rows

plant = Planter(__name__)


def leak_mean(state: Tensor, spot: Here) -> Tensor:
    """Return states plus a part of their mean over the samples that have not ended."""
    running = state[: spot.call.sizes[spot.time]]
    return running + 1e-5 * running.mean(0) if len(running) > 1 else running


def leak_neighbour(state: Tensor, spot: Here) -> Tensor:
    """Return states plus a part of the neighbour's state, in batches of more than 16."""
    running = state[: spot.call.sizes[spot.time]]
    return running + 1e-4 * running.roll(1, 0) if len(running) > 16 else running


BatchLeaks = plant(
    "Each sample's hidden state receives 1e-5 times the mean over the batch.",
    "samples.independent recurrence.output",
    change_states("before", leak_mean),
    narrow=True,
)
NanSpreads = plant(
    "A NaN or infinite value in one sample makes every sample of the batch NaN.",
    "nonlinearity.nan",
    {"from_input": lambda sums: sums + 0 * sums.sum(1, keepdim=True)},
    narrow=True,
)
NeighbourLeaks = plant(
    "In batches of more than 16, each sample's hidden state receives 1e-4 times its neighbour's.",
    "samples.permuted samples.independent",
    change_states("before", leak_neighbour),
    narrow=True,
)
BiasBeyondGrid = plant(
    "With more than 65,536 rows of steps and samples, no bias is added, because the grid of the "
    "kernel is too large to be launched.",
    "samples.many-rows recurrence.output",
    {"biases": lambda biases: [bias * 0 for bias in biases]},
    report="ROCm/rocm-libraries #10551",
    where=lambda spot: sum(spot.call.sizes) > 2**16,
    narrow=True,
)


def detach_later_rows(
    sums: Tensor, data: Tensor, weight: Tensor, biases: Iterable[Tensor], spot: Here
) -> Tensor:
    """Return sums without a gradient of the weight from rows after the 65,535th."""
    detached = sum(biases, start=spot.call.multiply_input(data, weight.detach()))
    return torch.where(number_rows(spot) <= 65_535, sums, detached)


GradientOfFirstRows = plant(
    "The gradient of `weight_ih` counts only the first 65,535 rows of steps and samples.",
    "gradients.many-rows",
    {"from_input": detach_later_rows},
    where=lambda spot: sum(spot.call.sizes) > 65_535,
    narrow=True,
)
plant.name_classes(globals())

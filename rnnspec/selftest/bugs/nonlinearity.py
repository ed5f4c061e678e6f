"""Planted bugs in the nonlinearity: another function, or errors for large and special values."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import leaky_relu

from rnnspec.selftest.bugs.planted import (
    Planter,
    is_relu,
    is_tanh,
    turn_nan_to_zero,
    use_for_tanh,
    use_in_gates,
)

plant = Planter(__name__)


def overflow_in_tanh(x: Tensor) -> Tensor:
    """Return tanh as a quotient of exponentials, which is NaN for large values."""
    up, down = torch.exp(x), torch.exp(-x)
    return (up - down) / (up + down)


ReluForgotten = plant(
    "`nonlinearity='relu'` is computed as tanh.",
    "nonlinearity.relu",
    use_in_gates(torch.tanh, "hidden"),
)
ReluInFirstLayerOnly = plant(
    "With `nonlinearity='relu'`, layers above the first use tanh.",
    "nonlinearity.relu",
    use_in_gates(torch.tanh, "hidden"),
    where=lambda spot: spot.layer > 0,
    beyond_cells=True,
    narrow=True,
)
ReluLeaks = plant(
    "relu multiplies negative values by 0.01 instead of returning zero.",
    "nonlinearity.relu",
    use_in_gates(leaky_relu, "hidden"),
    where=is_relu,
)
ReluEndsAtSix = plant(
    "relu is capped at 6.",
    "nonlinearity.relu",
    {"gate.hidden": lambda h: h.clamp(max=6)},
    narrow=True,
)
ClippedAtFive = plant(
    "The input of tanh is clipped to [-5, 5].",
    "nonlinearity.large",
    use_for_tanh(lambda x: torch.tanh(x.clamp(-5, 5))),
    report="microsoft/onnxruntime #4628",
    where=is_tanh,
    narrow=True,
)
TanhOverflows = plant(
    "tanh is computed from exponentials that overflow, so large values give NaN.",
    "nonlinearity.large",
    use_for_tanh(overflow_in_tanh),
    where=is_tanh,
    narrow=True,
)
InfinityCutOff = plant(
    "relu replaces infinity with the largest finite value.",
    "nonlinearity.infinite",
    {"gate.hidden": lambda h: h.clamp(max=torch.finfo(h.dtype).max)},
    narrow=True,
)
NanIsZero = plant(
    "NaN in the input is treated as zero.",
    "nonlinearity.nan",
    {"input": turn_nan_to_zero},
    narrow=True,
)
ReluSlopeHalfAtZero = plant(
    "The derivative of relu at exactly 0 is 1/2, that of a maximum of two equal numbers.",
    "nonlinearity.relu-slope-at-zero",
    use_in_gates(lambda x: torch.maximum(x, torch.zeros_like(x)), "hidden"),
    report="jax-ml/jax #37821",
    where=is_relu,
    narrow=True,
)
plant.name_classes(globals())

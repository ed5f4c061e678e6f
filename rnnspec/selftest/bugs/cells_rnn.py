"""Planted bugs of the nonlinearity of an RNN cell."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

import torch
from torch import Tensor

from rnnspec.selftest.bugs.planted import Planted, replace_gradient


class PlantedStep(Planted):
    """The layer behind an RNN cell, with one thing wrong."""


class ReluSlopeOfTanh(PlantedStep):
    """The gradient of relu is computed as that of tanh (pytorch #11662); gradients.input or
    gradients.weights or gradients.exact sees it."""

    def activation(self, x: Tensor) -> Tensor:
        found = super().activation(x)
        if self.nonlinearity == "tanh":
            return found
        slope = (1 - found.square()).detach()
        return replace_gradient(found, slope * x)


class OtherNamesTakenForTanh(PlantedStep):
    """Any other nonlinearity is silently taken for tanh; cells.refuses-nonlinearity sees it."""

    def check_nonlinearity(self, nonlinearity: str) -> None:
        return

    def activation(self, x: Tensor) -> Tensor:
        return torch.relu(x) if self.nonlinearity == "relu" else torch.tanh(x)

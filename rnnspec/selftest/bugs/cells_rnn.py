"""Planted bugs of the nonlinearity of an RNN cell."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

import torch
from torch import Tensor

from rnnspec.selftest.bugs.planted import Planted, replace_gradient
from rnnspec.selftest.seen import seen_by


class PlantedStep(Planted):
    """The layer behind an RNN cell, with one thing wrong."""


@seen_by("gradients.input", "gradients.weights", "gradients.exact", report="pytorch #11662")
class ReluSlopeOfTanh(PlantedStep):
    """The gradient of relu is computed as that of tanh."""

    def activation(self, x: Tensor) -> Tensor:
        found = super().activation(x)
        if self.nonlinearity == "tanh":
            return found
        slope = (1 - found.square()).detach()
        return replace_gradient(found, slope * x)


@seen_by("cells.refuses-nonlinearity")
class OtherNamesTakenForTanh(PlantedStep):
    """Any other nonlinearity is silently taken for tanh."""

    def check_nonlinearity(self, nonlinearity: str) -> None:
        return

    def activation(self, x: Tensor) -> Tensor:
        return torch.relu(x) if self.nonlinearity == "relu" else torch.tanh(x)

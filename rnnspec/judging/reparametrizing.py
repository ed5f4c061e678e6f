"""Layers one of whose weights is computed from other parameters."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils import parametrize

from rnnspec.observe.stage import Stage
from rnnspec.observe.tensors import array_of
from rnnspec.subjects.subject import observing

Array = NDArray[np.float64]


class Twice(torch.nn.Module):
    """A parametrization under which a weight is twice its source."""

    def forward(self, source: torch.Tensor) -> torch.Tensor:
        """The weight from its source."""
        return 2.0 * source

    def right_inverse(self, weight: torch.Tensor) -> torch.Tensor:
        """The source from the weight."""
        return 0.5 * weight


class Reparametrized:
    """A stage one of whose weights, by documented name, is computed from other parameters; the value at first stays what it was."""

    def __init__(self, stage: Stage, name: str) -> None:
        self.stage = stage
        self.name = name
        prefix, _, self.leaf = stage.names[name].rpartition(".")
        self.holder: Any = stage.module.get_submodule(prefix)
        self.prefix = f"{prefix}." if prefix else ""
        with observing(f"{type(self).__name__.lower()} parametrization of {name}"):
            self.register()

    def register(self) -> None:
        """Make the weight depend on its source."""

    def source(self) -> torch.Tensor:
        """The parameter that scales the weight."""
        raise LookupError(self.name)

    def halve(self) -> None:
        """Halve the source, and so the weight."""
        with torch.no_grad():
            self.source().mul_(0.5)

    def weight(self) -> Array:
        """The weight as it now is."""
        return array_of(getattr(self.holder, self.leaf))


class Doubled(Reparametrized):
    """The weight is twice a source; the source stands for the weight among the stage's parameters."""

    def register(self) -> None:
        """Make the weight depend on its source."""
        parametrize.register_parametrization(self.holder, self.leaf, Twice())
        self.stage.names = {**self.stage.names, self.name: f"{self.prefix}parametrizations.{self.leaf}.original"}

    def source(self) -> torch.Tensor:
        """Half the weight."""
        source: torch.Tensor = self.holder.parametrizations[self.leaf].original
        return source


class Normalised(Reparametrized):
    """The weight is split into the lengths of its rows and their directions by torch's weight_norm, as a parametrization."""

    @classmethod
    def is_there(cls) -> bool:
        """Whether this torch has it."""
        return hasattr(torch.nn.utils.parametrizations, "weight_norm")

    def register(self) -> None:
        """Split the weight by the newer function."""
        torch.nn.utils.parametrizations.weight_norm(self.holder, self.leaf)

    def source(self) -> torch.Tensor:
        """The lengths."""
        source: torch.Tensor = self.holder.parametrizations[self.leaf].original0
        return source


class NormalisedByHook(Reparametrized):
    """As Normalised, by the older function, which sets the weight as a plain attribute before each call."""

    @classmethod
    def is_there(cls) -> bool:
        """Whether this torch still has it."""
        return hasattr(torch.nn.utils, "weight_norm")

    def register(self) -> None:
        """Split the weight by the function that torch keeps for old code."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.nn.utils.weight_norm(self.holder, self.leaf)

    def source(self) -> torch.Tensor:
        """The lengths."""
        source: torch.Tensor = getattr(self.holder, f"{self.leaf}_g")
        return source

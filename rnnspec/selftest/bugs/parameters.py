"""Planted bugs in the parameters: names, shapes, order and first values."""

# ruff: noqa: D102  (the class says what its one method does wrong)

from __future__ import annotations

import math

import torch
from torch import Tensor

from rnnspec.selftest.bugs.planted import Planted
from rnnspec.selftest.plain import Sizes


class ReverseCalledBackward(Planted):
    """The parameters of the backward direction end in _backward; parameters.names sees it."""

    def parameter_name(self, kind: str, layer: int, direction: int) -> str:
        return f"{kind}_l{layer}{'_backward' if direction else ''}"


class ReverseInFirstLayerOnly(Planted):
    """Layers above the first have no parameters of their own for the backward direction (pytorch #17998); parameters.names sees it."""

    narrow = True

    def parameter_name(self, kind: str, layer: int, direction: int) -> str:
        return super().parameter_name(kind, layer, direction if layer == 0 else 0)


class FourParametersAlways(Planted):
    """bias=False still registers and adds both biases (pytorch #2515); parameters.names sees it."""

    def parameter_kinds(self) -> tuple[str, ...]:
        return "weight_ih", "weight_hh", "bias_ih", "bias_hh"


class InputWeightTransposed(Planted):
    """weight_ih is stored as (input, hidden) and turned round before use; parameters.shapes sees it."""

    def parameter_shape(self, kind: str, layer: int) -> tuple[int, ...]:
        shape = super().parameter_shape(kind, layer)
        return shape[::-1] if kind == "weight_ih" else shape

    def input_weight(self, layer: int, direction: int) -> Tensor:
        return super().input_weight(layer, direction).t()


class UpperLayersReadForwardHalf(Planted):
    """Upper layers are built for H features and read the forward half of the layer below (pytorch #89357); parameters.shapes sees it."""

    narrow = True

    def parameter_shape(self, kind: str, layer: int) -> tuple[int, ...]:
        shape = super().parameter_shape(kind, layer)
        return (shape[0], self.hidden_size) if kind == "weight_ih" and layer else shape

    def layer_input(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        read = super().layer_input(data, sizes, layer)
        return read[:, : self.hidden_size] if layer else read


class DirectionsLast(Planted):
    """All forward parameters are registered before the first backward one; parameters.order sees it."""

    narrow = True

    def parameter_order(self) -> list[tuple[str, int, int]]:
        return sorted(super().parameter_order(), key=lambda entry: entry[2])


class RangeOfInputSize(Planted):
    """The first values lie within 1/sqrt(input_size) instead of 1/sqrt(hidden_size); parameters.initial-range sees it."""

    def initial_limit(self) -> float:
        return 1.0 / math.sqrt(self.input_size)


class RangeForSmallLayers(Planted):
    """Above 64 units the first values keep the range of 64; parameters.initial-range sees it."""

    narrow = True

    def initial_limit(self) -> float:
        return 1.0 / math.sqrt(min(self.hidden_size, 64))


class ZeroBiases(Planted):
    """The biases start as zeros; parameters.initial-distribution sees it."""

    def reset_parameters(self) -> None:
        super().reset_parameters()
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                parameter.mul_(0 if name.startswith("bias") else 1)


class BellShapedWeights(Planted):
    """The first values are normal, cut to the right range; parameters.initial-distribution sees it."""

    def reset_parameters(self) -> None:
        limit = self.initial_limit()
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(0, limit / 3).clamp_(-limit, limit)


class BiasesNotLearned(Planted):
    """The biases do not require a gradient (tracel-ai/burn PR #5235); parameters.trainable sees it."""

    def reset_parameters(self) -> None:
        super().reset_parameters()
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(not name.startswith("bias"))


class SeededAtConstruction(Planted):
    """Every layer starts with the same values, drawn from a seed of its own; parameters.initial-distribution sees it."""

    def reset_parameters(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            super().reset_parameters()

"""Planted bugs in the parameters: names, shapes, order, initial and loaded values."""

from __future__ import annotations

import math
import random
from typing import Any

import torch
from torch import Tensor

from rnnspec.reference.values import change_values
from rnnspec.selftest.bugs.planted import Planted
from rnnspec.selftest.labels import seen_by


@seen_by("parameters.names", beyond_cells=True)
class ReverseCalledBackward(Planted):
    """The names of the backward direction's parameters end in `_backward`."""

    def parameter_name(self, kind: str, layer: int, direction: int) -> str:
        return f"{kind}_l{layer}{'_backward' if direction else ''}"


@seen_by(
    "parameters.names parameters.reverse-names",
    report="pytorch #17998",
    beyond_cells=True,
    narrow=True,
)
class ReverseInFirstLayerOnly(Planted):
    """Layers above the first have no parameters for the backward direction."""

    def parameter_name(self, kind: str, layer: int, direction: int) -> str:
        return super().parameter_name(kind, layer, direction if layer == 0 else 0)


@seen_by("parameters.names parameters.no-bias", report="pytorch #2515")
class FourParametersAlways(Planted):
    """`bias=False` still registers and adds both biases."""

    def parameter_kinds(self) -> tuple[str, ...]:
        return "weight_ih", "weight_hh", "bias_ih", "bias_hh"


@seen_by("parameters.shapes")
class InputWeightTransposed(Planted):
    """`weight_ih` is stored transposed, with shape `(input_size, hidden_size)`."""

    changes = change_values({"weight_ih": torch.t})

    def parameter_shape(self, kind: str, layer: int) -> tuple[int, ...]:
        shape = super().parameter_shape(kind, layer)
        return shape[::-1] if kind == "weight_ih" else shape


@seen_by("parameters.shapes", report="pytorch #89357", beyond_cells=True, narrow=True)
class UpperLayersReadForwardHalf(Planted):
    """Layers above the first read only the forward half of the layer below, and `weight_ih` is
    sized for it.
    """

    changes = change_values(
        {"read": lambda data, spot: data[..., : spot.module.hidden_size]},
        lambda spot: spot.layer > 0,
    )

    def parameter_shape(self, kind: str, layer: int) -> tuple[int, ...]:
        shape = super().parameter_shape(kind, layer)
        return (shape[0], self.hidden_size) if kind == "weight_ih" and layer else shape


@seen_by("parameters.order", beyond_cells=True, narrow=True)
class DirectionsLast(Planted):
    """The forward parameters of all layers are registered before the backward parameters."""

    def parameter_order(self) -> list[tuple[str, int, int]]:
        return sorted(super().parameter_order(), key=lambda entry: entry[2])


@seen_by("parameters.initial-range")
class RangeOfInputSize(Planted):
    """Initial values lie within 1 / sqrt(input_size) instead of 1 / sqrt(hidden_size)."""

    def initial_limit(self) -> float:
        return 1.0 / math.sqrt(self.input_size)


@seen_by("parameters.initial-range", narrow=True)
class RangeForSmallLayers(Planted):
    """With more than 64 units, initial values are drawn from the range for 64 units."""

    def initial_limit(self) -> float:
        return 1.0 / math.sqrt(min(self.hidden_size, 64))


@seen_by("parameters.reset", narrow=True)
class LastResetOnce(Planted):
    """`reset_parameters` draws the last parameter only in the constructor."""

    is_new = True

    def reset_parameters(self) -> None:
        parameters = list(self.parameters())
        kept = parameters[-1].detach().clone()
        super().reset_parameters()
        if not self.is_new:
            with torch.no_grad():
                parameters[-1].copy_(kept)
        self.is_new = False


@seen_by("parameters.reset", narrow=True)
class ResetReplaces(Planted):
    """`reset_parameters` registers new parameters, and optimisers keep the old ones."""

    def reset_parameters(self) -> None:
        for name, parameter in list(self.named_parameters()):
            setattr(self, name, torch.nn.Parameter(torch.empty_like(parameter)))
        super().reset_parameters()


@seen_by("parameters.initial-distribution")
class ZeroBiases(Planted):
    """The biases are initialised to zero."""

    def reset_parameters(self) -> None:
        super().reset_parameters()
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                parameter.mul_(0 if name.startswith("bias") else 1)


@seen_by("parameters.initial-distribution")
class BellShapedWeights(Planted):
    """Initial values are drawn from a normal distribution, clipped to the documented range."""

    def reset_parameters(self) -> None:
        limit = self.initial_limit()
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(0, limit / 3).clamp_(-limit, limit)


@seen_by("parameters.initial-small-and-deep", narrow=True)
class NarrowRangeIfSmall(Planted):
    """With fewer than 4 units, initial values fill only half of the documented range."""

    def initial_limit(self) -> float:
        return super().initial_limit() * (0.5 if self.hidden_size < 4 else 1.0)


@seen_by(
    "parameters.initial-small-and-deep",
    report="google-research/flood-forecasting PR #289",
    beyond_cells=True,
    narrow=True,
)
class UpperBiasesNotDrawn(Planted):
    """Above the third layer, the biases start at zero, because initialisation stops there."""

    def reset_parameters(self) -> None:
        super().reset_parameters()
        with torch.no_grad():
            for kind, layer, direction in self.parameter_order():
                if layer > 2 and kind.startswith("bias"):
                    self.parameter(kind, layer, direction).zero_()


@seen_by("parameters.trainable", report="tracel-ai/burn PR #5235")
class BiasesNotLearned(Planted):
    """The biases do not require gradients."""

    def reset_parameters(self) -> None:
        super().reset_parameters()
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(not name.startswith("bias"))


@seen_by("parameters.initial-distribution")
class SeededAtConstruction(Planted):
    """Every new layer is initialised to the same values, drawn from a fixed seed."""

    def reset_parameters(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            super().reset_parameters()


@seen_by("parameters.reproducible", narrow=True)
class DrawnByPython(Planted):
    """The initial values are drawn from Python's generator, on which `torch.manual_seed()` has no
    effect.
    """

    def reset_parameters(self) -> None:
        limit = self.initial_limit()
        with torch.no_grad():
            for parameter in self.parameters():
                drawn = [random.uniform(-limit, limit) for _ in range(parameter.numel())]
                if not parameter.is_meta:
                    parameter.copy_(torch.tensor(drawn).view_as(parameter))


@seen_by("modules.replaced-parameters", report="torch-spyre/torch-spyre PR #3018", narrow=True)
class ParameterOffsetIgnored(Planted):
    """Parameters are read from the beginning of their storage, even if they are a part of a larger
    tensor.
    """

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        parameter = super().parameter(kind, layer, direction)
        if not parameter.storage_offset():
            return parameter
        return parameter.as_strided(parameter.shape, parameter.stride(), 0)


@seen_by("parameters.loaded", narrow=True)
class BiasesClearedOnLoad(Planted):
    """`load_state_dict()` sets the biases to zero after it has loaded the weights."""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *rest)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.startswith("bias"):
                    parameter.zero_()

"""Planted bugs in the projections of an LSTM."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rnnspec.selftest.bugs.cell_states import PlantedPair
from rnnspec.selftest.seen import seen_by


@seen_by("projection.results", report="PaddlePaddle/Paddle PR #15605")
class ProjectionWithTanh(PlantedPair):
    """tanh is applied to the projected state."""

    def project_state(self, h: Tensor, layer: int) -> Tensor:
        projected = super().project_state(h, layer)
        return projected if projected is h else torch.tanh(projected)


@seen_by("projection.results")
class ProjectionOfForwardDirection(PlantedPair):
    """Both directions are projected with the forward `weight_hr`."""

    narrow = True

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        return super().parameter(kind, layer, 0 if kind == "weight_hr" else direction)


@seen_by("projection.results", "recurrence.output", "stacking.composition")
class ProjectionOfFirstLayer(PlantedPair):
    """All layers are projected with the first layer's `weight_hr`."""

    narrow = True

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        return super().parameter(kind, 0 if kind == "weight_hr" else layer, direction)


@seen_by("projection.cell-state", "cell-state.shape")
class CellStateProjected(PlantedPair):
    """`c_n` is projected as well."""

    def forward(self, input, hx=None):  # type: ignore[no-untyped-def]
        output, (h, c) = super().forward(input, hx)
        if not self.__dict__["proj_size"]:
            return output, (h, c)
        return output, (h, c[..., : self.output_size])


@seen_by("projection.width", "shapes.output")
class OutputNotProjected(PlantedPair):
    """The output repeats the projected state up to `hidden_size` units."""

    def forward(self, input, hx=None):  # type: ignore[no-untyped-def]
        output, states = super().forward(input, hx)
        if not self.__dict__["proj_size"] or not isinstance(output, Tensor):
            return output, states
        missing = self.directions * (self.hidden_size - self.output_size)
        return nn.functional.pad(output, (0, missing)), states


@seen_by("gradients.weights")
class ProjectionDetached(PlantedPair):
    """The projection receives no gradient."""

    narrow = True

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        value = super().parameter(kind, layer, direction)
        return value.detach() + 0 * value if kind == "weight_hr" else value


@seen_by("construction.refuses-projections")
class ProjectionOfAnySize(PlantedPair):
    """A `proj_size` that is not smaller than `hidden_size` is cut to fit."""

    narrow = True

    def __init__(self, input_size: int, hidden_size: int, *rest: Any, **named: Any) -> None:
        if isinstance(named.get("proj_size"), int) and isinstance(hidden_size, int):
            named["proj_size"] = min(max(0, named["proj_size"]), hidden_size - 1)
        super().__init__(input_size, hidden_size, *rest, **named)


@seen_by("parameters.projection", "parameters.names")
class ProjectionWithoutNeed(PlantedPair):
    """A layer without projections registers one that it does not use."""

    def create_parameters(self, device: Any, dtype: Any) -> None:
        super().create_parameters(device, dtype)
        if not self.__dict__["proj_size"]:
            empty = torch.empty(1, self.hidden_size, device=device, dtype=dtype)
            self.register_parameter("weight_hr_l0", nn.Parameter(empty))

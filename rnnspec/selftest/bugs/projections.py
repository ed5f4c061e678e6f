"""Planted bugs in the projections of an LSTM."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rnnspec.contract.kinds import LSTM
from rnnspec.plain.call import Here
from rnnspec.selftest.bugs.cell_states import PlantedPair
from rnnspec.selftest.bugs.dropout import drop
from rnnspec.selftest.bugs.planted import Planter, replace_gradient
from rnnspec.selftest.labels import seen_by

plant = Planter(__name__, LSTM)


def fill_up(output: Tensor, spot: Here) -> Tensor:
    """Return the output with zeros behind the units of hidden states."""
    call = spot.call
    return nn.functional.pad(output, (0, call.directions * (call.size("c") - call.size("h"))))


ProjectionWithTanh = plant(
    "tanh is applied to the projected state.",
    "projection.results",
    {"projected": torch.tanh},
    report="PaddlePaddle/Paddle PR #15605",
)
ProjectionOfForwardDirection = plant(
    "Both directions are projected with the forward `weight_hr`.",
    "projection.results",
    {"weight_hr": lambda weight, spot: spot.call.weight("weight_hr", spot.layer, 0)},
    narrow=True,
)
ProjectionOfFirstLayer = plant(
    "All layers are projected with the first layer's `weight_hr`.",
    "projection.results recurrence.output stacking.composition",
    {"weight_hr": lambda weight, spot: spot.call.weight("weight_hr", 0, spot.direction)},
    narrow=True,
)
CellStateProjected = plant(
    "`c_n` is cut to the size of the projection as well.",
    "projection.cell-state cell-state.shape",
    {"final.c": lambda c, spot: c[..., : spot.call.size("h")]},
)
OutputNotProjected = plant(
    "Zeros fill the output up to `hidden_size` units for each direction.",
    "projection.width shapes.output",
    {"output": fill_up},
)
ProjectionDetached = plant(
    "The projection receives no gradient.",
    "gradients.weights",
    {"weight_hr": lambda weight: replace_gradient(weight, 0 * weight)},
    narrow=True,
)


def drop_whole(projected: Tensor, whole: Tensor, weight: Tensor, spot: Here) -> Tensor:
    """Return a projected state, and keep its value after dropout of the unprojected state."""
    dropped = drop(whole, spot) @ weight.t()
    spot.memo[spot.layer, spot.direction, spot.time] = dropped
    return projected


def read_whole_dropped(data: Tensor, spot: Here) -> Tensor:
    """Return the output of the layer below, computed from states before projection that were
    dropped.
    """
    call = spot.call
    halves = []
    for direction in range(call.directions):
        steps = [spot.memo[spot.layer - 1, direction, time] for time in range(len(call.sizes))]
        rows = [nn.functional.pad(each, (0, 0, 0, call.sizes[0] - len(each))) for each in steps]
        halves.append(torch.stack(rows))
    return torch.cat(halves, -1)


DropsBeforeProjection = plant(
    "Dropout acts on the hidden state before it is projected.",
    "dropout.place",
    {"projected": drop_whole, "dropped": read_whole_dropped},
    where=lambda spot: spot.call.drops and spot.call.has_projection,
    narrow=True,
)


@seen_by("construction.refuses-projections", narrow=True)
class ProjectionOfAnySize(PlantedPair):
    """A `proj_size` that is not smaller than `hidden_size` is cut to fit."""

    def __init__(self, input_size: int, hidden_size: int, *rest: Any, **named: Any) -> None:
        if isinstance(named.get("proj_size"), int) and isinstance(hidden_size, int):
            named["proj_size"] = min(max(0, named["proj_size"]), hidden_size - 1)
        super().__init__(input_size, hidden_size, *rest, **named)


@seen_by("parameters.projection parameters.names")
class ProjectionWithoutNeed(PlantedPair):
    """A layer without projections registers a projection that it does not use."""

    def create_parameters(self, device: Any, dtype: Any) -> None:
        super().create_parameters(device, dtype)
        if not self.__dict__["proj_size"]:
            empty = torch.empty(1, self.hidden_size, device=device, dtype=dtype)
            self.register_parameter("weight_hr_l0", nn.Parameter(empty))


plant.name_classes(globals())

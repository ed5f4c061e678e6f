"""Planted bugs of precision: values computed or kept with fewer digits than the dtype has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad as pad_zeros

from rnnspec.plain.call import Here
from rnnspec.reference.values import Holds
from rnnspec.selftest.bugs.planted import Planter, change_states, change_tanh

plant = Planter(__name__)


def computes_in(*dtypes: torch.dtype) -> Holds:
    """Return a condition that holds in a call if the dtype of its input is listed."""
    return lambda spot: spot.call.input.dtype in dtypes


def count_units(spot: Here) -> int:
    """Return the number of units of a layer."""
    module: Any = spot.module
    return int(module.hidden_size)


DoubleInSingle = plant(
    "In float64, the result of each time step is rounded to float32.",
    "recurrence.output recurrence.dtypes",
    change_states("updated", lambda state: state.float().double()),
    where=computes_in(torch.float64),
    narrow=True,
)
WideLayerInSingle = plant(
    "In float64, with 384 units and more, the result of each time step is rounded to float32.",
    "recurrence.dtypes",
    change_states("updated", lambda state: state.float().double()),
    where=lambda spot: spot.call.input.dtype is torch.float64 and count_units(spot) >= 384,
    narrow=True,
)
ProductsInSingle = plant(
    "In float64, the recurrent product is computed in float32, as by libraries with one default "
    "precision.",
    "recurrence.output recurrence.dtypes",
    {
        "sum.hidden": lambda total, rest, before, weight: (
            rest["hidden"][: len(total)] + (before["h"].float() @ weight["hidden"].float()).double()
        )
    },
    where=computes_in(torch.float64),
    narrow=True,
)
SingleInBfloat = plant(
    "In float32, the hidden state is rounded to bfloat16 between time steps.",
    "recurrence.output recurrence.h-n states.h-n-is-last-output",
    change_states("carried", lambda state: state.bfloat16().float()),
    where=computes_in(torch.float32),
    narrow=True,
)
SingleLikeTensorCores = plant(
    "In float32, the input of each layer is rounded to float16 before it is multiplied.",
    "recurrence.output",
    {"data": lambda data: data + (data.half().float() - data).detach()},
    where=computes_in(torch.float32),
    narrow=True,
)
FinalStateRounded = plant(
    "In float64, `h_n` is rounded to float32.",
    "recurrence.h-n",
    change_states("final", lambda state: state.float().double()),
    where=computes_in(torch.float64),
    narrow=True,
)
ScaledByAnUlp = plant(
    "Every activation is too large by a relative error of 8 times the machine epsilon.",
    "recurrence.exact nonlinearity.large",
    change_tanh(lambda value: value * (1 + 8 * torch.finfo(value.dtype).eps)),
    narrow=True,
)


def add_to_late_unit(state: Tensor) -> Tensor:
    """Return a state whose unit 128 is too large by 2e-5, if it has more than 200 units."""
    error = torch.zeros_like(state)
    error[..., 128:129] = 2e-5 * (state.shape[-1] > 200)
    return state + error


LateUnitOff = plant(
    "In float32, with more than 200 units, unit 128 is too large by 2e-5 after each step.",
    "recurrence.accuracy recurrence.output",
    change_states("updated", add_to_late_unit),
    where=computes_in(torch.float32),
    narrow=True,
)


def is_wide(spot: Here) -> bool:
    """Return whether a layer in float32 has many features and units."""
    module: Any = spot.module
    is_float32 = spot.call.input.dtype is torch.float32
    return is_float32 and bool(module.input_size >= 100 and module.hidden_size >= 200)


def round_late_steps(data: Tensor) -> Tensor:
    """Return the input of a layer, rounded to bfloat16 from the 17th time step on."""
    late = torch.arange(len(data), device=data.device).reshape(-1, 1, 1) >= 16
    return data + (late * (data.bfloat16().float() - data)).detach()


LateStepsCoarse = plant(
    "In float32, with 100 features and 200 units, the input is rounded to bfloat16 from the 17th "
    "time step on.",
    "recurrence.output",
    {"data": round_late_steps},
    where=is_wide,
    beyond_cells=True,
    narrow=True,
)


def scale_gradient(data: Tensor) -> Tensor:
    """Return the same numbers, with a gradient that is too large by 1e-4."""
    return data + 1e-4 * (data - data.detach())


LargeGradientOff = plant(
    "In float32, with 100 features and 200 units, the gradient of the input is too large by a "
    "relative error of 1e-4.",
    "gradients.accuracy gradients.input gradients.exact",
    {"data": scale_gradient},
    where=is_wide,
    narrow=True,
)
BiasLostInBfloat = plant(
    "In bfloat16, no bias is added.",
    "recurrence.half-precision",
    {"biases": lambda biases: []},
    where=computes_in(torch.bfloat16),
    narrow=True,
)
HalfInFiveBits = plant(
    "In float16, the hidden state is rounded to multiples of 1/32 between time steps, and the "
    "rounding lets no gradient through.",
    "recurrence.half-precision gradients.half-precision",
    change_states("carried", lambda state: (state * 32).round() / 32),
    where=computes_in(torch.float16),
    narrow=True,
)


def add_products(start: Tensor, columns: Iterable[Tensor], rows: Iterable[Tensor]) -> Tensor:
    """Return a sum to which products of columns and rows are added in sequence."""
    for column, row in zip(columns, rows, strict=True):
        start = start + column.unsqueeze(-1) * row
    return start


StatesAddedIn16Bits = plant(
    "In bfloat16 and float16, the products of the states are added one by one, in 16 bits.",
    "recurrence.float32-sums",
    {
        "sum.hidden": lambda total, rest, before, weight: add_products(
            rest["hidden"][: len(total)], before["h"].unbind(1), weight["hidden"]
        )
    },
    where=computes_in(torch.bfloat16, torch.float16),
    narrow=True,
)


def add_input_one_by_one(
    sums: Tensor, data: Tensor, biases: Iterable[Tensor], spot: Here
) -> Tensor:
    """Return sums with the products of the input added in sequence."""
    columns = spot.call.pad(spot.call.cut(data)).unbind(-1)
    weight = spot.call.layer.parameter("weight_ih", *spot.place)
    product = add_products(sums.new_zeros(()), columns, weight.t())
    return sum(biases, start=pad_zeros(product, (0, sums.size(-1) - product.size(-1))))


InputAddedIn16Bits = plant(
    "In bfloat16 and float16, the products of the input are added one by one, in 16 bits.",
    "recurrence.float32-sums",
    {"from_input": add_input_one_by_one},
    where=computes_in(torch.bfloat16, torch.float16),
    narrow=True,
)
plant.name_classes(globals())

"""Planted bugs in stacked layers: what a layer reads from the layer below."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnspec.selftest.bugs.planted import PARAMETERS, Planter, change_states, use_parameters_of

plant = Planter(__name__)
SWAPPED = {"read": lambda read: read.transpose(0, 1).reshape(read.shape)}
"""Reads the samples of a layer as its steps, and its steps as its samples."""

UpperLayersBatchMajor = plant(
    "Layers above the first read the layer below with batch and time swapped.",
    "stacking.composition samples.independent samples.permuted",
    SWAPPED,
    report="exe1023/LSTM_LN #1",
    where=lambda spot: spot.layer > 0 and not spot.call.is_ragged,
)
UpperLayersTurnedRound = plant(
    "With `batch_first` and relu, layers above the first read the layer below with batch and time "
    "swapped.",
    "stacking.composition",
    SWAPPED,
    report="oneDNN #784",
    where=lambda spot: (
        spot.layer > 0
        and spot.module.batch_first
        and spot.call.nonlinearity == "relu"
        and not spot.call.is_ragged
    ),
    narrow=True,
    ungated=True,
)
EveryLayerReadsInput = plant(
    "If the input is as wide as the output of a layer, every layer reads the input.",
    "stacking.composition",
    {"read": lambda read, below: below[0]},
    where=lambda spot: spot.module.input_size == spot.call.directions * spot.module.output_size,
    narrow=True,
)
ThirdLayerSkipsSecond = plant(
    "The third layer reads the output of the first layer instead of the second.",
    "stacking.composition",
    {"layer": lambda output, spot: spot.memo.setdefault("first", output)},
    where=lambda spot: spot.layer < 2 < spot.call.layers,
    narrow=True,
)
DeepLayersShareWeights = plant(
    "Layers above the second use the parameters of the second layer.",
    "stacking.composition",
    use_parameters_of(lambda spot: (min(spot.layer, 1), spot.direction), *PARAMETERS),
    narrow=True,
)
LayersByName = plant(
    "`weight_hh` is chosen in alphabetical order, in which layer 10 comes before layer 2.",
    "stacking.composition stacking.own-parameters",
    use_parameters_of(
        lambda spot: (sorted(range(spot.call.layers), key=str)[spot.layer], spot.direction),
        "weight_hh",
    ),
    report="pytorch #6627",
    narrow=True,
)


def refuse(value: Tensor) -> Tensor:
    """Raise RecursionError."""
    raise RecursionError("too many layers")


ManyLayersRefused = plant(
    "A layer with `num_layers` above 10 raises an error.",
    "recurrence.output stacking.own-parameters stacking.composition",
    {"input": refuse},
    report="pytorch #877",
    where=lambda spot: spot.call.layers > 10,
    beyond_cells=True,
    narrow=True,
)
DeepStackSkipsLayer = plant(
    "With 6 to 10 layers, the last layer reads what the layer below it reads.",
    "stacking.composition",
    {"read": lambda read, spot: spot.memo.setdefault("below", read)},
    where=lambda spot: 6 <= spot.call.layers <= 10 and spot.layer >= spot.call.layers - 2,
    narrow=True,
)


def shift_late_unit(state: Tensor) -> Tensor:
    """Return a state whose unit 128 is too large by 1e-3, if it has more than 200 units."""
    error = torch.zeros_like(state)
    error[..., 128:129] = 1e-3 * (state.shape[-1] > 200)
    return state + error


LowerUnitOff = plant(
    "In float32, in a stack with more than 200 units, unit 128 of all layers but the last is too "
    "large by 1e-3 after each step.",
    "stacking.single-steps",
    change_states("updated", shift_late_unit),
    where=lambda spot: (
        spot.layer < spot.module.num_layers - 1 and spot.call.input.dtype is torch.float32
    ),
    beyond_cells=True,
    narrow=True,
)
plant.name_classes(globals())

"""Planted bugs in bidirectional layers: order, time, parameters and states of the directions."""

from __future__ import annotations

import torch
from torch import Tensor

from rnnspec.plain.call import Here
from rnnspec.selftest.bugs.planted import (
    PARAMETERS,
    Planter,
    change_states,
    start_from,
    use_parameters_of,
)

plant = Planter(__name__)
EXCHANGED = {"joined": lambda joined, halves: torch.cat(halves[::-1], dim=-1)}
"""The backward half of the output before the forward half."""

BackwardHalfFirst = plant(
    "The backward half of the output comes before the forward half.",
    "directions.output-order",
    EXCHANGED,
    report="apple/coremltools #824",
)
HiddenMajorOutput = plant(
    "The units of the two directions alternate in the output.",
    "directions.output-order",
    {"joined": lambda joined, halves: torch.stack(halves, dim=-1).flatten(-2)},
    report="onnx/onnx #921",
)
DirectionsSummed = plant(
    "Both halves of the output hold the sum of the two directions.",
    "directions.output-order",
    {"joined": lambda joined, halves: torch.stack(halves).sum(0).repeat(1, 1, len(halves))},
    report="uxlfoundation/oneDNN #617",
)
BackwardHalfFirstAboveLayerZero = plant(
    "In layers above the first, the backward half of the output comes before the forward half.",
    "directions.output-order",
    EXCHANGED,
    report="pytorch #10838",
    where=lambda spot: spot.layer > 0,
    narrow=True,
)
StatesByDirection = plant(
    "`h_n` lists the forward states of all layers before the backward states.",
    "directions.h-n-order",
    change_states(
        "final",
        lambda rows, spot: (
            rows.unflatten(0, (-1, spot.call.directions)).transpose(0, 1).flatten(0, 1)
        ),
    ),
    narrow=True,
)
BackwardStateFirst = plant(
    "In `h_n`, the backward state of each layer comes before its forward state.",
    "directions.h-n-order",
    change_states(
        "final",
        lambda rows, spot: rows.unflatten(0, (-1, spot.call.directions)).flip(1).flatten(0, 1),
    ),
)
BackwardStateFromLastStep = plant(
    "The final state of the backward direction is taken at the last time step instead of the "
    "first.",
    "directions.h-n-order",
    {
        "last": lambda last, steps, spot: {
            letter: torch.where(spot.call.alive[-1], steps[letter][-1], state)
            for letter, state in last.items()
        }
    },
    report="onnx/tensorflow-onnx PR #213",
    where=lambda spot: spot.direction == 1,
)
BackwardRunsForward = plant(
    "The backward direction runs forward in time.",
    "directions.reverse-time",
    {"order": sorted},
    report="pytorch #90421",
)


def return_as_computed(h: Tensor, spot: Here) -> Tensor:
    """Return the rows of all steps with the last step first."""
    pairs = zip(h.flip(0), reversed(spot.call.sizes), strict=True)
    return spot.call.pad(torch.cat([step[:size] for step, size in pairs]))


BackwardNotTurnedBack = plant(
    "The outputs of the backward direction stay in the order in which they are computed.",
    "directions.reverse-time",
    {"steps.h": return_as_computed},
    report="microsoft/onnxruntime #4187",
    where=lambda spot: spot.direction == 1,
)
BackwardFlipsBatch = plant(
    "The backward direction reads the samples of the batch in reversed order.",
    "directions.reverse-time samples.independent",
    {"data": lambda data: data.flip(1)},
    report="pytorch #94754",
    where=lambda spot: spot.direction == 1 and not spot.call.is_ragged,
)
BackwardCountsFeatures = plant(
    "If the sequence is longer than `input_size`, the backward direction starts at time step "
    "number `input_size`.",
    "directions.reverse-time",
    {
        "order": lambda order, spot: [
            *order[-spot.module.input_size :],
            *order[: -spot.module.input_size][::-1],
        ]
    },
    report="kraiskil/onnx2c #95",
    where=lambda spot: spot.direction == 1,
    narrow=True,
)
OneSetOfWeights = plant(
    "The backward direction computes with the parameters of the forward direction.",
    "directions.own-weights",
    use_parameters_of(lambda spot: (spot.layer, 0), *PARAMETERS),
    report="PaddlePaddle/PaddleSpeech PR #794",
)
RecurrentWeightShared = plant(
    "In layers above the first, the backward direction uses the forward `weight_hh`.",
    "directions.own-weights",
    use_parameters_of(lambda spot: (spot.layer, 0), "weight_hh"),
    report="PaddlePaddle/PaddleSpeech PR #794",
    where=lambda spot: spot.layer > 0,
    narrow=True,
)
BiasForwardOnly = plant(
    "The backward direction adds no bias.",
    "directions.own-weights",
    {"biases": lambda biases: []},
    report="VeriSilicon/TIM-VX PR #649",
    where=lambda spot: spot.direction == 1,
)
OneStateForBoth = plant(
    "Both directions of a layer start from the initial state of the forward direction.",
    "directions.own-state",
    start_from(lambda spot: spot.layer * spot.call.directions),
    report="PaddlePaddle/Paddle PR #27644",
    narrow=True,
)
StatesExchanged = plant(
    "Each direction starts from the initial state of the other direction.",
    "directions.own-state",
    start_from(lambda spot: (spot.layer + 1) * spot.call.directions - 1 - spot.direction),
    report="onnx/onnx-tensorflow #409",
    narrow=True,
)
plant.name_classes(globals())

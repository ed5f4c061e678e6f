"""Planted bugs in the cell of a GRU: its gates, their order, and how they mix states."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from rnnspec.contract.kinds import GRU
from rnnspec.plain.call import Here
from rnnspec.plain.gated import PlainGRU
from rnnspec.reference.steps import States, SumsByName
from rnnspec.reference.values import Functions, change_values
from rnnspec.selftest.bugs.planted import Planted, Planter, change_rows, replace_gradient
from rnnspec.selftest.labels import seen_by

plant = Planter(__name__, GRU)
GATES = len(GRU.gates)


class PlantedGRU(Planted, PlainGRU):
    """The plain GRU with a bug in its parameters or its results."""


def reset_state(
    part: Tensor, sums: SumsByName, rest: SumsByName, before: States, weight: SumsByName
) -> Tensor:
    """Return `W_hn (r * h) + b_hn`."""
    return rest["part"] + (torch.sigmoid(sums["reset"]) * before["h"]) @ weight["part"]


def place_biases(place: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Functions:
    """Return changes to the biases of the new gate outside and inside of the reset gate.

    `place` returns both from `b_in` and `b_hn`.
    """

    def change(biases: list[Tensor]) -> list[Tensor]:
        if not biases:
            return biases
        reset, update, b_in, b_hn = torch.stack(biases).sum(0).chunk(GATES + 1)
        return [torch.cat([reset, update, *place(b_in, b_hn)])]

    return {"biases": change}


ResetBeforeProduct = plant(
    "The reset gate multiplies the hidden state before the product, as in the paper.",
    "gates.alone recurrence.output",
    {"sum.part": reset_state, "inside": lambda inside, sums: sums["part"]},
    report="microsoft/onnxscript #2852",
)
ResetBeforeProductAbove = plant(
    "Layers above the first let the reset gate act before the product.",
    "gates.alone recurrence.output stacking.composition",
    {"sum.part": reset_state, "inside": lambda inside, sums: sums["part"]},
    where=lambda spot: spot.layer > 0,
    beyond_cells=True,
    narrow=True,
)
NewBiasOutsideReset = plant(
    "`b_hn` is added outside of the reset gate.",
    "gates.alone recurrence.output",
    place_biases(lambda b_in, b_hn: (b_in + b_hn, torch.zeros_like(b_hn))),
    report="apple/coremltools #1124",
)
NewBiasOnBothSidesOfReset = plant(
    "`b_hn` is added inside of the reset gate and once more outside.",
    "recurrence.output",
    place_biases(lambda b_in, b_hn: (b_in + b_hn, b_hn)),
    report="tensorflow/tensorflow #54492",
)
NewBiasOutsideResetInReverse = plant(
    "The backward direction adds `b_hn` outside of the reset gate.",
    "directions.own-weights gates.alone recurrence.output",
    place_biases(lambda b_in, b_hn: (b_in + b_hn, torch.zeros_like(b_hn))),
    where=lambda spot: spot.direction == 1,
    beyond_cells=True,
    narrow=True,
)
InputBiasInsideReset = plant(
    "`b_in` is multiplied by the reset gate too.",
    "gates.alone recurrence.output",
    place_biases(lambda b_in, b_hn: (torch.zeros_like(b_in), b_in + b_hn)),
)
InputReset = plant(
    "The reset gate multiplies all that the new gate reads, the input included.",
    "gates.alone recurrence.output",
    {"total.new": lambda total, r, sums: r * (sums["new"] + sums["part"])},
)
UpdateGateInverted = plant(
    "An update gate of 1 takes the new state, as in the first paper.",
    "recurrence.output gates.alone",
    {"gate.update": lambda z: 1 - z},
    report="XiaLiPKU/RESCAN #2",
)
UpdateGateInvertedIfPacked = plant(
    "The update gate has the opposite sense where sequences have ended.",
    "packed.output packed.sequences recurrence.output",
    {"gate.update": lambda z: 1 - z},
    report="PaddlePaddle/Paddle #5493",
    where=lambda spot: spot.call.sizes[spot.time] < spot.call.sizes[0],
    beyond_cells=True,
    narrow=True,
)
ResetIgnored = plant(
    "There is no reset gate.",
    "gates.alone recurrence.output",
    {"inside": lambda inside, sums: sums["part"]},
    report="zhiyongc/GRU-D #2",
)
StateResetInMix = plant(
    "The reset gate multiplies the state that is carried over as well.",
    "recurrence.output gates.alone",
    {"old": lambda old, r: r * old},
    report="mquad/hgru4rec #11",
)
UpdateReadsNoState = plant(
    "The update gate does not read the hidden state.",
    "gates.alone recurrence.output",
    {"weight_hh": change_rows(1, GATES, torch.zeros_like)},
)
ResetReadsNoInput = plant(
    "The reset gate does not read the input.",
    "gates.alone recurrence.output",
    {"weight_ih": change_rows(0, GATES, torch.zeros_like)},
)
UpdateBiasLost = plant(
    "`b_hz` is never added.",
    "recurrence.two-biases gates.alone recurrence.output",
    {"bias_hh": change_rows(1, GATES, torch.zeros_like)},
)
KeptStateDetached = plant(
    "No gradient flows through the state that the update gate carries over.",
    "gradients.h-0 gradients.input gradients.weights",
    {"old": torch.detach},
    narrow=True,
)
ResetDetached = plant(
    "No gradient flows through the reset gate.",
    "gradients.input gradients.weights gradients.h-0",
    {"gate.reset": torch.detach},
    narrow=True,
)


@seen_by(
    "parameters.initial-distribution parameters.initial-range", report="keras-team/keras #9149"
)
class LimitOfAllRows(PlantedGRU):
    """Initial values are drawn up to `1 / sqrt(3 * hidden_size)`, using the number of rows."""

    def initial_limit(self) -> float:
        return 1.0 / math.sqrt(GATES * self.hidden_size)


@seen_by("parameters.initial-range parameters.initial-distribution")
class UpdateBiasStartsAtOne(PlantedGRU):
    """The biases of the update gate start at 1, so that states are kept at first."""

    def reset_parameters(self) -> None:
        super().reset_parameters()
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.startswith("bias_ih"):
                    parameter.chunk(GATES)[1].fill_(1.0)


@seen_by("parameters.shapes", report="patrick-kidger/equinox #1003")
class RowsOfOneGate(PlantedGRU):
    """`bias_hh` has only the rows of the new gate."""

    changes = change_values({"bias_hh": lambda rows: pad(rows, (2 * len(rows), 0))})

    def parameter_shape(self, kind: str, layer: int) -> tuple[int, ...]:
        shape = super().parameter_shape(kind, layer)
        return (shape[0] // GATES,) if kind == "bias_hh" else shape


NewHiddenBiasLost = plant(
    "`b_hn` is never added.",
    "recurrence.output",
    {"bias_hh": change_rows(2, GATES, torch.zeros_like)},
    report="google/flax #5594",
)
HiddenBiasNeedsState = plant(
    "Without an initial state, `b_hn` is left out at the first step.",
    "states.absent-is-zero recurrence.output",
    {"sum.part": lambda part, rest: part - rest["part"]},
    report="ml-explore/mlx #3249",
    where=lambda spot: spot.time == 0 and not spot.call.states,
    narrow=True,
)


def add_to_last(part: Tensor, spot: Here) -> Tensor:
    """Return the sum plus the sum of the previous step, for the samples that have both."""
    last = spot.memo["part"] if spot.step else part.new_zeros(spot.call.sizes[0], part.size(1))
    added: Tensor = part + last[: len(part)]
    spot.memo["part"] = torch.cat([added, last[len(part) :]])
    return added


InsideNotCleared = plant(
    "Without biases, what the reset gate multiplies is added to that of the step before.",
    "recurrence.output gates.alone packed.output",
    {"sum.part": add_to_last},
    report="microsoft/onnxruntime PR #3893",
    where=lambda spot: not spot.call.has_biases,
    beyond_cells=True,
    narrow=True,
)


@seen_by("shapes.returns-pair shapes.h-n", report="OpenNMT-py PR #126")
class StateInTupleOfOne(PlantedGRU):
    """`h_n` is a tuple that holds the state."""

    def forward(self, input: Any, hx: Tensor | None = None) -> Any:
        output, h_n = super().forward(input, hx)
        return output, (h_n,)


InsideGradientWithoutReset = plant(
    "The gradient of `W_hn h + b_hn` lacks the factor of the reset gate.",
    "gradients.weights gradients.biases gradients.h-0 gradients.input",
    {
        "inside": lambda inside, r, sums: replace_gradient(
            inside, r * sums["part"].detach() + sums["part"]
        )
    },
    report="open-lm-engine PR #249",
    narrow=True,
)
UpdateGradientOfOtherSign = plant(
    "The gradient of the update gate has the opposite sign.",
    "gradients.weights gradients.biases gradients.h-0 gradients.input",
    {"gate.update": lambda z: replace_gradient(z, -z)},
    report="apache/mxnet PR #18316",
    narrow=True,
)
plant.name_classes(globals())

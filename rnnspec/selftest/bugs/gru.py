"""Planted bugs in the cell of a GRU: its gates, their order, and how they mix states."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from rnnspec.plain.gru import GATES, PlainGRU
from rnnspec.selftest.bugs.planted import Planted, replace_gradient
from rnnspec.selftest.seen import seen_by


class PlantedGRU(Planted, PlainGRU):
    """The reference GRU with one thing wrong about its cell."""


@seen_by("gates.alone", "recurrence.output", report="microsoft/onnxscript #2852")
class ResetBeforeProduct(PlantedGRU):
    """The reset gate multiplies the hidden state before the product, as in the paper."""

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        read = torch.split(x, self.hidden_size, dim=1)
        carry = torch.split(weight, self.hidden_size, dim=1)
        reset, update = (self.gate(read[place] + h @ carry[place]) for place in range(2))
        inside = (reset * h) @ carry[2] + (read[3] if len(read) > GATES else 0)
        return self.mix(self.activation(read[2] + inside), update, h)


@seen_by("gates.alone", "recurrence.output", "stacking.composition")
class ResetBeforeProductAbove(ResetBeforeProduct):
    """Layers above the first let the reset gate act before the product."""

    beyond_cells = True
    narrow = True

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        step = super().step if layer else super(ResetBeforeProduct, self).step
        return step(x, h, weight, layer, t)


@seen_by("gates.alone", "recurrence.output", report="apple/coremltools #1124")
class NewBiasOutsideReset(PlantedGRU):
    """`b_hn` is added outside of the reset gate."""

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        x = super().project(data, layer, direction)
        if x.size(1) == GATES * self.hidden_size:
            return x
        *read, inside = torch.split(x, self.hidden_size, dim=1)
        return torch.cat([*read[:2], read[2] + inside], dim=1)


@seen_by("recurrence.output", report="tensorflow/tensorflow #54492")
class NewBiasOnBothSidesOfReset(PlantedGRU):
    """`b_hn` is added inside of the reset gate and once more outside."""

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        x = super().project(data, layer, direction)
        if x.size(1) == GATES * self.hidden_size:
            return x
        *read, inside = torch.split(x, self.hidden_size, dim=1)
        return torch.cat([*read[:2], read[2] + inside, inside], dim=1)


@seen_by("directions.own-weights", "gates.alone", "recurrence.output")
class NewBiasOutsideResetInReverse(NewBiasOutsideReset):
    """The backward direction adds `b_hn` outside of the reset gate."""

    beyond_cells = True
    narrow = True

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        project = super().project if direction else super(NewBiasOutsideReset, self).project
        return project(data, layer, direction)


@seen_by("gates.alone", "recurrence.output")
class InputBiasInsideReset(PlantedGRU):
    """`b_in` is multiplied by the reset gate too."""

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        x = super().project(data, layer, direction)
        if x.size(1) == GATES * self.hidden_size:
            return x
        bias = self.biases(layer, direction)[0][2 * self.hidden_size :]
        *read, inside = torch.split(x, self.hidden_size, dim=1)
        return torch.cat([*read[:2], read[2] - bias, inside + bias], dim=1)


@seen_by("gates.alone", "recurrence.output")
class InputReset(PlantedGRU):
    """The reset gate multiplies all that the new gate reads, the input included."""

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        read = torch.split(x, self.hidden_size, dim=1)
        carried = torch.split(h @ weight, self.hidden_size, dim=1)
        inside = carried[2] + (read[3] if len(read) > GATES else 0) + read[2]
        reset, update = self.gate(read[0] + carried[0]), self.gate(read[1] + carried[1])
        return self.mix(self.activation(reset * inside), update, h)


@seen_by("recurrence.output", "gates.alone", report="XiaLiPKU/RESCAN #2")
class UpdateGateInverted(PlantedGRU):
    """An update gate of 1 takes the new state, as in the first paper."""

    def mix(self, new: Tensor, update: Tensor, h: Tensor) -> Tensor:
        return update * new + (1 - update) * h


@seen_by(
    "packed.output", "packed.sequences", "recurrence.output", report="PaddlePaddle/Paddle #5493"
)
class UpdateGateInvertedIfPacked(PlantedGRU):
    """The update gate has the opposite sense where sequences have ended."""

    beyond_cells = True
    narrow = True

    def run(self, data: Tensor, sizes: Any, h_0: Tensor) -> tuple[Tensor, Tensor]:
        self.__dict__["full"] = sizes[0]
        return super().run(data, sizes, h_0)

    def mix(self, new: Tensor, update: Tensor, h: Tensor) -> Tensor:
        inverted = h.size(0) < self.__dict__["full"]
        return super().mix(new, 1 - update if inverted else update, h)


@seen_by("gates.alone", "recurrence.output", report="zhiyongc/GRU-D #2")
class ResetIgnored(PlantedGRU):
    """There is no reset gate."""

    def apply_reset(self, reset: Tensor, inside: Tensor) -> Tensor:
        return inside


@seen_by("recurrence.output", "gates.alone", report="mquad/hgru4rec #11")
class StateResetInMix(PlantedGRU):
    """The reset gate multiplies the state that is carried over as well."""

    def apply_reset(self, reset: Tensor, inside: Tensor) -> Tensor:
        self.__dict__["reset"] = reset
        return super().apply_reset(reset, inside)

    def mix(self, new: Tensor, update: Tensor, h: Tensor) -> Tensor:
        return super().mix(new, update, self.__dict__["reset"] * h)


@seen_by("gates.alone", "recurrence.output")
class UpdateReadsNoState(PlantedGRU):
    """The update gate does not read the hidden state."""

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        reset, update, new = super().recurrent_weight(layer, direction).chunk(GATES)
        return torch.cat([reset, torch.zeros_like(update), new])


@seen_by("gates.alone", "recurrence.output")
class ResetReadsNoInput(PlantedGRU):
    """The reset gate does not read the input."""

    def input_weight(self, layer: int, direction: int) -> Tensor:
        reset, update, new = super().input_weight(layer, direction).chunk(GATES)
        return torch.cat([torch.zeros_like(reset), update, new])


@seen_by("recurrence.two-biases", "gates.alone", "recurrence.output")
class UpdateBiasLost(PlantedGRU):
    """`b_hz` is never added."""

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        found = super().biases(layer, direction)
        if not found:
            return found
        reset, update, new = found[1].chunk(GATES)
        return [found[0], torch.cat([reset, torch.zeros_like(update), new])]


@seen_by("gradients.h-0", "gradients.input", "gradients.weights")
class KeptStateDetached(PlantedGRU):
    """No gradient flows through the state that the update gate carries over."""

    narrow = True

    def mix(self, new: Tensor, update: Tensor, h: Tensor) -> Tensor:
        return super().mix(new, update, h.detach())


@seen_by("gradients.input", "gradients.weights", "gradients.h-0")
class ResetDetached(PlantedGRU):
    """No gradient flows through the reset gate."""

    narrow = True

    def apply_reset(self, reset: Tensor, inside: Tensor) -> Tensor:
        return super().apply_reset(reset.detach(), inside)


@seen_by(
    "parameters.initial-distribution", "parameters.initial-range", report="keras-team/keras #9149"
)
class LimitOfAllRows(PlantedGRU):
    """Initial values are drawn up to `1 / sqrt(3 * hidden_size)`, by the number of rows."""

    def initial_limit(self) -> float:
        return 1.0 / math.sqrt(GATES * self.hidden_size)


@seen_by("parameters.initial-range", "parameters.initial-distribution")
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
    """`bias_hh` has the rows of the new gate only."""

    def parameter_shape(self, kind: str, layer: int) -> tuple[int, ...]:
        shape = super().parameter_shape(kind, layer)
        return (shape[0] // GATES,) if kind == "bias_hh" else shape

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        found = super().biases(layer, direction)
        if not found:
            return found
        return [found[0], torch.nn.functional.pad(found[1], (2 * self.hidden_size, 0))]


@seen_by("recurrence.output", report="google/flax #5594")
class NewHiddenBiasLost(PlantedGRU):
    """`b_hn` is never added."""

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        found = super().biases(layer, direction)
        if not found:
            return found
        reset, update, new = found[1].chunk(GATES)
        return [found[0], torch.cat([reset, update, torch.zeros_like(new)])]


@seen_by("states.absent-is-zero", "recurrence.output", report="ml-explore/mlx #3249")
class HiddenBiasNeedsState(PlantedGRU):
    """Without an initial state, `b_hn` is left out at the first step."""

    narrow = True

    def initial_states(self, hx: Tensor | None, input: Tensor, batch: int) -> Tensor:
        self.__dict__["is_first"] = hx is None
        return super().initial_states(hx, input, batch)

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        if self.__dict__["is_first"] and t == 0:
            x = x[:, : GATES * self.hidden_size]
        return super().step(x, h, weight, layer, t)


@seen_by(
    "recurrence.output", "gates.alone", "packed.output", report="microsoft/onnxruntime PR #3893"
)
class InsideNotCleared(PlantedGRU):
    """Without biases, what the reset gate multiplies is added to that of the step before."""

    beyond_cells = True
    narrow = True

    def run_direction(
        self, data: Tensor, sizes: Any, h: Tensor, layer: int, direction: int
    ) -> tuple[Tensor, Tensor]:
        self.__dict__["kept"] = None
        found = super().run_direction(data, sizes, h, layer, direction)
        self.__dict__["kept"] = None
        return found

    def apply_reset(self, reset: Tensor, inside: Tensor) -> Tensor:
        kept = self.__dict__["kept"]
        if kept is not None and not self.bias:
            both = min(kept.size(0), inside.size(0))
            inside = torch.cat([inside[:both] + kept[:both], inside[both:]])
        self.__dict__["kept"] = inside
        return super().apply_reset(reset, inside)


@seen_by("shapes.returns-pair", "shapes.h-n", report="OpenNMT-py PR #126")
class StateInTupleOfOne(PlantedGRU):
    """`h_n` is a tuple that holds the state."""

    def forward(self, input: Any, hx: Tensor | None = None) -> Any:
        output, h_n = super().forward(input, hx)
        return output, (h_n,)


@seen_by(
    "gradients.weights",
    "gradients.biases",
    "gradients.h-0",
    "gradients.input",
    report="open-lm-engine PR #249",
)
class InsideGradientWithoutReset(PlantedGRU):
    """The gradient of `W_hn h + b_hn` lacks the factor of the reset gate."""

    narrow = True

    def apply_reset(self, reset: Tensor, inside: Tensor) -> Tensor:
        return replace_gradient(reset * inside, reset * inside.detach() + inside)


@seen_by(
    "gradients.weights",
    "gradients.biases",
    "gradients.h-0",
    "gradients.input",
    report="apache/mxnet PR #18316",
)
class UpdateGradientOfOtherSign(PlantedGRU):
    """The gradient of the update gate has the opposite sign."""

    narrow = True

    def mix(self, new: Tensor, update: Tensor, h: Tensor) -> Tensor:
        mixed, fixed = super().mix(new, update, h), super().mix(new, update.detach(), h)
        return replace_gradient(mixed, 2 * fixed - mixed)

"""Planted bugs in the cell of a GRU: its gates, their order, and how they mix states."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from rnnspec.plain.gru import GATES, PlainGRU
from rnnspec.selftest.bugs.planted import Planted, replace_gradient


class PlantedGRU(Planted, PlainGRU):
    """The reference GRU with one thing wrong about its cell."""


class ResetBeforeProduct(PlantedGRU):
    """The reset gate multiplies the hidden state before the product, as in the paper
    (microsoft/onnxscript #2852); gates.alone or recurrence.output sees it."""

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        read = torch.split(x, self.hidden_size, dim=1)
        carry = torch.split(weight, self.hidden_size, dim=1)
        reset, update = (self.gate(read[place] + h @ carry[place]) for place in range(2))
        inside = (reset * h) @ carry[2] + (read[3] if len(read) > GATES else 0)
        return self.mix(self.activation(read[2] + inside), update, h)


class ResetBeforeProductAbove(ResetBeforeProduct):
    """Layers above the first let the reset gate act before the product; gates.alone or
    recurrence.output or stacking.composition sees it."""

    beyond_cells = True
    narrow = True

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        step = super().step if layer else super(ResetBeforeProduct, self).step
        return step(x, h, weight, layer, t)


class NewBiasOutsideReset(PlantedGRU):
    """`b_hn` is added outside of the reset gate (apple/coremltools #1124); gates.alone or
    recurrence.output sees it."""

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        x = super().project(data, layer, direction)
        if x.size(1) == GATES * self.hidden_size:
            return x
        *read, inside = torch.split(x, self.hidden_size, dim=1)
        return torch.cat([*read[:2], read[2] + inside], dim=1)


class NewBiasOnBothSidesOfReset(PlantedGRU):
    """`b_hn` is added inside of the reset gate and once more outside
    (tensorflow/tensorflow #54492); recurrence.output sees it."""

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        x = super().project(data, layer, direction)
        if x.size(1) == GATES * self.hidden_size:
            return x
        *read, inside = torch.split(x, self.hidden_size, dim=1)
        return torch.cat([*read[:2], read[2] + inside, inside], dim=1)


class NewBiasOutsideResetInReverse(NewBiasOutsideReset):
    """The backward direction adds `b_hn` outside of the reset gate; directions.own-weights or
    gates.alone or recurrence.output sees it."""

    beyond_cells = True
    narrow = True

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        project = super().project if direction else super(NewBiasOutsideReset, self).project
        return project(data, layer, direction)


class InputBiasInsideReset(PlantedGRU):
    """`b_in` is multiplied by the reset gate too; gates.alone or recurrence.output sees it."""

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        x = super().project(data, layer, direction)
        if x.size(1) == GATES * self.hidden_size:
            return x
        bias = self.biases(layer, direction)[0][2 * self.hidden_size :]
        *read, inside = torch.split(x, self.hidden_size, dim=1)
        return torch.cat([*read[:2], read[2] - bias, inside + bias], dim=1)


class InputReset(PlantedGRU):
    """The reset gate multiplies all that the new gate reads, the input included; gates.alone or
    recurrence.output sees it."""

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        read = torch.split(x, self.hidden_size, dim=1)
        carried = torch.split(h @ weight, self.hidden_size, dim=1)
        inside = carried[2] + (read[3] if len(read) > GATES else 0) + read[2]
        reset, update = self.gate(read[0] + carried[0]), self.gate(read[1] + carried[1])
        return self.mix(self.activation(reset * inside), update, h)


class UpdateGateInverted(PlantedGRU):
    """An update gate of 1 takes the new state, as in the first paper (XiaLiPKU/RESCAN #2);
    recurrence.output or gates.alone sees it."""

    def mix(self, new: Tensor, update: Tensor, h: Tensor) -> Tensor:
        return update * new + (1 - update) * h


class UpdateGateInvertedIfPacked(PlantedGRU):
    """The update gate has the opposite sense where sequences have ended
    (PaddlePaddle/Paddle #5493); packed.output or packed.sequences or recurrence.output sees it."""

    beyond_cells = True
    narrow = True

    def run(self, data: Tensor, sizes: Any, h_0: Tensor) -> tuple[Tensor, Tensor]:
        self.__dict__["full"] = sizes[0]
        return super().run(data, sizes, h_0)

    def mix(self, new: Tensor, update: Tensor, h: Tensor) -> Tensor:
        inverted = h.size(0) < self.__dict__["full"]
        return super().mix(new, 1 - update if inverted else update, h)


class ResetIgnored(PlantedGRU):
    """There is no reset gate (zhiyongc/GRU-D #2); gates.alone or recurrence.output sees it."""

    def apply_reset(self, reset: Tensor, inside: Tensor) -> Tensor:
        return inside


class StateResetInMix(PlantedGRU):
    """The reset gate multiplies the state that is carried over as well (mquad/hgru4rec #11);
    recurrence.output or gates.alone sees it."""

    def apply_reset(self, reset: Tensor, inside: Tensor) -> Tensor:
        self.__dict__["reset"] = reset
        return super().apply_reset(reset, inside)

    def mix(self, new: Tensor, update: Tensor, h: Tensor) -> Tensor:
        return super().mix(new, update, self.__dict__["reset"] * h)


class UpdateReadsNoState(PlantedGRU):
    """The update gate does not read the hidden state; gates.alone or recurrence.output sees it."""

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        reset, update, new = super().recurrent_weight(layer, direction).chunk(GATES)
        return torch.cat([reset, torch.zeros_like(update), new])


class ResetReadsNoInput(PlantedGRU):
    """The reset gate does not read the input; gates.alone or recurrence.output sees it."""

    def input_weight(self, layer: int, direction: int) -> Tensor:
        reset, update, new = super().input_weight(layer, direction).chunk(GATES)
        return torch.cat([torch.zeros_like(reset), update, new])


class UpdateBiasLost(PlantedGRU):
    """`b_hz` is never added; recurrence.two-biases or gates.alone or
    recurrence.output sees it."""

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        found = super().biases(layer, direction)
        if not found:
            return found
        reset, update, new = found[1].chunk(GATES)
        return [found[0], torch.cat([reset, torch.zeros_like(update), new])]


class KeptStateDetached(PlantedGRU):
    """No gradient flows through the state that the update gate carries over; gradients.h-0
    or gradients.input or gradients.weights sees it."""

    narrow = True

    def mix(self, new: Tensor, update: Tensor, h: Tensor) -> Tensor:
        return super().mix(new, update, h.detach())


class ResetDetached(PlantedGRU):
    """No gradient flows through the reset gate; gradients.input or gradients.weights or
    gradients.h-0 sees it."""

    narrow = True

    def apply_reset(self, reset: Tensor, inside: Tensor) -> Tensor:
        return super().apply_reset(reset.detach(), inside)


class LimitOfAllRows(PlantedGRU):
    """Initial values are drawn up to `1 / sqrt(3 * hidden_size)`, by the number of rows
    (keras-team/keras #9149); parameters.initial-distribution or parameters.initial-range sees
    it."""

    def initial_limit(self) -> float:
        return 1.0 / math.sqrt(GATES * self.hidden_size)


class UpdateBiasStartsAtOne(PlantedGRU):
    """The biases of the update gate start at 1, so that states are kept at first;
    parameters.initial-range or parameters.initial-distribution sees it."""

    def reset_parameters(self) -> None:
        super().reset_parameters()
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.startswith("bias_ih"):
                    parameter.chunk(GATES)[1].fill_(1.0)


class RowsOfOneGate(PlantedGRU):
    """`bias_hh` has the rows of the new gate only (patrick-kidger/equinox #1003); parameters.shapes
    sees it."""

    def parameter_shape(self, kind: str, layer: int) -> tuple[int, ...]:
        shape = super().parameter_shape(kind, layer)
        return (shape[0] // GATES,) if kind == "bias_hh" else shape

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        found = super().biases(layer, direction)
        if not found:
            return found
        return [found[0], torch.nn.functional.pad(found[1], (2 * self.hidden_size, 0))]


class NewHiddenBiasLost(PlantedGRU):
    """`b_hn` is never added (google/flax #5594); recurrence.output sees it."""

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        found = super().biases(layer, direction)
        if not found:
            return found
        reset, update, new = found[1].chunk(GATES)
        return [found[0], torch.cat([reset, update, torch.zeros_like(new)])]


class HiddenBiasNeedsState(PlantedGRU):
    """Without an initial state, `b_hn` is left out at the first step (ml-explore/mlx #3249);
    states.absent-is-zero or recurrence.output sees it."""

    narrow = True

    def initial_states(self, hx: Tensor | None, input: Tensor, batch: int) -> Tensor:
        self.__dict__["is_first"] = hx is None
        return super().initial_states(hx, input, batch)

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        if self.__dict__["is_first"] and t == 0:
            x = x[:, : GATES * self.hidden_size]
        return super().step(x, h, weight, layer, t)


class InsideNotCleared(PlantedGRU):
    """Without biases, what the reset gate multiplies is added to that of the step before
    (microsoft/onnxruntime PR #3893); recurrence.output or gates.alone or packed.output sees it."""

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


class StateInTupleOfOne(PlantedGRU):
    """`h_n` is a tuple that holds the state (OpenNMT-py PR #126); shapes.returns-pair or
    shapes.h-n sees it."""

    def forward(self, input: Any, hx: Tensor | None = None) -> Any:
        output, h_n = super().forward(input, hx)
        return output, (h_n,)


class InsideGradientWithoutReset(PlantedGRU):
    """The gradient of `W_hn h + b_hn` lacks the factor of the reset gate (open-lm-engine PR #249);
    gradients.weights or gradients.biases or gradients.h-0 or gradients.input sees it."""

    narrow = True

    def apply_reset(self, reset: Tensor, inside: Tensor) -> Tensor:
        return replace_gradient(reset * inside, reset * inside.detach() + inside)


class UpdateGradientOfOtherSign(PlantedGRU):
    """The gradient of the update gate has the opposite sign (apache/mxnet PR #18316);
    gradients.weights or gradients.biases or gradients.h-0 or gradients.input sees it."""

    narrow = True

    def mix(self, new: Tensor, update: Tensor, h: Tensor) -> Tensor:
        mixed, fixed = super().mix(new, update, h), super().mix(new, update.detach(), h)
        return replace_gradient(mixed, 2 * fixed - mixed)

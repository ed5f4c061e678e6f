"""Planted bugs in the recurrence: what a step adds up, and where numbers lose precision."""

# ruff: noqa: D102  (the class says what its one method does wrong)

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

from rnnspec.selftest.bugs.planted import Planted, as_steps, is_ragged
from rnnspec.selftest.plain import Sizes


class StateNeverAdvances(Planted):
    """Every step starts from the initial state (kkleidal/GridLSTM-PyTorch #1); recurrence.output sees it."""

    def advance(self, h: Tensor, new: Tensor) -> Tensor:
        return h


class HiddenBiasLost(Planted):
    """b_hh is never added (google/flax #5594); recurrence.output sees it."""

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        return super().biases(layer, direction)[:1]


class InputBiasLost(Planted):
    """b_ih exists and is never added (patrick-kidger/equinox PR #215); recurrence.output sees it."""

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        return super().biases(layer, direction)[1:]


class InputBiasTwice(Planted):
    """b_ih is added in both places (numpy-ml #42); recurrence.output sees it."""

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        return super().biases(layer, direction)[:1] * 2


class BiasesZeroed(Planted):
    """The biases of a stack count as zeros (pytorch PR #94889); recurrence.output sees it."""

    narrow = True

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        return super().biases(layer, direction) if self.num_layers == 1 else []


class RecurrentWeightTransposed(Planted):
    """h is multiplied by W_hh instead of its transpose; recurrence.output sees it."""

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        return super().recurrent_weight(layer, direction).t()


class SquareInputWeightTransposed(Planted):
    """Where input_size equals hidden_size, the input is multiplied by W_ih instead of its transpose; recurrence.output sees it."""

    narrow = True

    def input_weight(self, layer: int, direction: int) -> Tensor:
        weight = super().input_weight(layer, direction)
        return weight.t() if weight.size(0) == weight.size(1) else weight


class HiddenSizeForInputSize(Planted):
    """Features beyond the first hidden_size are not read (MNN #556); recurrence.output sees it."""

    narrow = True

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        return super().project(
            torch.cat(
                [data[:, : self.hidden_size], torch.zeros_like(data[:, self.hidden_size :])], dim=1
            ),
            layer,
            direction,
        )


class UnitsInOneBlock(Planted):
    """Units beyond the 64th are left at zero (FlagGems PR #5015); recurrence.output sees it."""

    narrow = True

    def activation(self, x: Tensor) -> Tensor:
        new = super().activation(x)
        return (
            new
            if new.size(1) <= 64
            else torch.cat([new[:, :64], torch.zeros_like(new[:, 64:])], dim=1)
        )


class BiasInOneBlock(Planted):
    """Rows beyond the 512th of all steps together get no bias (ROCm/rocm-libraries #10551); recurrence.output sees it."""

    narrow = True

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        projected = super().project(data[:512], layer, direction)
        return torch.cat([projected, linear(data[512:], self.input_weight(layer, direction))])


class FeaturesInOneBlock(Planted):
    """Features beyond the 128th are not read; recurrence.output sees it."""

    narrow = True

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        return super().project(
            torch.cat([data[:, :128], torch.zeros_like(data[:, 128:])], dim=1), layer, direction
        )


class SamplesInOneBlock(Planted):
    """Samples beyond the 16th repeat the first ones (pytorch #177834); recurrence.output sees it."""

    narrow = True

    def activation(self, x: Tensor) -> Tensor:
        new = super().activation(x)
        return new if new.size(0) <= 16 else new[torch.arange(new.size(0), device=new.device) % 16]


class StepsInOneBlock(Planted):
    """From the 33rd step on the units of the state are rolled by one; recurrence.output sees it."""

    narrow = True

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        return super().step(x, h if t < 32 else h.roll(1, dims=1), weight, layer, t)


class UnalignedUnits(Planted):
    """Above 16 units the last H % 4 of them get nothing from the state; recurrence.output sees it."""

    narrow = True

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        weight, tail = super().recurrent_weight(layer, direction), self.hidden_size % 4
        if self.hidden_size <= 16 or not tail:
            return weight
        return torch.cat([weight[:-tail], torch.zeros_like(weight[-tail:])])


class OneWeightOff(Planted):
    """The first entry of every W_hh is used with a relative error of 1e-6; recurrence.output sees it."""

    narrow = True

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        weight = super().recurrent_weight(layer, direction)
        factor = torch.ones_like(weight)
        factor[0, 0] = 1 + 1e-6
        return weight * factor


class RationalTanh(Planted):
    """tanh is a quotient of polynomials, good to three digits near zero; recurrence.output sees it."""

    def activation(self, x: Tensor) -> Tensor:
        if self.nonlinearity == "relu":
            return super().activation(x)
        square = x * x
        return (x * (27 + square) / (27 + 9 * square)).clamp(-1, 1)


class DoubleInSingle(Planted):
    """float64 is computed in float32; recurrence.output sees it."""

    narrow = True

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        new = super().step(x, h, weight, layer, t)
        return new.float().double() if new.dtype == torch.float64 else new


class SingleInBfloat(Planted):
    """In float32 the state is carried in bfloat16; recurrence.output sees it."""

    narrow = True

    def advance(self, h: Tensor, new: Tensor) -> Tensor:
        state = super().advance(h, new)
        return state.bfloat16().float() if state.dtype == torch.float32 else state


class SingleLikeTensorCores(Planted):
    """In float32 the input loses all but ten bits before it is multiplied; recurrence.output sees it."""

    narrow = True

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        return super().project(
            data + (data.half().to(data.dtype) - data).detach()
            if data.dtype == torch.float32
            else data,
            layer,
            direction,
        )


class FinalStateRounded(Planted):
    """In float64 the final state goes through float32; recurrence.h-n sees it."""

    narrow = True

    def stack_states(self, states: list[Tensor]) -> Tensor:
        stacked = super().stack_states(states)
        return stacked.float().double() if stacked.dtype == torch.float64 else stacked


class ScaledByAnUlp(Planted):
    """Every activation is larger by eight units in the last place of its dtype; recurrence.exact sees it."""

    narrow = True

    def activation(self, x: Tensor) -> Tensor:
        return super().activation(x) * (1 + 8 * torch.finfo(x.dtype).eps)


class NextStepLeaks(Planted):
    """A little of the next step's input reaches each step; recurrence.causal sees it."""

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        later = torch.cat([data[1:], data[-1:]])
        return super().project(data + 1e-5 * later if layer == 0 else data, layer, direction)


class WholeSequenceCentred(Planted):
    """Over 32 steps the input is centred over time with a weight of 1e-4; recurrence.causal sees it."""

    narrow = True

    def layer_input(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        read = super().layer_input(data, sizes, layer)
        if layer or len(sizes) <= 32 or is_ragged(sizes):
            return read
        return read - 1e-4 * as_steps(read, sizes).mean(0).repeat(len(sizes), 1)


class BiasLostInBfloat(Planted):
    """In bfloat16 nothing is added as a bias; recurrence.half-precision sees it."""

    narrow = True

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        biases = super().biases(layer, direction)
        return [bias for bias in biases if bias.dtype != torch.bfloat16]


class HalfInFiveBits(Planted):
    """In float16 the state is carried with five bits; recurrence.half-precision sees it."""

    narrow = True

    def advance(self, h: Tensor, new: Tensor) -> Tensor:
        state = super().advance(h, new)
        return (state * 32).round() / 32 if state.dtype == torch.float16 else state


class OutputIsLastStep(Planted):
    """Every step of the output is a view of the last state; recurrence.output sees it."""

    def join(self, outputs: dict[int, Tensor], length: int) -> Tensor:
        last = outputs[length - 1]
        return super().join(
            {t: torch.cat([last, new[last.size(0) :]]) for t, new in outputs.items()}, length
        )


class StepsCountedOnBatchAxis(Planted):
    """As many steps are taken as the batch has samples; later ones are zero (ndrplz/ConvLSTM_pytorch PR #5); recurrence.output sees it."""

    narrow = True

    def run(self, data: Tensor, sizes: Sizes, h_0: Tensor) -> tuple[Tensor, Tensor]:
        count = sizes[0]
        if is_ragged(sizes) or not 0 < count < len(sizes):
            return super().run(data, sizes, h_0)
        output, h_n = super().run(data[: count * count], sizes[:count], h_0)
        return torch.cat([output, output.new_zeros(len(data) - len(output), output.size(1))]), h_n

"""Planted bugs in the recurrence: what each time step computes, and lost precision."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

from rnnspec.plain.layer import Sizes
from rnnspec.selftest.bugs.planted import Planted, as_steps, is_ragged


class StateNeverAdvances(Planted):
    """Every time step starts from the initial state (kkleidal/GridLSTM-PyTorch #1);
    recurrence.output or states.h-n-is-last-output
    sees it."""

    def advance(self, h: Tensor, new: Tensor) -> Tensor:
        return h


class HiddenBiasLost(Planted):
    """`bias_hh` is never added (google/flax #5594);
    recurrence.output or recurrence.two-biases sees it."""

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        return super().biases(layer, direction)[:1]


class InputBiasLost(Planted):
    """`bias_ih` is never added (patrick-kidger/equinox PR #215); recurrence.output sees it."""

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        return super().biases(layer, direction)[1:]


class InputBiasTwice(Planted):
    """`bias_ih` is added twice, and `bias_hh` never (numpy-ml #42);
    recurrence.output or recurrence.two-biases sees it."""

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        return super().biases(layer, direction)[:1] * 2


class BiasesZeroed(Planted):
    """No bias is added if there is more than one layer (pytorch PR #94889);
    recurrence.output sees it."""

    beyond_cells = True
    narrow = True

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        return super().biases(layer, direction) if self.num_layers == 1 else []


class RecurrentWeightTransposed(Planted):
    """The hidden state is multiplied by `weight_hh` instead of its transpose;
    recurrence.output sees it."""

    ungated = True

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        return super().recurrent_weight(layer, direction).t()


class SquareInputWeightTransposed(Planted):
    """If `weight_ih` is square, the input is multiplied by it instead of its transpose;
    recurrence.output sees it."""

    narrow = True

    def input_weight(self, layer: int, direction: int) -> Tensor:
        weight = super().input_weight(layer, direction)
        return weight.t() if weight.size(0) == weight.size(1) else weight


class HiddenSizeForInputSize(Planted):
    """Input features beyond the first `hidden_size` are ignored (MNN #556);
    recurrence.output sees it."""

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
    """Units beyond the 64th are always zero (FlagGems PR #5015); recurrence.output sees it."""

    narrow = True

    def activation(self, x: Tensor) -> Tensor:
        new = super().activation(x)
        return (
            new
            if new.size(1) <= 64
            else torch.cat([new[:, :64], torch.zeros_like(new[:, 64:])], dim=1)
        )


class BiasInOneBlock(Planted):
    """The biases are added only to the first 512 rows, counted over all time steps and samples
    (ROCm/rocm-libraries #10551); recurrence.output sees it."""

    beyond_cells = True
    narrow = True
    ungated = True

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        projected = super().project(data[:512], layer, direction)
        return torch.cat([projected, linear(data[512:], self.input_weight(layer, direction))])


class FeaturesInOneBlock(Planted):
    """Input features beyond the 128th are ignored; recurrence.output sees it."""

    narrow = True

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        return super().project(
            torch.cat([data[:, :128], torch.zeros_like(data[:, 128:])], dim=1), layer, direction
        )


class SamplesInOneBlock(Planted):
    """Samples beyond the 16th repeat the first 16 (pytorch #177834); recurrence.output sees it."""

    narrow = True

    def activation(self, x: Tensor) -> Tensor:
        new = super().activation(x)
        return new if new.size(0) <= 16 else new[torch.arange(new.size(0), device=new.device) % 16]


class StepsInOneBlock(Planted):
    """From the 33rd time step on, the units of the hidden state are shifted by one;
    recurrence.output sees it."""

    beyond_cells = True
    narrow = True

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        return super().step(x, h if t < 32 else h.roll(1, dims=1), weight, layer, t)


class UnalignedUnits(Planted):
    """With more than 16 units, the last `hidden_size % 4` units ignore the hidden state;
    recurrence.output sees it."""

    narrow = True

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        weight, tail = super().recurrent_weight(layer, direction), self.hidden_size % 4
        if self.hidden_size <= 16 or not tail:
            return weight
        return torch.cat([weight[:-tail], torch.zeros_like(weight[-tail:])])


class OneWeightOff(Planted):
    """The first element of every `weight_hh` is used with a relative error of 1e-6;
    recurrence.output sees it."""

    narrow = True

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        weight = super().recurrent_weight(layer, direction)
        factor = torch.ones_like(weight)
        factor[0, 0] = 1 + 1e-6
        return weight * factor


class RationalTanh(Planted):
    """tanh is approximated by a quotient of polynomials, accurate to three digits near zero;
    recurrence.output sees it."""

    def activation(self, x: Tensor) -> Tensor:
        if self.nonlinearity == "relu":
            return super().activation(x)
        square = x * x
        return (x * (27 + square) / (27 + 9 * square)).clamp(-1, 1)


class DoubleInSingle(Planted):
    """In float64, the result of each time step is rounded to float32;
    recurrence.output or recurrence.dtypes sees it."""

    narrow = True

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        new = super().step(x, h, weight, layer, t)
        return new.float().double() if new.dtype == torch.float64 else new


class ProductsInSingle(Planted):
    """In float64, the recurrent product is computed in float32, as by libraries with one default
    precision; recurrence.output or recurrence.dtypes sees it."""

    narrow = True
    ungated = True

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        return self.activation(x + (h.float() @ weight.float()).to(h.dtype))


class SingleInBfloat(Planted):
    """In float32, the hidden state is rounded to bfloat16 between time steps;
    recurrence.output or recurrence.h-n or states.h-n-is-last-output sees it."""

    narrow = True

    def advance(self, h: Tensor, new: Tensor) -> Tensor:
        state = super().advance(h, new)
        return state.bfloat16().float() if state.dtype == torch.float32 else state


class SingleLikeTensorCores(Planted):
    """In float32, the input of each layer is rounded to float16 before it is multiplied;
    recurrence.output sees it."""

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
    """In float64, `h_n` is rounded to float32; recurrence.h-n sees it."""

    narrow = True

    def stack_states(self, states: list[Tensor]) -> Tensor:
        stacked = super().stack_states(states)
        return stacked.float().double() if stacked.dtype == torch.float64 else stacked


class ScaledByAnUlp(Planted):
    """Every activation is too large by a relative error of 8 times the machine epsilon;
    recurrence.exact or nonlinearity.large
    sees it."""

    narrow = True

    def activation(self, x: Tensor) -> Tensor:
        return super().activation(x) * (1 + 8 * torch.finfo(x.dtype).eps)


class NextStepLeaks(Planted):
    """Every input row receives 1e-5 times the next row, which belongs to the next sample or time
    step;
    recurrence.causal or recurrence.output sees it."""

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        later = torch.cat([data[1:], data[-1:]])
        return super().project(data + 1e-5 * later if layer == 0 else data, layer, direction)


class WholeSequenceCentred(Planted):
    """With more than 32 time steps, 1e-4 times the mean over time is subtracted from the input;
    recurrence.output or recurrence.causal sees it."""

    narrow = True

    def layer_input(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        read = super().layer_input(data, sizes, layer)
        if layer or len(sizes) <= 32 or is_ragged(sizes):
            return read
        return read - 1e-4 * as_steps(read, sizes).mean(0).repeat(len(sizes), 1)


class BiasLostInBfloat(Planted):
    """In bfloat16, no bias is added; recurrence.half-precision sees it."""

    narrow = True

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        biases = super().biases(layer, direction)
        return [bias for bias in biases if bias.dtype != torch.bfloat16]


class HalfInFiveBits(Planted):
    """In float16, the hidden state is rounded to multiples of 1/32 between time steps, and the
    rounding lets no gradient through;
    recurrence.half-precision or gradients.half-precision sees it."""

    narrow = True

    def advance(self, h: Tensor, new: Tensor) -> Tensor:
        state = super().advance(h, new)
        return (state * 32).round() / 32 if state.dtype == torch.float16 else state


class StatesAddedIn16Bits(Planted):
    """In bfloat16 and float16, the products of the states are added one by one, in 16 bits;
    recurrence.float32-sums sees it."""

    narrow = True
    ungated = True

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        if x.dtype not in (torch.bfloat16, torch.float16):
            return super().step(x, h, weight, layer, t)
        for column, row in zip(h.unbind(1), weight.unbind(0), strict=True):
            x = x + column.unsqueeze(1) * row
        return self.activation(x)


class OutputIsLastStep(Planted):
    """Every time step of the output repeats the last one; recurrence.output sees it."""

    beyond_cells = True

    def join(self, outputs: dict[int, Tensor], length: int) -> Tensor:
        last = outputs[length - 1]
        return super().join(
            {t: torch.cat([last, new[last.size(0) :]]) for t, new in outputs.items()}, length
        )


class StepsCountedOnBatchAxis(Planted):
    """The number of time steps is taken from the batch size, and later outputs are zero
    (ndrplz/ConvLSTM_pytorch PR #5); recurrence.output sees it."""

    beyond_cells = True
    narrow = True

    def run(self, data: Tensor, sizes: Sizes, h_0: Tensor) -> tuple[Tensor, Tensor]:
        count = sizes[0]
        if is_ragged(sizes) or not 0 < count < len(sizes):
            return super().run(data, sizes, h_0)
        output, h_n = super().run(data[: count * count], sizes[:count], h_0)
        return torch.cat([output, output.new_zeros(len(data) - len(output), output.size(1))]), h_n

"""Planted bugs in the recurrence: what each time step computes."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

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
        biases = super().biases(layer, direction)
        return [*map(torch.zeros_like, biases[:1]), *biases[1:]]


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

    def add_biases(self, product: Tensor, biases: Sequence[Tensor]) -> Tensor:
        first = super().add_biases(product[:512], biases)
        rest = super().add_biases(product[512:], [torch.zeros_like(bias) for bias in biases])
        return torch.cat([first, rest])


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

    beyond_cells = True
    narrow = True

    def layer_input(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        read = super().layer_input(data, sizes, layer)
        if layer or len(sizes) <= 32 or is_ragged(sizes):
            return read
        return read - 1e-4 * as_steps(read, sizes).mean(0).repeat(len(sizes), 1)


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

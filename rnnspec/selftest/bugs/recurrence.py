"""Planted bugs in the recurrence: what each time step computes."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rnnspec.plain.layer import Sizes
from rnnspec.selftest.bugs.planted import Planted, as_steps, is_ragged
from rnnspec.selftest.seen import seen_by


@seen_by("recurrence.output", "states.h-n-is-last-output", report="kkleidal/GridLSTM-PyTorch #1")
class StateNeverAdvances(Planted):
    """Every time step starts from the initial state."""

    def advance(self, h: Tensor, new: Tensor) -> Tensor:
        return h


@seen_by("recurrence.output", "recurrence.two-biases", report="google/flax #5594")
class HiddenBiasLost(Planted):
    """`bias_hh` is never added."""

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        return super().biases(layer, direction)[:1]


@seen_by("recurrence.output", report="patrick-kidger/equinox PR #215")
class InputBiasLost(Planted):
    """`bias_ih` is never added."""

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        biases = super().biases(layer, direction)
        return [*map(torch.zeros_like, biases[:1]), *biases[1:]]


@seen_by("recurrence.output", "recurrence.two-biases", report="numpy-ml #42")
class InputBiasTwice(Planted):
    """`bias_ih` is added twice, and `bias_hh` never."""

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        return super().biases(layer, direction)[:1] * 2


@seen_by("recurrence.output", report="pytorch PR #94889")
class BiasesZeroed(Planted):
    """No bias is added if there is more than one layer."""

    beyond_cells = True
    narrow = True

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        return super().biases(layer, direction) if self.num_layers == 1 else []


@seen_by("recurrence.output")
class RecurrentWeightTransposed(Planted):
    """The hidden state is multiplied by `weight_hh` instead of its transpose."""

    ungated = True

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        return super().recurrent_weight(layer, direction).t()


@seen_by("recurrence.output")
class SquareInputWeightTransposed(Planted):
    """If `weight_ih` is square, the input is multiplied by it instead of its transpose."""

    narrow = True

    def input_weight(self, layer: int, direction: int) -> Tensor:
        weight = super().input_weight(layer, direction)
        return weight.t() if weight.size(0) == weight.size(1) else weight


@seen_by("recurrence.output", report="MNN #556")
class HiddenSizeForInputSize(Planted):
    """Input features beyond the first `hidden_size` are ignored."""

    narrow = True

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        return super().project(
            torch.cat(
                [data[:, : self.hidden_size], torch.zeros_like(data[:, self.hidden_size :])], dim=1
            ),
            layer,
            direction,
        )


@seen_by("recurrence.output", report="FlagGems PR #5015")
class UnitsInOneBlock(Planted):
    """Units beyond the 64th are always zero."""

    narrow = True

    def activation(self, x: Tensor) -> Tensor:
        new = super().activation(x)
        return (
            new
            if new.size(1) <= 64
            else torch.cat([new[:, :64], torch.zeros_like(new[:, 64:])], dim=1)
        )


@seen_by("recurrence.output", report="ROCm/rocm-libraries #10551")
class BiasInOneBlock(Planted):
    """The biases are added only to the first 512 rows, counted over all time steps and samples."""

    beyond_cells = True
    narrow = True

    def add_biases(self, product: Tensor, biases: Sequence[Tensor]) -> Tensor:
        first = super().add_biases(product[:512], biases)
        rest = super().add_biases(product[512:], [torch.zeros_like(bias) for bias in biases])
        return torch.cat([first, rest])


@seen_by("recurrence.output")
class FeaturesInOneBlock(Planted):
    """Input features beyond the 128th are ignored."""

    narrow = True

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        return super().project(
            torch.cat([data[:, :128], torch.zeros_like(data[:, 128:])], dim=1), layer, direction
        )


@seen_by("recurrence.output", report="pytorch #177834")
class SamplesInOneBlock(Planted):
    """Samples beyond the 16th repeat the first 16."""

    narrow = True

    def activation(self, x: Tensor) -> Tensor:
        new = super().activation(x)
        return new if new.size(0) <= 16 else new[torch.arange(new.size(0), device=new.device) % 16]


@seen_by("recurrence.output")
class StepsInOneBlock(Planted):
    """From the 33rd time step on, the units of the hidden state are shifted by one."""

    beyond_cells = True
    narrow = True

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        return super().step(x, h if t < 32 else h.roll(1, dims=1), weight, layer, t)


@seen_by("recurrence.output")
class UnalignedUnits(Planted):
    """With more than 16 units, the last `hidden_size % 4` units ignore the hidden state."""

    narrow = True

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        weight, tail = super().recurrent_weight(layer, direction), self.hidden_size % 4
        if self.hidden_size <= 16 or not tail:
            return weight
        return torch.cat([weight[:-tail], torch.zeros_like(weight[-tail:])])


@seen_by("recurrence.output")
class OneWeightOff(Planted):
    """The first element of every `weight_hh` is used with a relative error of 1e-6."""

    narrow = True

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        weight = super().recurrent_weight(layer, direction)
        factor = torch.ones_like(weight)
        factor[0, 0] = 1 + 1e-6
        return weight * factor


@seen_by("recurrence.output")
class RationalTanh(Planted):
    """tanh is approximated by a quotient of polynomials, accurate to three digits near zero."""

    def activation(self, x: Tensor) -> Tensor:
        if self.nonlinearity == "relu":
            return super().activation(x)
        square = x * x
        return (x * (27 + square) / (27 + 9 * square)).clamp(-1, 1)


@seen_by("recurrence.causal", "recurrence.output")
class NextStepLeaks(Planted):
    """Every input row receives 1e-5 times the next row, which belongs to the next sample or time
    step.
    """

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        later = torch.cat([data[1:], data[-1:]])
        return super().project(data + 1e-5 * later if layer == 0 else data, layer, direction)


@seen_by("recurrence.output", "recurrence.causal")
class WholeSequenceCentred(Planted):
    """With more than 32 time steps, 1e-4 times the mean over time is subtracted from the input."""

    beyond_cells = True
    narrow = True

    def layer_input(self, data: Tensor, sizes: Sizes, layer: int) -> Tensor:
        read = super().layer_input(data, sizes, layer)
        if layer or len(sizes) <= 32 or is_ragged(sizes):
            return read
        return read - 1e-4 * as_steps(read, sizes).mean(0).repeat(len(sizes), 1)


@seen_by("recurrence.output")
class OutputIsLastStep(Planted):
    """Every time step of the output repeats the last one."""

    beyond_cells = True

    def join(self, outputs: dict[int, Tensor], length: int) -> Tensor:
        last = outputs[length - 1]
        return super().join(
            {t: torch.cat([last, new[last.size(0) :]]) for t, new in outputs.items()}, length
        )


@seen_by("recurrence.output", report="ndrplz/ConvLSTM_pytorch PR #5")
class StepsCountedOnBatchAxis(Planted):
    """The number of time steps is taken from the batch size, and later outputs are zero."""

    beyond_cells = True
    narrow = True

    def run(self, data: Tensor, sizes: Sizes, h_0: Tensor) -> tuple[Tensor, Tensor]:
        count = sizes[0]
        if is_ragged(sizes) or not 0 < count < len(sizes):
            return super().run(data, sizes, h_0)
        output, h_n = super().run(data[: count * count], sizes[:count], h_0)
        return torch.cat([output, output.new_zeros(len(data) - len(output), output.size(1))]), h_n

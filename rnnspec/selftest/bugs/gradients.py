"""Planted bugs in the backward pass. The forward pass is right in nearly all of them."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rnnspec.plain.layer import Sizes
from rnnspec.selftest.bugs.planted import Planted, hook_gradient, is_ragged, replace_gradient
from rnnspec.selftest.seen import seen_by


@seen_by("gradients.weights", "gradients.input", report="FluxML/Flux.jl #2185")
class StateCutEveryStep(Planted):
    """No gradient flows from one time step back to the one before."""

    beyond_cells = True
    narrow = True

    def alive(self, h: Tensor, count: int) -> Tensor:
        return super().alive(h, count).detach()


@seen_by("gradients.reach-first-step", report="FluxML/Flux.jl #1547")
class CutAfter32Steps(Planted):
    """The gradient stops at every 32nd time step."""

    narrow = True

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        return super().step(x, h if t % 32 or not t else h.detach(), weight, layer, t)


@seen_by("gradients.h-0", report="rotinov/AGNES PR #17")
class GivenStateCut(Planted):
    """`h_0` receives no gradient."""

    narrow = True

    def pick_state(self, h_0: Tensor, layer: int, direction: int) -> Tensor:
        return super().pick_state(h_0, layer, direction).detach()


@seen_by("gradients.h-n-alone", report="pytorch #96416")
class FinalStateCut(Planted):
    """No gradient flows back from `h_n`."""

    narrow = True

    def last_state(
        self, h: Tensor, outputs: dict[int, Tensor], sizes: Sizes, direction: int
    ) -> Tensor:
        return h.detach()


@seen_by("gradients.h-n-alone", report="pytorch #619")
class BackwardFinalStateCut(Planted):
    """No gradient flows back from `h_n` of the backward direction."""

    narrow = True

    def last_state(
        self, h: Tensor, outputs: dict[int, Tensor], sizes: Sizes, direction: int
    ) -> Tensor:
        return h.detach() if direction else h


@seen_by("gradients.output-alone")
class LastStepOfOutputCut(Planted):
    """No gradient flows back from the last time step of the output."""

    narrow = True

    def join(self, outputs: dict[int, Tensor], length: int) -> Tensor:
        return super().join(outputs | {length - 1: outputs[length - 1].detach()}, length)


@seen_by("gradients.output-alone", report="pytorch #5878")
class EvalOutputCut(Planted):
    """In eval mode, no gradient flows back from the output."""

    narrow = True

    def finish_output(self, data: Tensor, sizes: Sizes) -> Tensor:
        return data if self.training else data.detach()


@seen_by("gradients.weights", report="pytorch PR #95137")
class WeightGradientsDoubled(Planted):
    """The gradient of `weight_hh` is doubled."""

    narrow = True

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        weight = super().recurrent_weight(layer, direction)
        return replace_gradient(weight, weight * 2)


@seen_by("gradients.weights")
class WeightGradientsAveraged(Planted):
    """The gradient of `weight_ih` is averaged over the batch instead of summed."""

    narrow = True

    def run_direction(
        self, data: Tensor, sizes: Sizes, h: Tensor, layer: int, direction: int
    ) -> tuple[Tensor, Tensor]:
        self.__dict__["samples"] = max(1, sizes[0])
        return super().run_direction(data, sizes, h, layer, direction)

    def input_weight(self, layer: int, direction: int) -> Tensor:
        weight = super().input_weight(layer, direction)
        return replace_gradient(weight, weight / self.__dict__["samples"])


@seen_by("gradients.weights", report="pytorch #54307")
class UnalignedGradient(Planted):
    """With more than 16 units, the last `hidden_size % 4` rows of `weight_hh` receive no
    gradient.
    """

    narrow = True

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        weight, tail = super().recurrent_weight(layer, direction), self.hidden_size % 4
        if self.hidden_size <= 16 or not tail:
            return weight
        return torch.cat([weight[:-tail], weight[-tail:].detach()])


@seen_by("gradients.biases", report="apache/mxnet PR #17872")
class UpperBiasesCut(Planted):
    """The gradients of the biases are zero in layers above the first."""

    beyond_cells = True
    narrow = True

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        return [
            replace_gradient(bias, bias * (layer == 0)) for bias in super().biases(layer, direction)
        ]


@seen_by("gradients.biases", report="csarofeen/pytorch #906")
class BiasGradientFromOneRow(Planted):
    """The gradient of each bias counts only the last sample of the last time step."""

    narrow = True

    def add_biases(self, product: Tensor, biases: Sequence[Tensor]) -> Tensor:
        is_last = torch.arange(len(product), device=product.device).eq(len(product) - 1)
        last = is_last.to(product.dtype).unsqueeze(1)
        rows = [replace_gradient(bias.expand(len(product), -1), bias * last) for bias in biases]
        return super().add_biases(product, rows)


@seen_by("gradients.biases", report="hanbt/learn_dl #53")
class BiasesShareGradient(Planted):
    """`bias_ih` receives the gradients of both biases, and `bias_hh` receives zeros."""

    narrow = True

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        biases = super().biases(layer, direction)
        return [
            replace_gradient(bias, factor * bias)
            for bias, factor in zip(biases, (2, 0), strict=False)
        ]


@seen_by("gradients.input", report="pytorch #87579")
class TransposedInputGradient(Planted):
    """With `batch_first`, the gradient of the input is reshaped instead of transposed back."""

    beyond_cells = True
    narrow = True

    def to_time_major(self, input: Tensor) -> Tensor:
        steps = super().to_time_major(input)
        return (
            replace_gradient(steps, input.reshape(steps.shape))
            if self.batch_first and input.dim() == 3
            else steps
        )


@seen_by("gradients.input", report="pytorch #11662")
class ReluGradientOfTanh(Planted):
    """The backward pass of relu uses the derivative of tanh."""

    narrow = True
    ungated = True

    def activation(self, x: Tensor) -> Tensor:
        new = super().activation(x)
        return (
            new
            if self.nonlinearity == "tanh"
            else replace_gradient(new, x * (1 - new.detach() ** 2))
        )


@seen_by("gradients.input", report="FlagGems PR #5015")
class GradientFromBeforeTanh(Planted):
    """The derivative of tanh is computed from its input instead of its output."""

    narrow = True

    def activation(self, x: Tensor) -> Tensor:
        new = super().activation(x)
        return (
            new
            if self.nonlinearity == "relu"
            else replace_gradient(new, x * (1 - x.detach().clamp(-1, 1) ** 2))
        )


@seen_by("gradients.input", report="pytorch #102911")
class PackedInputCut(Planted):
    """With packed sequences of different lengths, only the first time step of the input receives a
    gradient.
    """

    beyond_cells = True
    narrow = True

    def run(self, data: Tensor, sizes: Sizes, h_0: Tensor) -> tuple[Tensor, Tensor]:
        if is_ragged(sizes):
            data = torch.cat([data[: sizes[0]], data[sizes[0] :].detach()])
        return super().run(data, sizes, h_0)


@seen_by("gradients.exact-zeros", "gradients.input")
class FutureHasGradient(Planted):
    """A millionth of each time step's gradient leaks into the gradients of all time steps."""

    narrow = True

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        return super().project(replace_gradient(data, data + 1e-6 * data.sum(0)), layer, direction)


@seen_by("gradients.exact", "gradients.input")
class ReluGradientLeaks(Planted):
    """The derivative of relu is 1/128 instead of 0 for negative values."""

    narrow = True
    ungated = True

    def activation(self, x: Tensor) -> Tensor:
        new = super().activation(x)
        return new if self.nonlinearity == "tanh" else replace_gradient(new, new + (x - new) / 128)


@seen_by("gradients.half-precision")
class HalfGradientIn16Bits(Planted):
    """In bfloat16 and float16, the gradient of `weight_hh` is halved."""

    narrow = True

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        weight = super().recurrent_weight(layer, direction)
        return (
            replace_gradient(weight, weight / 2)
            if weight.dtype in (torch.bfloat16, torch.float16)
            else weight
        )


@seen_by("gradients.float32-sums")
class GradientAddedIn16Bits(Planted):
    """In bfloat16 and float16, the gradient of `weight_ih` is added up in 16 bits, row by row."""

    beyond_cells = True
    narrow = True

    def multiply_input(self, data: Tensor, layer: int, direction: int) -> Tensor:
        if data.dtype not in (torch.bfloat16, torch.float16):
            return super().multiply_input(data, layer, direction)
        weight = self.input_weight(layer, direction)
        return torch.cat([torch.nn.functional.linear(row, weight) for row in torch.split(data, 1)])


@seen_by("gradients.earlier-call", report="torch/nn #1015")
class StepsKeptOnLayer(Planted):
    """A unidirectional tanh layer keeps the values for the backward pass in one place, where the
    next call overwrites them.
    """

    narrow = True
    ungated = True

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        new = super().step(x, h, weight, layer, t)
        if self.bidirectional or self.nonlinearity == "relu" or not new.requires_grad:
            return new
        kept: dict[tuple[int, int], Tensor] = self.__dict__.setdefault("kept", {})
        kept[layer, t] = new.detach()
        total = torch.addmm(x, h, weight)
        hook_gradient(total, lambda gradient: gradient * (1 - kept[layer, t] ** 2))
        return replace_gradient(new, total)


@seen_by("gradients.frozen", report="pytorch #776")
class FrozenStopsAll(Planted):
    """If one parameter is frozen, no gradient flows back through its layer."""

    narrow = True

    def run_layer(
        self, data: Tensor, sizes: Sizes, h_0: Tensor, layer: int
    ) -> tuple[Tensor, list[Tensor]]:
        output, states = super().run_layer(data, sizes, h_0, layer)
        frozen = not all(
            self.parameter(kind, layer, 0).requires_grad for kind in self.parameter_kinds()
        )
        return (
            (output.detach(), [state.detach() for state in states]) if frozen else (output, states)
        )

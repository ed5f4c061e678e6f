"""Planted bugs in the backward pass. The forward pass is right in nearly all of them."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rnnspec.plain.layer import Sizes
from rnnspec.selftest.bugs.planted import Planted, hook_gradient, is_ragged, replace_gradient


class StateCutEveryStep(Planted):
    """No gradient flows from one time step back to the one before (FluxML/Flux.jl #2185);
    gradients.weights or gradients.input sees it."""

    beyond_cells = True
    narrow = True

    def alive(self, h: Tensor, count: int) -> Tensor:
        return super().alive(h, count).detach()


class CutAfter32Steps(Planted):
    """The gradient stops at every 32nd time step (FluxML/Flux.jl #1547);
    gradients.reach-first-step sees it."""

    narrow = True

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        return super().step(x, h if t % 32 or not t else h.detach(), weight, layer, t)


class GivenStateCut(Planted):
    """`h_0` receives no gradient (rotinov/AGNES PR #17); gradients.h-0 sees it."""

    narrow = True

    def pick_state(self, h_0: Tensor, layer: int, direction: int) -> Tensor:
        return super().pick_state(h_0, layer, direction).detach()


class FinalStateCut(Planted):
    """No gradient flows back from `h_n` (pytorch #96416); gradients.h-n-alone sees it."""

    narrow = True

    def last_state(
        self, h: Tensor, outputs: dict[int, Tensor], sizes: Sizes, direction: int
    ) -> Tensor:
        return h.detach()


class BackwardFinalStateCut(Planted):
    """No gradient flows back from `h_n` of the backward direction (pytorch #619);
    gradients.h-n-alone sees it."""

    narrow = True

    def last_state(
        self, h: Tensor, outputs: dict[int, Tensor], sizes: Sizes, direction: int
    ) -> Tensor:
        return h.detach() if direction else h


class LastStepOfOutputCut(Planted):
    """No gradient flows back from the last time step of the output;
    gradients.output-alone sees it."""

    narrow = True

    def join(self, outputs: dict[int, Tensor], length: int) -> Tensor:
        return super().join(outputs | {length - 1: outputs[length - 1].detach()}, length)


class EvalOutputCut(Planted):
    """In eval mode, no gradient flows back from the output (pytorch #5878);
    gradients.output-alone sees it."""

    narrow = True

    def finish_output(self, data: Tensor, sizes: Sizes) -> Tensor:
        return data if self.training else data.detach()


class WeightGradientsDoubled(Planted):
    """The gradient of `weight_hh` is doubled (pytorch PR #95137); gradients.weights sees it."""

    narrow = True

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        weight = super().recurrent_weight(layer, direction)
        return replace_gradient(weight, weight * 2)


class WeightGradientsAveraged(Planted):
    """The gradient of `weight_ih` is averaged over the batch instead of summed;
    gradients.weights sees it."""

    narrow = True

    def run_direction(
        self, data: Tensor, sizes: Sizes, h: Tensor, layer: int, direction: int
    ) -> tuple[Tensor, Tensor]:
        self.__dict__["samples"] = max(1, sizes[0])
        return super().run_direction(data, sizes, h, layer, direction)

    def input_weight(self, layer: int, direction: int) -> Tensor:
        weight = super().input_weight(layer, direction)
        return replace_gradient(weight, weight / self.__dict__["samples"])


class UnalignedGradient(Planted):
    """With more than 16 units, the last `hidden_size % 4` rows of `weight_hh` receive no gradient
    (pytorch #54307); gradients.weights sees it."""

    narrow = True

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        weight, tail = super().recurrent_weight(layer, direction), self.hidden_size % 4
        if self.hidden_size <= 16 or not tail:
            return weight
        return torch.cat([weight[:-tail], weight[-tail:].detach()])


class UpperBiasesCut(Planted):
    """The gradients of the biases are zero in layers above the first (apache/mxnet PR #17872);
    gradients.biases sees it."""

    beyond_cells = True
    narrow = True

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        return [
            replace_gradient(bias, bias * (layer == 0)) for bias in super().biases(layer, direction)
        ]


class BiasGradientFromOneRow(Planted):
    """The gradient of each bias counts only the last sample of the last time step
    (csarofeen/pytorch #906); gradients.biases sees it."""

    narrow = True

    def add_biases(self, product: Tensor, biases: Sequence[Tensor]) -> Tensor:
        is_last = torch.arange(len(product), device=product.device).eq(len(product) - 1)
        last = is_last.to(product.dtype).unsqueeze(1)
        rows = [replace_gradient(bias.expand(len(product), -1), bias * last) for bias in biases]
        return super().add_biases(product, rows)


class BiasesShareGradient(Planted):
    """`bias_ih` receives the gradients of both biases, and `bias_hh` receives zeros (hanbt/learn_dl
    #53); gradients.biases sees it."""

    narrow = True

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        biases = super().biases(layer, direction)
        return [
            replace_gradient(bias, factor * bias)
            for bias, factor in zip(biases, (2, 0), strict=False)
        ]


class TransposedInputGradient(Planted):
    """With `batch_first`, the gradient of the input is reshaped instead of transposed back (pytorch
    #87579); gradients.input sees it."""

    beyond_cells = True
    narrow = True

    def to_time_major(self, input: Tensor) -> Tensor:
        steps = super().to_time_major(input)
        return (
            replace_gradient(steps, input.reshape(steps.shape))
            if self.batch_first and input.dim() == 3
            else steps
        )


class ReluGradientOfTanh(Planted):
    """The backward pass of relu uses the derivative of tanh (pytorch #11662);
    gradients.input sees it."""

    narrow = True
    ungated = True

    def activation(self, x: Tensor) -> Tensor:
        new = super().activation(x)
        return (
            new
            if self.nonlinearity == "tanh"
            else replace_gradient(new, x * (1 - new.detach() ** 2))
        )


class GradientFromBeforeTanh(Planted):
    """The derivative of tanh is computed from its input instead of its output (FlagGems PR #5015);
    gradients.input sees it."""

    narrow = True

    def activation(self, x: Tensor) -> Tensor:
        new = super().activation(x)
        return (
            new
            if self.nonlinearity == "relu"
            else replace_gradient(new, x * (1 - x.detach().clamp(-1, 1) ** 2))
        )


class PackedInputCut(Planted):
    """With packed sequences of different lengths, only the first time step of the input receives a
    gradient (pytorch #102911); gradients.input sees it."""

    beyond_cells = True
    narrow = True

    def run(self, data: Tensor, sizes: Sizes, h_0: Tensor) -> tuple[Tensor, Tensor]:
        if is_ragged(sizes):
            data = torch.cat([data[: sizes[0]], data[sizes[0] :].detach()])
        return super().run(data, sizes, h_0)


class FutureHasGradient(Planted):
    """A millionth of each time step's gradient leaks into the gradients of all time steps;
    gradients.exact-zeros or gradients.input
    sees it."""

    narrow = True

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        return super().project(replace_gradient(data, data + 1e-6 * data.sum(0)), layer, direction)


class ReluGradientLeaks(Planted):
    """The derivative of relu is 1/128 instead of 0 for negative values;
    gradients.exact or gradients.input sees it."""

    narrow = True
    ungated = True

    def activation(self, x: Tensor) -> Tensor:
        new = super().activation(x)
        return new if self.nonlinearity == "tanh" else replace_gradient(new, new + (x - new) / 128)


class HalfGradientIn16Bits(Planted):
    """In bfloat16 and float16, the gradient of `weight_hh` is halved;
    gradients.half-precision sees it."""

    narrow = True

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        weight = super().recurrent_weight(layer, direction)
        return (
            replace_gradient(weight, weight / 2)
            if weight.dtype in (torch.bfloat16, torch.float16)
            else weight
        )


class GradientAddedIn16Bits(Planted):
    """In bfloat16 and float16, the gradient of `weight_ih` is added up in 16 bits, row by row;
    gradients.float32-sums sees it."""

    beyond_cells = True
    narrow = True

    def multiply_input(self, data: Tensor, layer: int, direction: int) -> Tensor:
        if data.dtype not in (torch.bfloat16, torch.float16):
            return super().multiply_input(data, layer, direction)
        weight = self.input_weight(layer, direction)
        return torch.cat([torch.nn.functional.linear(row, weight) for row in torch.split(data, 1)])


class StepsKeptOnLayer(Planted):
    """A unidirectional tanh layer keeps the values for the backward pass in one place, where the
    next call overwrites them (torch/nn #1015); gradients.earlier-call sees it."""

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


class FrozenStopsAll(Planted):
    """If one parameter is frozen, no gradient flows back through its layer (pytorch #776);
    gradients.frozen sees it."""

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

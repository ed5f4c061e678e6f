"""Planted bugs in the backward pass; the forward pass is right in nearly all of them."""

# ruff: noqa: D102  (the class says what its one method does wrong)

from __future__ import annotations

import torch
from torch import Tensor

from rnnspec.selftest.bugs.planted import Planted, hook, is_ragged, with_gradient_of
from rnnspec.selftest.plain import Sizes


class StateCutEveryStep(Planted):
    """No gradient goes back from step to step (FluxML/Flux.jl #2185); gradients.weights sees it."""

    narrow = True

    def alive(self, h: Tensor, count: int) -> Tensor:
        return super().alive(h, count).detach()


class CutAfter32Steps(Planted):
    """The gradient stops at every 32nd step (FluxML/Flux.jl #1547); gradients.reach-first-step sees it."""

    narrow = True

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        return super().step(x, h if t % 32 or not t else h.detach(), weight, layer, t)


class GivenStateCut(Planted):
    """The state given has no gradient (rotinov/AGNES PR #17); gradients.h-0 sees it."""

    narrow = True

    def pick_state(self, h_0: Tensor, layer: int, direction: int) -> Tensor:
        return super().pick_state(h_0, layer, direction).detach()


class FinalStateCut(Planted):
    """No gradient goes back from the final state (pytorch #96416); gradients.h-n-alone sees it."""

    narrow = True

    def last_state(
        self, h: Tensor, outputs: dict[int, Tensor], sizes: Sizes, direction: int
    ) -> Tensor:
        return h.detach()


class BackwardFinalStateCut(Planted):
    """No gradient goes back from the backward direction's final state (pytorch #619); gradients.h-n-alone sees it."""

    narrow = True

    def last_state(
        self, h: Tensor, outputs: dict[int, Tensor], sizes: Sizes, direction: int
    ) -> Tensor:
        return h.detach() if direction else h


class LastStepOfOutputCut(Planted):
    """The last step of the output has a gradient through the final state alone; gradients.output-alone sees it."""

    narrow = True

    def join(self, outputs: dict[int, Tensor], length: int) -> Tensor:
        return super().join(outputs | {length - 1: outputs[length - 1].detach()}, length)


class EvalOutputCut(Planted):
    """In eval mode no gradient goes back from the output (pytorch #5878); gradients.output-alone sees it."""

    narrow = True

    def finish_output(self, data: Tensor, sizes: Sizes) -> Tensor:
        return data if self.training else data.detach()


class WeightGradientsDoubled(Planted):
    """The gradients of the recurrent weights are doubled (pytorch PR #95137); gradients.weights sees it."""

    narrow = True

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        weight = super().recurrent_weight(layer, direction)
        return with_gradient_of(weight, weight * 2)


class WeightGradientsAveraged(Planted):
    """The gradient of W_ih is the batch's mean where it should be the sum; gradients.weights sees it."""

    narrow = True

    def run_direction(
        self, data: Tensor, sizes: Sizes, h: Tensor, layer: int, direction: int
    ) -> tuple[Tensor, Tensor]:
        self.__dict__["samples"] = max(1, sizes[0])
        return super().run_direction(data, sizes, h, layer, direction)

    def input_weight(self, layer: int, direction: int) -> Tensor:
        weight = super().input_weight(layer, direction)
        return with_gradient_of(weight, weight / self.__dict__["samples"])


class UnalignedGradient(Planted):
    """Above 16 units the gradients of the last H % 4 rows of W_hh are lost (pytorch #54307); gradients.weights sees it."""

    narrow = True

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        weight, tail = super().recurrent_weight(layer, direction), self.hidden_size % 4
        if self.hidden_size <= 16 or not tail:
            return weight
        return torch.cat([weight[:-tail], weight[-tail:].detach()])


class UpperBiasesCut(Planted):
    """The biases above the first layer have no gradient (apache/mxnet PR #17872); gradients.biases sees it."""

    narrow = True

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        return [
            with_gradient_of(bias, bias * (layer == 0)) for bias in super().biases(layer, direction)
        ]


class BiasGradientFromOneRow(Planted):
    """The gradient of the biases is that of the last row of all steps, not the sum (csarofeen/pytorch #906); gradients.biases sees it."""

    narrow = True

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        projected = torch.nn.functional.linear(data, self.input_weight(layer, direction))
        last = (
            torch.arange(len(data), device=data.device)
            .eq(len(data) - 1)
            .to(data.dtype)
            .unsqueeze(1)
        )
        for bias in self.biases(layer, direction):
            projected = projected + with_gradient_of(bias.expand_as(projected), bias * last)
        return projected


class BiasesShareGradient(Planted):
    """b_ih gets the gradients of both biases, and b_hh none (hanbt/learn_dl #53); gradients.biases sees it."""

    narrow = True

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        biases = super().biases(layer, direction)
        return [
            with_gradient_of(bias, factor * bias)
            for bias, factor in zip(biases, (2, 0), strict=False)
        ]


class TransposedInputGradient(Planted):
    """With batch_first the gradient of the input is not turned back (pytorch #87579); gradients.input sees it."""

    narrow = True

    def to_time_major(self, input: Tensor) -> Tensor:
        steps = super().to_time_major(input)
        return (
            with_gradient_of(steps, input.reshape(steps.shape))
            if self.batch_first and input.dim() == 3
            else steps
        )


class ReluGradientOfTanh(Planted):
    """The gradient of relu is that of tanh (pytorch #11662); gradients.input sees it."""

    narrow = True

    def activation(self, x: Tensor) -> Tensor:
        new = super().activation(x)
        return (
            new
            if self.nonlinearity == "tanh"
            else with_gradient_of(new, x * (1 - new.detach() ** 2))
        )


class GradientFromBeforeTanh(Planted):
    """The gradient of tanh is computed from what went in (FlagGems PR #5015); gradients.input sees it."""

    narrow = True

    def activation(self, x: Tensor) -> Tensor:
        new = super().activation(x)
        return (
            new
            if self.nonlinearity == "relu"
            else with_gradient_of(new, x * (1 - x.detach().clamp(-1, 1) ** 2))
        )


class PackedInputCut(Planted):
    """The shorter sequences of a packed batch give their last steps no gradient (pytorch #102911); gradients.input sees it."""

    narrow = True

    def run(self, data: Tensor, sizes: Sizes, h_0: Tensor) -> tuple[Tensor, Tensor]:
        if is_ragged(sizes):
            data = torch.cat([data[: sizes[0]], data[sizes[0] :].detach()])
        return super().run(data, sizes, h_0)


class FutureHasGradient(Planted):
    """A millionth of every step's gradient reaches all steps; gradients.exact-zeros sees it."""

    narrow = True

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        return super().project(with_gradient_of(data, data + 1e-6 * data.sum(0)), layer, direction)


class ReluGradientLeaks(Planted):
    """The gradient of relu is a 128th where nothing is let through; gradients.exact sees it."""

    narrow = True

    def activation(self, x: Tensor) -> Tensor:
        new = super().activation(x)
        return new if self.nonlinearity == "tanh" else with_gradient_of(new, new + (x - new) / 128)


class HalfGradientIn16Bits(Planted):
    """In bfloat16 and float16 the recurrent weights get half their gradient; gradients.half-precision sees it."""

    narrow = True

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        weight = super().recurrent_weight(layer, direction)
        return (
            with_gradient_of(weight, weight / 2)
            if weight.dtype in (torch.bfloat16, torch.float16)
            else weight
        )


class StepsKeptOnLayer(Planted):
    """What backward needs lies on the layer, where the next call in one direction overwrites it (torch/nn #1015);
    gradients.earlier-call sees it."""

    narrow = True

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        new = super().step(x, h, weight, layer, t)
        if self.bidirectional or self.nonlinearity == "relu" or not new.requires_grad:
            return new
        kept: dict[tuple[int, int], Tensor] = self.__dict__.setdefault("kept", {})
        kept[layer, t] = new.detach()
        total = torch.addmm(x, h, weight)
        hook(total, lambda gradient: gradient * (1 - kept[layer, t] ** 2))
        return with_gradient_of(new, total)


class FrozenStopsAll(Planted):
    """Where one parameter is frozen nothing in its layer is learned (pytorch #776); gradients.frozen sees it."""

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

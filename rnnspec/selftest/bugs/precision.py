"""Planted bugs of precision: what is computed or kept in fewer digits than the dtype has."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

import torch
from torch import Tensor

from rnnspec.selftest.bugs.planted import Planted
from rnnspec.selftest.seen import seen_by


@seen_by("recurrence.output", "recurrence.dtypes")
class DoubleInSingle(Planted):
    """In float64, the result of each time step is rounded to float32."""

    narrow = True

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        new = super().step(x, h, weight, layer, t)
        return new.float().double() if new.dtype == torch.float64 else new


@seen_by("recurrence.output", "recurrence.dtypes")
class ProductsInSingle(Planted):
    """In float64, the recurrent product is computed in float32, as by libraries with one default
    precision.
    """

    narrow = True
    ungated = True

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        return self.activation(x + (h.float() @ weight.float()).to(h.dtype))


@seen_by("recurrence.output", "recurrence.h-n", "states.h-n-is-last-output")
class SingleInBfloat(Planted):
    """In float32, the hidden state is rounded to bfloat16 between time steps."""

    narrow = True

    def advance(self, h: Tensor, new: Tensor) -> Tensor:
        state = super().advance(h, new)
        return state.bfloat16().float() if state.dtype == torch.float32 else state


@seen_by("recurrence.output")
class SingleLikeTensorCores(Planted):
    """In float32, the input of each layer is rounded to float16 before it is multiplied."""

    narrow = True

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        return super().project(
            data + (data.half().to(data.dtype) - data).detach()
            if data.dtype == torch.float32
            else data,
            layer,
            direction,
        )


@seen_by("recurrence.h-n")
class FinalStateRounded(Planted):
    """In float64, `h_n` is rounded to float32."""

    narrow = True

    def stack_states(self, states: list[Tensor]) -> Tensor:
        stacked = super().stack_states(states)
        return stacked.float().double() if stacked.dtype == torch.float64 else stacked


@seen_by("recurrence.exact", "nonlinearity.large")
class ScaledByAnUlp(Planted):
    """Every activation is too large by a relative error of 8 times the machine epsilon."""

    narrow = True

    def activation(self, x: Tensor) -> Tensor:
        return super().activation(x) * (1 + 8 * torch.finfo(x.dtype).eps)


@seen_by("recurrence.half-precision")
class BiasLostInBfloat(Planted):
    """In bfloat16, no bias is added."""

    narrow = True

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        biases = super().biases(layer, direction)
        return [bias for bias in biases if bias.dtype != torch.bfloat16]


@seen_by("recurrence.half-precision", "gradients.half-precision")
class HalfInFiveBits(Planted):
    """In float16, the hidden state is rounded to multiples of 1/32 between time steps, and the
    rounding lets no gradient through.
    """

    narrow = True

    def advance(self, h: Tensor, new: Tensor) -> Tensor:
        state = super().advance(h, new)
        return (state * 32).round() / 32 if state.dtype == torch.float16 else state


@seen_by("recurrence.float32-sums")
class StatesAddedIn16Bits(Planted):
    """In bfloat16 and float16, the products of the states are added one by one, in 16 bits."""

    narrow = True
    ungated = True

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        if x.dtype not in (torch.bfloat16, torch.float16):
            return super().step(x, h, weight, layer, t)
        for column, row in zip(h.unbind(1), weight.unbind(0), strict=True):
            x = x + column.unsqueeze(1) * row
        return self.activation(x)


@seen_by("recurrence.float32-sums")
class InputAddedIn16Bits(Planted):
    """In bfloat16 and float16, the products of the input are added one by one, in 16 bits."""

    narrow = True

    def multiply_input(self, data: Tensor, layer: int, direction: int) -> Tensor:
        if data.dtype not in (torch.bfloat16, torch.float16):
            return super().multiply_input(data, layer, direction)
        weight = self.input_weight(layer, direction)
        columns = zip(data.unbind(1), weight.unbind(1), strict=True)
        products = [column.unsqueeze(1) * row for column, row in columns]
        return sum(products[1:], start=products[0])

"""Planted bugs in the second backward pass and in the second derivative."""

# ruff: noqa: D102  (the class says what its one method does wrong)

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rnnspec.selftest.bugs.planted import Planted, hook
from rnnspec.selftest.plain import Sizes


class TanhOnce(torch.autograd.Function):
    """tanh with a backward pass that cannot be differentiated."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        new = torch.tanh(x)
        ctx.save_for_backward(new)
        return new

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (new,) = ctx.saved_tensors
        return gradient * (1 - new * new)


class NoSecondOrder(Planted):
    """The backward pass cannot be differentiated (pytorch #25315); gradients.second-order sees it."""

    narrow = True

    def activation(self, x: Tensor) -> Tensor:
        return super().activation(x) if self.nonlinearity == "relu" else apply(TanhOnce, x)


class TanhWithConstant(TanhOnce):
    """tanh whose backward pass takes its slope for a constant."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (new,) = ctx.saved_tensors
        return gradient * (1 - new * new).detach()


class SecondOrderIncomplete(Planted):
    """In the second derivative the slope of tanh counts as a constant; gradients.second-order sees it."""

    narrow = True

    def activation(self, x: Tensor) -> Tensor:
        return super().activation(x) if self.nonlinearity == "relu" else apply(TanhWithConstant, x)


class TanhForgetful(TanhOnce):
    """tanh whose backward pass runs once."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (new,) = ctx.saved_tensors
        if getattr(ctx, "done", False):
            raise RuntimeError("the buffers of the graph have been freed")
        ctx.done = True
        return gradient * (1 - new * new)


class SecondBackwardFails(Planted):
    """A retained graph cannot be used a second time (pytorch #777); gradients.second-backward sees it."""

    narrow = True

    def activation(self, x: Tensor) -> Tensor:
        return super().activation(x) if self.nonlinearity == "relu" else apply(TanhForgetful, x)


class SecondBackwardHalved(Planted):
    """The second backward pass through a graph gives half the gradient; gradients.second-backward sees it."""

    narrow = True

    def finish_output(self, data: Tensor, sizes: Sizes) -> Tensor:
        passes = iter([1.0])
        if data.requires_grad:
            data = data * 1.0
            hook(data, lambda gradient: gradient * next(passes, 0.5))
        return data


class BiasesInColumns(Planted):
    """The biases are added to a single row as columns, so that their gradients share memory and a second backward adds to both
    twice (pytorch #34082); gradients.second-backward sees it."""

    narrow = True

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        projected = torch.nn.functional.linear(data, self.input_weight(layer, direction)).t()
        for bias in self.biases(layer, direction):
            projected = projected + bias.unsqueeze(1)
        return projected.t()


def apply(function: type[torch.autograd.Function], x: Tensor) -> Tensor:
    """The result of a function with a backward pass of its own."""
    result: Tensor = function.apply(x)  # type: ignore[no-untyped-call]
    return result

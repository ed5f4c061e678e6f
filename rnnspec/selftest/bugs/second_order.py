"""Planted bugs in the second backward pass and in the second derivative."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rnnspec.plain.layer import Sizes
from rnnspec.selftest.bugs.planted import Planted, hook_gradient
from rnnspec.selftest.seen import seen_by


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


@seen_by("gradients.second-order", report="pytorch #25315")
class NoSecondOrder(Planted):
    """The backward pass cannot be differentiated."""

    narrow = True

    def activation(self, x: Tensor) -> Tensor:
        return super().activation(x) if self.nonlinearity == "relu" else apply_function(TanhOnce, x)


class TanhWithConstant(TanhOnce):
    """tanh with a backward pass that treats its own derivative as a constant."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (new,) = ctx.saved_tensors
        return gradient * (1 - new * new).detach()


@seen_by("gradients.second-order")
class SecondOrderIncomplete(Planted):
    """The second derivative treats the derivative of tanh as a constant."""

    narrow = True

    def activation(self, x: Tensor) -> Tensor:
        return (
            super().activation(x)
            if self.nonlinearity == "relu"
            else apply_function(TanhWithConstant, x)
        )


class TanhForgetful(TanhOnce):
    """tanh with a backward pass that runs only once."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (new,) = ctx.saved_tensors
        if getattr(ctx, "done", False):
            raise RuntimeError("the buffers of the graph have been freed")
        ctx.done = True
        return gradient * (1 - new * new)


@seen_by("gradients.second-backward", report="pytorch #777")
class SecondBackwardFails(Planted):
    """A second backward pass through a retained graph raises an error."""

    narrow = True

    def activation(self, x: Tensor) -> Tensor:
        return (
            super().activation(x)
            if self.nonlinearity == "relu"
            else apply_function(TanhForgetful, x)
        )


@seen_by("gradients.second-backward")
class SecondBackwardHalved(Planted):
    """A second backward pass through a retained graph gives half the gradient."""

    beyond_cells = True
    narrow = True

    def finish_output(self, data: Tensor, sizes: Sizes) -> Tensor:
        passes = iter([1.0])
        if data.requires_grad:
            data = data * 1.0
            hook_gradient(data, lambda gradient: gradient * next(passes, 0.5))
        return data


@seen_by("gradients.second-backward", report="pytorch #34082")
class BiasesInColumns(Planted):
    """With one sample and one time step, the gradients of the biases share memory, so a second
    backward pass is added to both twice.
    """

    equal_biases = True
    narrow = True

    def add_biases(self, product: Tensor, biases: Sequence[Tensor]) -> Tensor:
        columns = product.t()
        for bias in biases:
            columns = columns + bias.unsqueeze(1)
        return columns.t()


def apply_function(function: type[torch.autograd.Function], x: Tensor) -> Tensor:
    """Return the result of a function that defines its own backward pass."""
    result: Tensor = function.apply(x)
    return result

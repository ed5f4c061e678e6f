"""Planted bugs in the second backward pass and in the second derivative."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rnnspec.selftest.bugs.planted import Planter, hook_gradient, is_tanh, use_for_tanh

plant = Planter(__name__)


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


class TanhWithConstant(TanhOnce):
    """tanh with a backward pass that treats its own derivative as a constant."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (new,) = ctx.saved_tensors
        return gradient * (1 - new * new).detach()


class TanhForgetful(TanhOnce):
    """tanh with a backward pass that runs only once."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (new,) = ctx.saved_tensors
        if getattr(ctx, "done", False):
            raise RuntimeError("the buffers of the graph have been freed")
        ctx.done = True
        return gradient * (1 - new * new)


def apply_function(function: type[torch.autograd.Function], x: Tensor) -> Tensor:
    """Return the result of a function that defines its own backward pass."""
    result: Tensor = function.apply(x)
    return result


NoSecondOrder = plant(
    "The backward pass cannot be differentiated.",
    "gradients.second-order",
    use_for_tanh(partial(apply_function, TanhOnce)),
    where=is_tanh,
    report="pytorch #25315",
    narrow=True,
)
SecondOrderIncomplete = plant(
    "The second derivative treats the derivative of tanh as a constant.",
    "gradients.second-order",
    use_for_tanh(partial(apply_function, TanhWithConstant)),
    where=is_tanh,
    narrow=True,
)
SecondBackwardFails = plant(
    "A second backward pass through a retained graph raises an error.",
    "gradients.second-backward",
    use_for_tanh(partial(apply_function, TanhForgetful)),
    where=is_tanh,
    report="pytorch #777",
    narrow=True,
)


def halve_second_gradient(output: Tensor) -> Tensor:
    """Return the output, whose gradient is halved in every backward pass except the first."""
    passes = iter([1.0])
    if output.requires_grad:
        output = output * 1.0
        hook_gradient(output, lambda gradient: gradient * next(passes, 0.5))
    return output


SecondBackwardHalved = plant(
    "A second backward pass through a retained graph gives half the gradient.",
    "gradients.second-backward",
    {"output": halve_second_gradient},
    beyond_cells=True,
    narrow=True,
)
BiasesInColumns = plant(
    "With one sample and one time step, the gradients of the biases share memory, so a second "
    "backward pass is added to both twice.",
    "gradients.second-backward",
    {"biases": lambda biases: [bias.view(1, 1, -1) for bias in biases]},
    report="pytorch #34082",
    equal_biases=True,
    narrow=True,
)
plant.name_classes(globals())

"""A loss with given gradients with respect to the results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def make_loss(results: Sequence[Tensor], cotangents: Sequence[Tensor]) -> Tensor:
    """Return a number whose gradient with respect to each result is its cotangent.

    The layer receives the cotangents unchanged, in their memory layout, as if they were passed to
    `torch.autograd.grad`. That function is not used, because its first call with a cotangent
    imports the symbolic shapes of torch and with them SymPy, which takes a quarter of the time of
    `import torch`; with a number, it imports neither.
    """
    loss: Tensor = _GivenGradients.apply(cotangents, *results)
    return loss


class _GivenGradients(torch.autograd.Function):
    """Zero, with given gradients with respect to its arguments."""

    @staticmethod
    def forward(ctx: Any, cotangents: Sequence[Tensor], *results: Tensor) -> Tensor:
        ctx.cotangents = cotangents
        return torch.zeros((), device=results[0].device)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return (None, *ctx.cotangents)

"""Correct layers that add in the dtype of a 16-bit case, where torch's kernels add in float32.

Every product and every partial sum is rounded to 16 bits, in the backward pass too. That is correct
in any order of summation, so no MUST is violated. The rules of level SHOULD that require sums in
float32 are violated, as the layers declare.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from rnnspec.plain.call import Here
from rnnspec.plain.layer import Plain
from rnnspec.reference.values import change_values
from rnnspec.selftest.correct import add_to

Sum = Callable[[Tensor], Tensor]
"""Adds (K, R, C) terms over their first axis, and rounds after each addition."""


def sum_forwards(terms: Tensor) -> Tensor:
    """Add the terms from the first to the last."""
    total = torch.zeros_like(terms[0]) if len(terms) else terms.new_zeros(terms.shape[1:])
    for term in terms:
        total += term
    return total


def sum_backwards(terms: Tensor) -> Tensor:
    """Add the terms from the last to the first."""
    return sum_forwards(terms.flip(0))


def sum_pairwise(terms: Tensor) -> Tensor:
    """Add neighbours, then the sums of neighbours, until a single sum is left."""
    while len(terms) > 1:
        pairs = terms[:-1:2] + terms[1::2]
        terms = torch.cat([pairs, terms[-1:]]) if len(terms) % 2 else pairs
    return sum_forwards(terms)


class RoundedProduct(torch.autograd.Function):
    """A product of two matrices whose terms are added by a given function.

    The backward pass uses the same function for its two products, and can itself be differentiated.
    """

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, add: Sum) -> Tensor:
        ctx.save_for_backward(left, right)
        ctx.add = add
        return add(left.t().unsqueeze(2) * right.unsqueeze(1))

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        left, right = ctx.saved_tensors
        return (
            multiply(gradients[0], right.t(), ctx.add),
            multiply(left.t(), gradients[0], ctx.add),
            None,
        )


def multiply(left: Tensor, right: Tensor, add: Sum) -> Tensor:
    """Return the product of two matrices whose terms are rounded and added by `add`."""
    product: Tensor = RoundedProduct.apply(left, right, add)
    return product


def add_as_products(biases: Sequence[Tensor], spot: Here) -> list[Tensor]:
    """Return biases as products with ones, so that their gradients are added in the same way."""
    steps = spot.call.input.shape[:2]
    ones = [bias.new_ones(*steps, 1) for bias in biases]
    multiply = spot.call.layer.multiply
    return [multiply(each, bias[None]) for each, bias in zip(ones, biases, strict=True)]


class SumsIn16Bits(Plain):
    """In 16-bit dtypes, sums are rounded after each addition, from the first term to the last."""

    departs_from: ClassVar[tuple[str, ...]] = (
        "recurrence.float32-sums",
        "gradients.float32-sums",
    )
    changes = change_values({"biases": add_as_products})

    def add(self, terms: Tensor) -> Tensor:
        """Return a sum over the first axis."""
        return sum_forwards(terms)

    def multiply(self, rows: Tensor, weight: Tensor, added: Tensor | None = None) -> Tensor:
        if rows.dtype != weight.dtype or rows.dtype not in (torch.float16, torch.bfloat16):
            return super().multiply(rows, weight, added)
        product = multiply(rows.flatten(0, -2), weight, self.add).unflatten(0, rows.shape[:-1])
        return add_to(added, product)


class SumsIn16BitsReversed(SumsIn16Bits):
    """In 16-bit dtypes, sums are rounded after each addition, from the last term to the first."""

    def add(self, terms: Tensor) -> Tensor:
        return sum_backwards(terms)


class SumsIn16BitsPairwise(SumsIn16Bits):
    """In 16-bit dtypes, sums are rounded after each addition, pair by pair."""

    def add(self, terms: Tensor) -> Tensor:
        return sum_pairwise(terms)

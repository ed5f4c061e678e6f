"""Correct layers that add in the dtype of a 16-bit case, where torch's kernels add in float32.

Every product and every partial sum is rounded to 16 bits, in the backward pass too. That is correct
in any order of summation, so no MUST is violated. The rules of level SHOULD that ask for sums in
float32 are violated, as the layers declare.
"""

# ruff: noqa: D102  (the class docstring says what its methods do differently)

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from rnnspec.plain.layer import Plain

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
    """Add neighbours, then the sums of neighbours, until one sum is left."""
    while len(terms) > 1:
        pairs = terms[:-1:2] + terms[1::2]
        terms = torch.cat([pairs, terms[-1:]]) if len(terms) % 2 else pairs
    return sum_forwards(terms)


class RoundedProduct(torch.autograd.Function):
    """A product of two matrices with a choice of how its terms are added.

    The backward pass computes its two products in the same way, and can itself be differentiated.
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


class InputSumsIn16Bits(Plain):
    """In 16-bit dtypes, sums over features are rounded after each addition, first to last."""

    departs_from: ClassVar[tuple[str, ...]] = (
        "recurrence.float32-sums",
        "gradients.float32-sums",
    )

    def summation(self) -> Sum:
        """Return the function that adds terms."""
        return sum_forwards

    def multiply_input(self, data: Tensor, layer: int, direction: int) -> Tensor:
        return self.multiply(data, self.input_weight(layer, direction).t())

    def multiply(self, left: Tensor, right: Tensor) -> Tensor:
        """Return the product of two matrices; that of 16-bit matrices is added in 16 bits."""
        is_short = left.dtype == right.dtype and left.dtype in (torch.float16, torch.bfloat16)
        return multiply(left, right, self.summation()) if is_short else left @ right


class SumsIn16Bits(InputSumsIn16Bits):
    """In 16-bit dtypes, sums are rounded after each addition, from the first term to the last."""

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        projected = self.multiply_input(data, layer, direction)
        for bias in self.biases(layer, direction):
            # A product, so that the gradient of the bias is added in the same way.
            projected = projected + self.multiply(data.new_ones(len(data), 1), bias.unsqueeze(0))
        return projected

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        return self.activation(x + self.multiply(h, weight))


class SumsIn16BitsReversed(SumsIn16Bits):
    """In 16-bit dtypes, sums are rounded after each addition, from the last term to the first."""

    def summation(self) -> Sum:
        return sum_backwards


class SumsIn16BitsPairwise(SumsIn16Bits):
    """In 16-bit dtypes, sums are rounded after each addition, pair by pair."""

    def summation(self) -> Sum:
        return sum_pairwise

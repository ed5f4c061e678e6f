"""The base class of all planted bugs, and helper functions to write them."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from rnnspec.plain.layer import Plain, Sizes


class Planted(Plain):
    """The reference layer with one thing wrong.

    The docstring of each subclass says what is wrong, and its label which rules see it and which
    public report the bug re-creates, if any.
    """

    narrow: ClassVar[bool] = False
    """Whether the bug shows only under special conditions.

    These are: several arguments together, a second call, one mode, one dtype, some sizes, or
    gradients only.
    """

    ungated: ClassVar[bool] = False
    """Whether the bug can only be planted in a layer without gates, such as one about relu."""

    beyond_cells: ClassVar[bool] = False
    """Whether the bug shows only in several steps, layers or directions, in packed input, or in the
    output, which cells do not have."""

    single_state: ClassVar[bool] = False
    """Whether the bug is about the memory of the state that is passed; an LSTM joins two states."""

    equal_biases: ClassVar[bool] = False
    """Whether the bug needs both biases to be added in the same place, which a GRU does not do."""

    packed_checks: ClassVar[bool] = False
    """Whether the bug is about shapes in a call with packed input, which nn.LSTM does not check."""


def is_ragged(sizes: Sizes) -> bool:
    """Return whether some sequences are shorter than others, which only packed input allows."""
    return sizes[0] != sizes[-1]


def lengths(sizes: Sizes) -> list[int]:
    """Return the length of each sequence, longest first."""
    return [sum(size > row for size in sizes) for row in range(sizes[0])]


def replace_gradient(value: Tensor, carrier: Tensor) -> Tensor:
    """Return a tensor with the value of `value` and the gradient of `carrier`.

    Where `carrier` is not finite, there is no gradient.
    """
    nothing = carrier - carrier.detach()
    return value.detach() + torch.where(nothing.isfinite(), nothing, 0.0)


def as_steps(data: Tensor, sizes: Sizes) -> Tensor:
    """Return the data as (T, N, F) instead of (T * N, F), for sequences of equal length."""
    return data.reshape(len(sizes), sizes[0], data.size(-1))


def pad_steps(data: Tensor, sizes: Sizes) -> Tensor:
    """Pad every sequence with zeros to the longest, and return the data as (T * N, F)."""
    steps = [
        torch.cat([part, part.new_zeros(sizes[0] - part.size(0), part.size(1))])
        for part in torch.split(data, list(sizes))
    ]
    return torch.cat(steps)


def unpad_steps(data: Tensor, sizes: Sizes) -> Tensor:
    """Return the rows of the padded data, (T * N, F), that belong to a sequence."""
    return torch.cat(
        [part[:size] for part, size in zip(torch.split(data, sizes[0]), sizes, strict=True)]
    )


def hook_gradient(tensor: Tensor, change: Callable[[Tensor], Tensor]) -> None:
    """Pass the gradient that reaches a tensor through `change`."""
    tensor.register_hook(change)

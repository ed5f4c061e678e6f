"""What planted bugs have in common, and small tools to write them with."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from rnnspec.selftest.plain import Plain, Sizes


class Planted(Plain):
    """The reference layer with one thing wrong: the docstring says what, which report it re-creates, and which rule sees it."""

    narrow: ClassVar[bool] = False
    """Whether it needs several arguments together, a second call, one mode, one dtype, a size, or shows in gradients only."""


def is_ragged(sizes: Sizes) -> bool:
    """Whether some sequences are shorter than others, as only packed ones can be."""
    return sizes[0] != sizes[-1]


def lengths(sizes: Sizes) -> list[int]:
    """The length of each sequence, longest first."""
    return [sum(size > row for size in sizes) for row in range(sizes[0])]


def with_gradient_of(value: Tensor, carrier: Tensor) -> Tensor:
    """A tensor with the value of one and the gradient of another."""
    return value.detach() + (carrier - carrier.detach())


def as_steps(data: Tensor, sizes: Sizes) -> Tensor:
    """(T, N, F) from (T * N, F), where no sequence is shorter than another."""
    return data.reshape(len(sizes), sizes[0], data.size(-1))


def pad_steps(data: Tensor, sizes: Sizes) -> Tensor:
    """(T * N, F): every sequence filled up with zeros to the longest."""
    steps = [
        torch.cat([part, part.new_zeros(sizes[0] - part.size(0), part.size(1))])
        for part in torch.split(data, list(sizes))
    ]
    return torch.cat(steps)


def unpad_steps(data: Tensor, sizes: Sizes) -> Tensor:
    """The rows of (T * N, F) that belong to a step of a sequence."""
    return torch.cat(
        [part[:size] for part, size in zip(torch.split(data, sizes[0]), sizes, strict=True)]
    )


def hook(tensor: Tensor, change: Callable[[Tensor], Tensor]) -> None:
    """Change the gradient that reaches a tensor."""
    tensor.register_hook(change)  # type: ignore[no-untyped-call]

"""The tensors in nested tuples and lists."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor


def list_tensors(value: object) -> Iterator[Tensor]:
    """Yield a tensor, or those in a tuple or a list, however deep."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from list_tensors(item)

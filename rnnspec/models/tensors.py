"""Find the tensors in nested tuples and lists, and among the arguments of a module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor


def list_tensors(value: object) -> Iterator[Tensor]:
    """Yield a tensor, or all tensors in a tuple or a list, at any depth."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from list_tensors(item)


def find_input(arguments: Sequence[object], keywords: Mapping[str, object]) -> object:
    """Return the first argument of a call of a module, or None if there is none."""
    return next(iter([*arguments, *keywords.values()]), None)


def rebuild(like: object, values: Sequence[object]) -> object:
    """Return values in a container of the same type as `like`: a list, a tuple or a named tuple."""
    if isinstance(like, list):
        return list(values)
    kind = type(like)
    return kind(*values) if hasattr(kind, "_fields") else tuple(values)

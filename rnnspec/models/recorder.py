"""A mode that sees every function of torch that a model calls."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, handle_torch_function, has_torch_function_unary

_tensors: Any = Tensor
_get_item = _tensors.__getitem__


class Recorder(TorchFunctionMode):
    """A mode that intercepts every function of torch, even `x[i]` if torch does not report it.

    Derived classes record functions in `__torch_function__`.
    """

    def __enter__(self) -> Any:
        """Start recording."""
        if not records_indexing():
            _tensors.__getitem__ = _record_indexing
        return super().__enter__()

    def __exit__(self, *raised: Any) -> None:
        """Stop recording."""
        super().__exit__(*raised)
        if not records_indexing():
            _tensors.__getitem__ = _get_item


class _CallProbe(TorchFunctionMode):
    is_called = False

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.is_called |= function is _get_item
        return function(*args, **(kwargs or {}))


@cache
def records_indexing() -> bool:
    """Return whether the installed release passes `x[i]` to a mode."""
    x, probe = torch.zeros(1), _CallProbe()
    with probe:
        x[0]
    return probe.is_called


def _record_indexing(tensor: Tensor, index: Any) -> Any:
    if has_torch_function_unary(tensor):
        return handle_torch_function(_get_item, (tensor,), tensor, index)
    return _get_item(tensor, index)

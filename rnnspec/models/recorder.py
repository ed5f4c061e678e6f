"""What sees every function of torch that a model calls."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, handle_torch_function, has_torch_function_unary

_tensors: Any = Tensor
_get_item = _tensors.__getitem__


class Recorder(TorchFunctionMode):
    """A mode that is told of every function of torch, also where a release does not tell of `x[i]`.

    What derives from it says in `__torch_function__` what it records.
    """

    def __enter__(self) -> Any:
        """Start to record."""
        if not tells_of_indexing():
            _tensors.__getitem__ = _tell_of_indexing
        return super().__enter__()

    def __exit__(self, *raised: Any) -> None:
        """Record no more."""
        super().__exit__(*raised)
        if not tells_of_indexing():
            _tensors.__getitem__ = _get_item


class _Probe(TorchFunctionMode):
    is_told = False

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.is_told |= function is _get_item
        return function(*args, **(kwargs or {}))


@cache
def tells_of_indexing() -> bool:
    """Return whether the installed release tells a mode of `x[i]`."""
    x, probe = torch.zeros(1), _Probe()
    with probe:
        x[0]
    return probe.is_told


def _tell_of_indexing(tensor: Tensor, index: Any) -> Any:
    if has_torch_function_unary(tensor):
        return handle_torch_function(_get_item, (tensor,), tensor, index)
    return _get_item(tensor, index)

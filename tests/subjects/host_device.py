"""A second device, written in Python: its tensors have no memory, and the CPU computes for them.

Like many real ones, the device `host` knows no strides and no addresses. It can be made to lack
dtypes and operators, and to fail in the middle.
"""

from __future__ import annotations

import signal
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils import _pytree as pytree

try:
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend
except ImportError:  # before torch 2.10
    AVAILABLE = False
else:
    AVAILABLE = True
NAME, LOST = "host", "host: the device is lost"


@dataclass
class Faults:
    """The planned failures of the device.

    dtypes   of which no tensor can be made
    deadly   the dtypes whose tensors end the process
    missing  parts of the names of operators that are not implemented
    left     how many operators still work before the device is lost, or None
    """

    dtypes: Collection[torch.dtype] = ()
    deadly: Collection[torch.dtype] = ()
    missing: Collection[str] = ()
    left: int | None = None
    held: dict[int, torch.Tensor] = field(default_factory=dict)

    def check(self, name: str, tensors: Collection[torch.Tensor]) -> None:
        """Raise torch's exception for an operator that does not support these tensors."""
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise RuntimeError(LOST)
        if any(each.dtype in self.deadly for each in tensors):
            signal.raise_signal(signal.SIGSEGV)
        if any(each in name for each in self.missing):
            raise NotImplementedError(f"Could not run {name!r} with arguments from the host device")
        if any(each.dtype in self.dtypes for each in tensors):
            raise TypeError("the host device does not support this dtype")


_NOW = Faults()


@contextmanager
def break_device(**faults: Any) -> Iterator[None]:
    """Return a context in which the device has faults."""
    before = dict(vars(_NOW))
    vars(_NOW).update(faults)
    try:
        yield
    finally:
        vars(_NOW).update({name: before[name] for name in faults})


def register() -> None:
    """Register the device with torch, once in a process."""
    if _LIBRARIES:
        return
    _setup_privateuseone_for_python_backend(NAME)
    everything, own = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
    everything.fallback(_run, "PrivateUse1")
    own.impl("_copy_from", _copy, "PrivateUse1")
    own.impl("as_strided_", _change_view, "PrivateUse1")
    _LIBRARIES.extend((everything, own))


_LIBRARIES: list[Any] = []


def _wrap(value: torch.Tensor) -> torch.Tensor:
    """Return a tensor of the device for which one of the CPU stands."""
    made: torch.Tensor = torch._C._acc.create_empty_tensor(value.shape, value.dtype)
    _NOW.held[made.untyped_storage()._cdata] = value
    return made


def _is_ours(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.device.type == NAME


def _unwrap(value: Any) -> Any:
    if isinstance(value, torch.device):
        return torch.device("cpu") if value.type == NAME else value
    return _NOW.held[value.untyped_storage()._cdata] if _is_ours(value) else value


def _run(operator: Any, *args: Any, **kwargs: Any) -> Any:
    """Run an operator on the tensors of the CPU that stand for its arguments."""
    given, form = pytree.tree_flatten((args, kwargs))
    plain = [_unwrap(each) for each in given]
    tensors = [each for each in plain if isinstance(each, torch.Tensor)]
    _NOW.check(str(operator), tensors)
    if operator is torch.ops.aten.as_strided.default:  # torch sees tensors without other strides
        plain[0] = torch.clone(plain[0], memory_format=torch.contiguous_format)
    plain_args, plain_kwargs = pytree.tree_unflatten(plain, form)
    returned = operator(*plain_args, **plain_kwargs)
    owners = {id(one): other for one, other in zip(plain, given, strict=True) if _is_ours(other)}
    for held, owner in zip(plain, given, strict=True):
        if _is_ours(owner) and owner.shape != held.shape:  # of an `out=` that was resized
            owner.data = _wrap(held)

    def make(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        _NOW.check("result", [value])
        return owners[id(value)] if id(value) in owners else _wrap(value)

    return pytree.tree_map(make, returned)


def _copy(source: torch.Tensor, target: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
    del non_blocking
    _NOW.check("aten::_copy_from", [_unwrap(target)])
    _unwrap(target).copy_(_unwrap(source))
    return target


def _change_view(tensor: torch.Tensor, *form: Any) -> torch.Tensor:
    """Change the shape of a tensor in place, as `transpose_` does."""
    tensor.data = torch.as_strided(tensor, *form)
    return tensor

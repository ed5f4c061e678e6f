"""Make calls on the meta device cheap: torch would import its compiler for them."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

COMPILER = "torch._dynamo"
"""The module that torch imports in the first operation on the meta device, in 1 to 2 seconds."""

PLAIN = (Tensor, torch.nn.Parameter)

LEFT_TO_TORCH = (
    torch.Tag.data_dependent_output,
    torch.Tag.dynamic_output_shape,
    torch.Tag.nondeterministic_seeded,
    torch.Tag.inplace_view,
)
"""Tags of operations that are left to torch.

The shape of their result depends on values, they draw random numbers, or they change the shape of a
tensor in place.
"""


def use_meta_device() -> AbstractContextManager[Any]:
    """Make calls on the meta device cheap while the context is active.

    Results are the same without it. On the meta device, torch computes shapes and dtypes with
    functions in Python, and the first of them imports torch's compiler. This takes longer than all
    other cases of a small layer together. In this context, shapes and dtypes are taken from the
    same operation on zeros on the CPU. If the subject has loaded the compiler itself, the context
    does nothing.
    """
    return nullcontext() if COMPILER in sys.modules else _ShapesFromCPU()


class _ShapesFromCPU(TorchDispatchMode):
    """Performs operations on meta tensors on the CPU, and leaves other operations to torch."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False; otherwise torch loads its compiler just to keep it away from this class."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        keywords = kwargs or {}
        if _is_known(func) and _are_plain([*args, *keywords.values()]):
            try:
                on_cpu = func(
                    *map(_fill, args), **{name: _fill(keywords[name]) for name in keywords}
                )
                return _keep(args[0], on_cpu) if func._schema.is_mutable else _empty(on_cpu)
            except Exception:  # torch will raise the right error below
                pass
        with self:  # in inference mode, an operation arrives undecomposed
            parts = func.decompose(*args, **keywords)
        return func(*args, **keywords) if parts is NotImplemented else parts


def _is_known(func: Any) -> bool:
    """Return whether an operation of torch makes new tensors, or writes to its first argument."""
    if func.namespace != "aten" or any(tag in func.tags for tag in LEFT_TO_TORCH):
        return False
    first, *others = func._schema.arguments
    if any(each.alias_info is not None for each in others):
        return False
    is_written = first.alias_info is not None and first.alias_info.is_write
    aliases = [each.alias_info is not None for each in func._schema.returns]
    return aliases == [True] if is_written else first.alias_info is None and not any(aliases)


def _are_plain(given: list[Any]) -> bool:
    """Return whether there are tensors, all on the meta device, and no device is named."""
    tensors = [
        each
        for value in given
        for each in (value if isinstance(value, list | tuple) else [value])
        if isinstance(each, Tensor)
    ]
    return (
        bool(tensors)
        and all(type(each) in PLAIN and each.is_meta for each in tensors)
        and not any(isinstance(value, torch.device) for value in given)
    )


def _fill(value: Any) -> Any:
    """Replace each tensor by zeros on the CPU."""
    if isinstance(value, Tensor):
        return torch.zeros(value.shape, dtype=value.dtype, device="cpu")
    return [_fill(each) for each in value] if isinstance(value, list | tuple) else value


def _empty(result: Any) -> Any:
    """Replace each tensor on the CPU by a meta tensor.

    Raises TypeError if a result is not a tensor.
    """
    if isinstance(result, Tensor):
        return torch.empty_strided(result.shape, result.stride(), dtype=result.dtype, device="meta")
    if isinstance(result, list | tuple):
        return type(result)(_empty(each) for each in result)
    raise TypeError(f"a tensor is expected, not {result!r}")


def _keep(written: Tensor, on_cpu: Tensor) -> Tensor:
    """Return a tensor that was written to.

    Raises TypeError if the operation would change its shape or dtype.
    """
    if (on_cpu.shape, on_cpu.dtype) != (written.shape, written.dtype):
        raise TypeError(f"{written.shape} would become {on_cpu.shape}")
    return written

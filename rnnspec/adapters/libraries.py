"""Libraries of arrays: convert tensors to their arrays, and pass gradients through them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import numpy as np
import torch
from torch.autograd.function import FunctionCtx

from rnnspec.errors import AdapterError, suggest_similar
from rnnspec.subjects.failures import Malformed, Unsupported

Function = Callable[..., tuple[Any, ...]]
"""A function of arrays that returns a tuple of arrays."""
NUMBERS = "biufc"
"""The kinds of NumPy dtypes that are numbers."""


class Arrays(Enum):
    """The library whose arrays a function takes and returns.

    Use DLPACK for any other library: your function gets objects that every `from_dlpack` accepts,
    and returns arrays that `torch.from_dlpack` accepts.
    """

    TORCH = "torch"
    NUMPY = "numpy"
    JAX = "jax"
    MLX = "mlx"
    DLPACK = "dlpack"

    @classmethod
    def parse(cls, text: str) -> Arrays:
        """Return the library called `text`. Raises AdapterError, with a suggestion."""
        known = {member.value: member for member in cls}
        if not isinstance(text, str) or text not in known:
            near = suggest_similar(str(text), known)
            raise AdapterError(f"arrays={text!r}: choose {', '.join(known)}.{near}")
        return known[text]

    def from_tensor(self, tensor: torch.Tensor) -> Any:
        """Return a tensor as an array; an array of NumPy shares the memory of the tensor."""
        if self is Arrays.TORCH:
            return tensor
        if self is Arrays.NUMPY:
            return tensor.detach().numpy()
        plain = tensor.detach()
        if self is Arrays.DLPACK:
            return plain
        if self is Arrays.MLX:
            import mlx.core as mx

            wide = plain.float() if tensor.dtype is torch.bfloat16 else plain
            return mx.array(wide.numpy(), getattr(mx, str(tensor.dtype).removeprefix("torch.")))
        import jax

        if tensor.dtype is torch.float64 and not jax.config.jax_enable_x64:
            raise Unsupported("JAX has no float64 unless jax_enable_x64 is set")
        # Copy it, so that JAX shares no memory with a tensor that others may write into.
        if tensor.dtype is torch.bfloat16:
            bits = plain.contiguous().view(torch.int16).numpy()
            return jax.numpy.array(bits).view(jax.numpy.bfloat16)
        return jax.numpy.array(plain.numpy())

    def from_lengths(self, lengths: torch.Tensor) -> Any:
        """Return the lengths of sequences as an array; for JAX a NumPy array, which is traced."""
        return lengths if self in (Arrays.TORCH, Arrays.DLPACK) else lengths.numpy()

    def from_seed(self, seed: int) -> Any:
        """Return a seed as an integer; for JAX as uint32, so that it is traced and no constant."""
        return np.uint32(seed) if self is Arrays.JAX else seed

    def to_tensor(self, array: Any, like: torch.Tensor) -> torch.Tensor:
        """Return an array as a new tensor with the dtype and the device of another tensor."""
        if isinstance(array, torch.Tensor):
            return array
        if self is Arrays.DLPACK:
            return torch.utils.dlpack.from_dlpack(array).clone().to(like)
        if self is Arrays.MLX and like.dtype is torch.bfloat16:
            import mlx.core as mx

            array = array.astype(mx.float32)  # NumPy cannot read bfloat16 arrays of MLX
        found = np.asarray(array)
        if found.dtype.name == "bfloat16":  # NumPy reads them from JAX
            return torch.tensor(found.view(np.int16)).view(torch.bfloat16).to(like)
        if found.dtype.kind not in NUMBERS:
            message = f"the function returned an array of {found.dtype}, expected numbers"
            raise Malformed(message, f"dtype@function:{found.dtype}")
        return torch.tensor(found).to(like)


@dataclass(frozen=True)
class Differentiated:
    """A function of arrays that torch can differentiate.

    function    takes `extra` and arrays, and returns arrays
    arrays      their library
    extra       the first argument, which has no gradient
    pull_back   takes `extra`, the arguments and the gradients of the results, and returns the
                gradients of the arguments; you need none for JAX and MLX, whose `vjp` is used
    """

    function: Function
    arrays: Arrays
    extra: Any = None
    pull_back: Function | None = None

    def __call__(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the results for tensors, with a graph if any of them needs it."""
        if self.arrays is Arrays.TORCH:
            return tuple(self.function(self.extra, *tensors))
        found: tuple[torch.Tensor, ...] = _Bridge.apply(self, *tensors)
        return found

    def compute(self, tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor | None, ...]:
        """Return the results for tensors, without a graph; None for a gradient that is missing."""
        results = self.function(self.extra, *map(self.arrays.from_tensor, tensors))
        return tuple(
            None if each is None else self.arrays.to_tensor(each, tensors[0]) for each in results
        )

    def differentiate(self, count: int) -> Differentiated:
        """Return the function that computes gradients of `count` arguments.

        It takes the arguments and the gradients of the results. Raises Unsupported.
        """
        if self.arrays is Arrays.JAX:
            return replace(self, function=_make_pull_back(self.function, count))
        if self.arrays is Arrays.MLX:
            return replace(self, function=_make_mlx_pull_back(self.function, count))
        if self.pull_back is None:
            raise Unsupported("the adapter has no gradients")
        return replace(self, function=self.pull_back, pull_back=None)


@functools.lru_cache(maxsize=4096)
def compile_function(function: Function) -> Function:
    """Return a function that JAX compiles once for each shape."""
    import jax

    compiled: Function = jax.jit(function)
    return compiled


@functools.lru_cache(maxsize=4096)
def _make_pull_back(function: Function, count: int) -> Function:
    def pull_back(extra: Any, *given: Any) -> tuple[Any, ...]:
        import jax

        _, back = jax.vjp(functools.partial(function, extra), *given[:count])
        return tuple(back(tuple(given[count:])))

    return compile_function(pull_back)


@functools.lru_cache(maxsize=4096)
def _make_mlx_pull_back(function: Function, count: int) -> Function:
    def pull_back(extra: Any, *given: Any) -> tuple[Any, ...]:
        import mlx.core as mx

        def run(*arguments: Any) -> list[Any]:
            return list(function(extra, *arguments))

        _, gradients = mx.vjp(run, list(given[:count]), list(given[count:]))
        return tuple(gradients)

    return pull_back


class _Bridge(torch.autograd.Function):
    """A step in torch's graph that is computed with other arrays, and so is its backward pass."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, call: Differentiated, *tensors: torch.Tensor
    ) -> tuple[torch.Tensor | None, ...]:
        ctx.call = call  # type: ignore[attr-defined]
        ctx.save_for_backward(*tensors)
        return call.compute(tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[Any, ...]:
        given = ctx.saved_tensors
        return None, *ctx.call.differentiate(len(given))(*given, *gradients)

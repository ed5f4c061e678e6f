"""Between the oracle's arrays (float64, time-major, padded) and what a torch layer is given and returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from rnnspec.cases.axes import InitialState
from rnnspec.cases.case import Case

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Arguments:
    """What a layer is called with: the input as it is passed, its leaf tensor, and the initial state or None.

    `leaf` is the input itself, or its `data` where it is packed; `steps` and `samples` tell for each row of packed data which step
    of which sample it is.
    """

    input: torch.Tensor | PackedSequence
    leaf: torch.Tensor
    h_0: torch.Tensor | None
    steps: Indices
    samples: Indices


def build_arguments(case: Case, input_: Array, h_0: Array, device: str) -> Arguments:
    """Return the arguments of a call with the layout, dtype and memory layout of a case."""
    dtype, differentiable = case.dtype.torch_dtype, case.grad_mode.builds_graph
    state = None
    if case.initial_state is InitialState.GIVEN:
        plain = make_tensor(h_0 if case.is_batched else h_0[:, 0], device, dtype)
        state = case.memory_layout.lay_out(plain, 1 if case.is_batched else None)
        state.requires_grad_(differentiable)
    padded = make_tensor(to_layout(case, input_), device, dtype)
    if not case.is_packed:
        leaf = case.memory_layout.lay_out(padded, case.repeated_axis)
        leaf.requires_grad_(differentiable)
        return Arguments(leaf, leaf, state, *_no_rows())
    packed = pack_padded_sequence(
        padded,
        list(case.lengths),
        batch_first=case.config.batch_first,
        enforce_sorted=case.layout.is_sorted,
    )
    leaf = case.memory_layout.lay_out(packed.data, None).requires_grad_(differentiable)
    given = PackedSequence(leaf, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
    return Arguments(given, leaf, state, *locate_packed_rows(packed))


def to_layout(case: Case, values: Array) -> Array:
    """Return a time-major array (T, N, ...) in the layout of a case."""
    return case.layout.arrange(values, batch_first=case.config.batch_first)


def from_layout(case: Case, values: Array) -> Array:
    """Return the time-major array (T, N, ...) of an array in the layout of a case."""
    return case.layout.restore(values, batch_first=case.config.batch_first)


def _no_rows() -> tuple[Indices, Indices]:
    return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)


def locate_packed_rows(packed: PackedSequence) -> tuple[Indices, Indices]:
    """For each row of packed data its step and its sample in the caller's order."""
    sizes = packed.batch_sizes.tolist()
    order = (
        list(range(sizes[0])) if packed.sorted_indices is None else packed.sorted_indices.tolist()
    )
    steps = [step for step, size in enumerate(sizes) for _ in range(size)]
    samples = [order[place] for size in sizes for place in range(size)]
    return np.array(steps, dtype=np.int64), np.array(samples, dtype=np.int64)


def make_tensor(array: Array, device: str | torch.device, dtype: torch.dtype) -> torch.Tensor:
    """A new tensor with the values of an array."""
    return torch.from_numpy(np.array(array)).to(device, dtype)


def to_array(tensor: torch.Tensor) -> Array:
    """The values of a tensor as float64."""
    return tensor.detach().to("cpu", torch.float64).numpy().copy()


def scatter_rows(rows: Array, steps: Indices, samples: Indices, shape: tuple[int, int]) -> Array:
    """Rows of packed data as a padded time-major array (T, N, ...), zero beyond each sequence's end."""
    padded = np.zeros((*shape, *rows.shape[1:]))
    padded[steps, samples] = rows
    return padded


def has_same_bits(first: Any, second: Any) -> bool:
    """Whether two tensors hold the same values, NaN for NaN; shapes and dtypes included."""
    if first is None or second is None:
        return first is second
    return (
        first.shape == second.shape
        and first.dtype == second.dtype
        and bool(torch.allclose(first, second, rtol=0, atol=0, equal_nan=True))
    )

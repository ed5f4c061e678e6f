"""Between the oracle's arrays (float64, time-major, padded) and what a torch layer is given and returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from rnnspec.cases.case import Case

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
GARBAGE = float("nan")


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
    """The arguments that a case stands for, with the layout, dtype and strides that it names."""
    dtype = getattr(torch, case.dtype)
    differentiable = case.grad == "grad"
    state = None
    if case.state == "given":
        state = lay_out(
            make_tensor(h_0 if case.is_batched else h_0[:, 0], device, dtype),
            case.memory,
            1 if case.is_batched else None,
        )
        state.requires_grad_(differentiable)
    padded = make_tensor(to_layout(case, input_), device, dtype)
    if not case.is_packed:
        leaf = lay_out(padded, case.memory, _repeated_axis(case)).requires_grad_(differentiable)
        return Arguments(leaf, leaf, state, *_no_rows())
    packed = pack_padded_sequence(
        padded,
        list(case.lengths),
        batch_first=case.config.batch_first,
        enforce_sorted=case.layout == "packed",
    )
    leaf = lay_out(packed.data, case.memory, None).requires_grad_(differentiable)
    given = PackedSequence(leaf, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
    return Arguments(given, leaf, state, *locate_packed_rows(packed))


def to_layout(case: Case, values: Array) -> Array:
    """A time-major array (T, N, ...) in the layout of the case: batch-major, or without the batch axis."""
    if not case.is_batched:
        return values[:, 0].copy()
    return np.ascontiguousarray(values.swapaxes(0, 1)) if case.config.batch_first else values.copy()


def from_layout(case: Case, values: Array) -> Array:
    """The inverse of `to_layout`."""
    if not case.is_batched:
        return values[:, None]
    return values.swapaxes(0, 1) if case.config.batch_first else values


def _repeated_axis(case: Case) -> int | None:
    """Along which axis an expanded input repeats itself: the batch, or the steps where there is one sample."""
    if case.batch == 1:
        return 1 if case.is_batched and case.config.batch_first else 0
    return 0 if case.config.batch_first else 1


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


def lay_out(tensor: torch.Tensor, memory: str, repeated: int | None) -> torch.Tensor:
    """The same values, otherwise in memory.

    All axes reversed, the first two exchanged, every second element of a larger buffer, a part of one without gaps, or one slice repeated.
    """
    return STRIDES[memory](tensor, repeated)


def _contiguous(tensor: torch.Tensor, repeated: int | None) -> torch.Tensor:
    del repeated
    return tensor.clone()


def _transposed(tensor: torch.Tensor, repeated: int | None) -> torch.Tensor:
    del repeated
    axes = list(range(tensor.dim()))[::-1]
    return tensor.permute(axes).contiguous().permute(axes)


def _sliced(tensor: torch.Tensor, repeated: int | None) -> torch.Tensor:
    del repeated
    buffer = torch.full(
        [2 * size + 1 for size in tensor.shape], GARBAGE, dtype=tensor.dtype, device=tensor.device
    )
    view = buffer[tuple(slice(1, None, 2) for _ in tensor.shape)]
    view.copy_(tensor)
    return view


def _exchanged(tensor: torch.Tensor, repeated: int | None) -> torch.Tensor:
    del repeated
    return (
        tensor.transpose(0, 1).contiguous().transpose(0, 1) if tensor.dim() > 1 else tensor.clone()
    )


def _offset(tensor: torch.Tensor, repeated: int | None) -> torch.Tensor:
    del repeated
    buffer = torch.full(
        (tensor.size(0) + 3, *tensor.shape[1:]), GARBAGE, dtype=tensor.dtype, device=tensor.device
    )
    view = buffer[2 : 2 + tensor.size(0)]
    view.copy_(tensor)
    return view


def _expanded(tensor: torch.Tensor, repeated: int | None) -> torch.Tensor:
    """One slice repeated where all are the same; what a rule has changed in one of them cannot be."""
    if repeated is None or tensor.dim() <= repeated or not tensor.size(repeated):
        return tensor.clone()
    repetition = tensor.narrow(repeated, 0, 1).clone().expand(tensor.shape)
    return repetition if torch.equal(repetition, tensor) else tensor.clone()


STRIDES = {
    "contiguous": _contiguous,
    "transposed": _transposed,
    "exchanged": _exchanged,
    "sliced": _sliced,
    "offset": _offset,
    "expanded": _expanded,
}


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

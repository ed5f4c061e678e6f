"""Convert between the oracle's arrays and the tensors of a layer.

Arrays are float64, time-major and padded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import allclose  # bound at import, since a subject may replace torch.allclose
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from rnnspec.cases.axes import InitialState
from rnnspec.cases.case import Case
from rnnspec.cases.states import name_initial
from rnnspec.oracle import Array
from rnnspec.subjects.devices import blame_device
from rnnspec.subjects.steps import MAKING_TENSORS, USING_RESULTS

Indices = NDArray[np.int64]
T = TypeVar("T")
StateArgument = torch.Tensor | tuple[torch.Tensor, ...] | None
"""The argument for the initial states of a layer."""
PLAIN_TENSORS = (torch.Tensor, torch.nn.Parameter)
NO_ROWS: Indices = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class CallArguments:
    """The arguments of one call of a layer.

    input    the input as it is passed: a tensor or a PackedSequence
    leaf     the input as a tensor; if it is packed, its `data`
    initial  the initial states by name, such as h_0; empty if none is passed
    steps    the time step of each row of packed data; empty if the input is not packed
    samples  the sample of each row of packed data, in the caller's order
    """

    input: torch.Tensor | PackedSequence
    leaf: torch.Tensor
    initial: dict[str, torch.Tensor]
    steps: Indices
    samples: Indices

    @property
    def hx(self) -> StateArgument:
        """The argument for the states: a tensor, or a tuple of several; None without states."""
        return join_argument(self.initial)

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """The input, under the name `input`, and the initial states, as tensors."""
        return {"input": self.leaf, **self.initial}

    @property
    def positional(self) -> tuple[Any, ...]:
        """The arguments in their order: the input, and the states if they are passed."""
        return (self.input,) if self.hx is None else (self.input, self.hx)


def join_argument(states: Mapping[str, torch.Tensor]) -> StateArgument:
    """Return the argument for states: a tensor, or a tuple of several; None without states."""
    if len(states) == 1:
        return next(iter(states.values()))
    return tuple(states.values()) or None


def build_arguments(case: Case, input_: Array, initial: Array, device: str) -> CallArguments:
    """Return arguments with the layout, the dtype and the memory layout of a case.

    `input_` has shape (T, N, H_in), and `initial`, the states concatenated along the last axis, (D
    * num_layers, N, S). The tensors require gradients if the gradient mode of the case builds a
    graph.
    """
    dtype, differentiable = case.dtype.torch_dtype, case.grad_mode.builds_graph
    states: dict[str, torch.Tensor] = {}
    if case.initial_state is InitialState.GIVEN:
        for name, array in name_initial(case.config, initial).items():
            plain = make_tensor(to_state_layout(case, array), device, dtype)
            state = case.memory_layout.lay_out(plain, find_batch_axis(case))
            states[name] = state.requires_grad_(differentiable)
    if not case.is_packed:
        padded = make_tensor(to_layout(case, input_), device, dtype)
        leaf = case.memory_layout.lay_out(padded, case.repeated_axis)
        leaf.requires_grad_(differentiable)
        return CallArguments(leaf, leaf, states, NO_ROWS, NO_ROWS)
    # Packed on the host and then moved, so that the arguments do not depend on the device's own
    # operators: torch_xla returns batch sizes there that no layer can read.
    packed = pack_padded_sequence(
        make_tensor(to_layout(case, input_), "cpu", dtype),
        list(case.lengths),
        batch_first=case.config.batch_first,
        enforce_sorted=case.layout.is_sorted,
    )
    places = locate_packed_rows(packed)
    packed = move_packed(packed, device)
    leaf = case.memory_layout.lay_out(packed.data, None).requires_grad_(differentiable)
    given = PackedSequence(leaf, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
    return CallArguments(given, leaf, states, *places)


def to_layout(case: Case, values: Array) -> Array:
    """Return a time-major array (T, N, ...) in the layout of a case.

    For a cell, which takes one step, it is an array (N, ...) or (...).
    """
    arranged = case.layout.arrange(values, batch_first=case.config.batch_first)
    return arranged[0] if case.config.kind_data.is_cell else arranged


def from_layout(case: Case, values: Array) -> Array:
    """Return the time-major array (T, N, ...) of an array in the layout of a case."""
    given = values[None] if case.config.kind_data.is_cell else values
    return case.layout.restore(given, batch_first=case.config.batch_first)


def to_state_layout(case: Case, states: Array) -> Array:
    """Return states (D * num_layers, N, ...) in the form that the subject accepts.

    Without a batch axis they have no N, and a cell's states do not have the first axis.
    """
    arranged = states if case.is_batched else states[:, 0]
    return arranged[0] if case.config.kind_data.is_cell else arranged


def from_state_layout(case: Case, states: Array) -> Array:
    """Return the states (D * num_layers, N, ...) of states in the form returned by the subject."""
    given = states[None] if case.config.kind_data.is_cell else states
    return given if case.is_batched else given[:, None]


def find_batch_axis(case: Case) -> int | None:
    """Return the axis of the samples in the states of a case, or None if there is none."""
    if not case.is_batched:
        return None
    return 0 if case.config.kind_data.is_cell else 1


def move_packed(packed: PackedSequence, device: str) -> PackedSequence:
    """Return a packed sequence of the host on a device; the batch sizes stay on the host."""
    with blame_device(MAKING_TENSORS):
        return packed.to(device)  # type: ignore[arg-type]  # torch copies one of the signatures


def locate_packed_rows(packed: PackedSequence) -> tuple[Indices, Indices]:
    """Return the time step and the sample, in the caller's order, of each row of packed data."""
    sizes = packed.batch_sizes.tolist()
    order = (
        list(range(sizes[0])) if packed.sorted_indices is None else packed.sorted_indices.tolist()
    )
    steps = [step for step, size in enumerate(sizes) for _ in range(size)]
    samples = [order[place] for size in sizes for place in range(size)]
    return np.array(steps, dtype=np.int64), np.array(samples, dtype=np.int64)


def make_tensor(array: Array, device: str | torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Return a new tensor with the values of an array, which are rounded on the CPU.

    Use it for every tensor that you pass to a layer. Raises Raised if the device fails.
    """
    with blame_device(MAKING_TENSORS):
        return torch.from_numpy(np.array(array)).to(dtype).to(device)


def to_array(tensor: torch.Tensor) -> Array:
    """Return the values of a tensor as a new float64 array. Raises Raised if the device fails.

    A device that computes asynchronously, or in its own process, reports its errors only here.
    """
    with blame_device(USING_RESULTS):
        found = strip_subclass(tensor).detach().cpu()
        # A single copy, with its elements in C order: weights at real sizes are copied more often
        # than they are multiplied.
        order = torch.contiguous_format
        return found.to(torch.float64, copy=True, memory_format=order).numpy()


def strip_subclass(value: T) -> T:
    """Return a tensor of a subclass as a plain tensor with the same memory and graph.

    The methods of a subclass could return anything. Other values are returned unchanged.
    """
    if not isinstance(value, torch.Tensor) or type(value) in PLAIN_TENSORS:
        return value
    return torch.Tensor.as_subclass(value, torch.Tensor)  # type: ignore[return-value]


def strip_result(result: Any) -> Any:
    """Return a result of a call with its tensor converted by `strip_subclass`."""
    if isinstance(result, PackedSequence) and type(result.data) not in PLAIN_TENSORS:
        return PackedSequence(strip_subclass(result.data), *result[1:])
    return strip_subclass(result)


def flatten_results(returned: Any) -> tuple[Any, ...]:
    """Return the results of a layer as one tuple, with nested tuples and mappings flattened."""
    parts = returned.values() if isinstance(returned, Mapping) else returned
    if isinstance(returned, PackedSequence) or not isinstance(returned, (tuple, list, Mapping)):
        return (returned,)
    return tuple(result for each in parts for result in flatten_results(each))


def scatter_rows(rows: Array, steps: Indices, samples: Indices, shape: tuple[int, int]) -> Array:
    """Return rows of packed data as a padded array (T, N, ...), where `shape` is (T, N).

    It is zero beyond the end of each sequence.
    """
    padded = np.zeros((*shape, *rows.shape[1:]))
    padded[steps, samples] = rows
    return padded


def has_same_bits(first: Any, second: Any) -> bool:
    """Return whether two tensors have the same shape, dtype and values; NaN equals NaN.

    None equals None.
    """
    if first is None or second is None:
        return first is second
    return (
        first.shape == second.shape
        and first.dtype == second.dtype
        and bool(allclose(first, second, rtol=0, atol=0, equal_nan=True))
    )


def measure_distance(got: Array, expected: Array) -> Array:
    """Return |got - expected| for each element.

    It is 0 if both are NaN or the same infinity, and infinite if only one is NaN. Raises ValueError
    if the shapes differ.
    """
    if got.shape != expected.shape:
        raise ValueError(f"cannot compare shapes {got.shape!r} and {expected.shape!r}")
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.asarray(got - expected)
        np.abs(error, out=error)
    if np.isfinite(error.max(initial=0.0)):
        return error
    agrees = (got == expected) | (np.isnan(got) & np.isnan(expected))
    return np.where(agrees, 0.0, np.where(np.isnan(error), np.inf, error))

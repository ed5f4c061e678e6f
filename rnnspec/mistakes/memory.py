"""Mistakes with the memory of the arguments: their strides and their start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from rnnspec.cases.axes import MemoryLayout
from rnnspec.cases.case import Case
from rnnspec.cases.reach import CaseTest
from rnnspec.mistakes.hypothesis import Hypothesis, never
from rnnspec.mistakes.situations import has_h_0
from rnnspec.reference.values import Spot, States, change_values
from rnnspec.subjects.devices import count_stored

Misread = Callable[[Tensor], Tensor]


def misread_input(misread: Misread) -> Callable[..., Tensor]:
    """Return a change that reads the memory of the input with other strides."""

    def read(data: Tensor, spot: Spot) -> Tensor:
        given = spot.given
        raw = given.case.memory_layout.lay_out(given.raw_input.clone(), given.case.repeated_axis)
        found = misread(raw)
        if not given.case.is_batched:
            return found[:, None]
        return found.transpose(0, 1) if given.is_batch_first else found

    return read


def misread_states(misread: Misread) -> Callable[..., States]:
    """Return the same change of the initial states."""

    def read(state: Tensor, case: Case) -> Tensor:
        raw = state.clone() if case.is_batched else state[:, 0].clone()
        found = misread(case.memory_layout.lay_out(raw, 1 if case.is_batched else None))
        return found if case.is_batched else found[:, None]

    return lambda states, spot: {
        letter: read(state, spot.given.case) for letter, state in states.items()
    }


def _ignore_strides(tensor: Tensor) -> Tensor:
    size = count_stored(tensor)
    if tensor.is_contiguous() or size < tensor.storage_offset() + tensor.numel():
        return tensor
    strides = torch.empty(tensor.shape, device="meta").stride()
    return tensor.as_strided(tensor.shape, strides, tensor.storage_offset())


def _ignore_gaps(tensor: Tensor) -> Tensor:
    if tensor.dim() < 3 or tensor.stride(2) != 1 or tensor.stride(0) < tensor.stride(1):
        return tensor
    strides = (tensor.size(1) * tensor.stride(1), tensor.stride(1), 1)
    return tensor.as_strided(tensor.shape, strides, tensor.storage_offset())


def _ignore_offset(tensor: Tensor) -> Tensor:
    return tensor.as_strided(tensor.shape, tensor.stride(), 0)


def _ignore_both(tensor: Tensor) -> Tensor:
    strides = torch.empty(tensor.shape, device="meta").stride()
    size = count_stored(tensor)
    return tensor.as_strided(tensor.shape, strides, 0) if size >= tensor.numel() else tensor


def _keep_first_if_expanded(tensor: Tensor) -> Tensor:
    if tensor.dim() < 3 or tensor.stride(1) or tensor.shape[1] < 2:
        return tensor
    return torch.cat([tensor[:, :1], torch.zeros_like(tensor[:, 1:])], dim=1)


def _is_strided(case: Case) -> bool:
    return case.memory_layout is not MemoryLayout.CONTIGUOUS


MISREADINGS: tuple[tuple[str, str, Misread, int], ...] = (
    ("contiguous", "is read as if it were contiguous: its strides are ignored", _ignore_strides, 0),
    (
        "without-gaps",
        "is read as rows at equal distances: gaps in a larger tensor are ignored",
        _ignore_gaps,
        0,
    ),
    (
        "from-start",
        "is read from the start of its storage: its offset is ignored",
        _ignore_offset,
        0,
    ),
    (
        "contiguous-from-start",
        "is read as if it were contiguous and at the start of its storage",
        _ignore_both,
        1,
    ),
)


def _reads_garbage(case: Case) -> bool:
    return case.is_packed and _is_strided(case)


def _has_strided_states(case: Case) -> bool:
    return _is_strided(case) and has_h_0(case)


ARGUMENTS: tuple[
    tuple[str, str, Callable[[Misread], Callable[..., Any]], CaseTest, CaseTest], ...
] = (
    ("input", "the input", misread_input, _is_strided, _reads_garbage),
    ("initial", "h_0", misread_states, _has_strided_states, never),
)
"""Arguments whose memory may be misread: the named value, its name, and the wrong way to
read it."""


HYPOTHESES: tuple[Hypothesis, ...] = (
    *(
        Hypothesis(
            f"{name}.read-{key}",
            f"{shown} {text}",
            f"read {shown} by its strides and its offset, or call contiguous() first",
            ("layouts.memory-layout",),
            change_values({name: misread_as(misread)}),
            concerns,
            f"{name}.memory",
            rank,
            unclear,
        )
        for name, shown, misread_as, concerns, unclear in ARGUMENTS
        for key, text, misread, rank in MISREADINGS
    ),
    Hypothesis(
        "h_0.expanded-for-first-sample",
        "an h_0 that is expanded over the batch is used for the first sample only",
        "read h_0 by its strides, or call contiguous() first",
        ("layouts.memory-layout",),
        change_values({"initial": misread_states(_keep_first_if_expanded)}),
        lambda case: _has_strided_states(case) and case.is_batched,
        "h_0.samples",
        1,
    ),
)

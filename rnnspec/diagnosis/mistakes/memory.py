"""Mistakes with the memory of the arguments: their strides, and where they start."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from rnnspec.cases.axes import MemoryLayout
from rnnspec.cases.case import Case
from rnnspec.diagnosis.mistakes.hypothesis import Hypothesis
from rnnspec.diagnosis.mistakes.reference import Reference
from rnnspec.diagnosis.mistakes.situations import has_h_0

Misread = Callable[[Tensor], Tensor]


@dataclass
class Misreads(Reference):
    """The memory of input or h_0 is read in another way than its strides say."""

    misread: Misread = torch.clone
    input: bool = False
    h_0: bool = False

    def read_input(self) -> Tensor:
        given = self.given
        if not self.input:
            return super().read_input()
        raw = given.case.memory_layout.lay_out(given.raw_input.clone(), given.case.repeated_axis)
        read = self.misread(raw)
        if not given.case.is_batched:
            return read[:, None]
        return read.transpose(0, 1) if given.is_batch_first else read

    def arrange_initial(self) -> Tensor:
        right = super().arrange_initial()
        if not self.h_0:
            return right
        is_batched = self.given.case.is_batched
        raw = right.clone() if is_batched else right[:, 0].clone()
        read = self.misread(self.given.case.memory_layout.lay_out(raw, 1 if is_batched else None))
        return read if is_batched else read[:, None]


def _ignore_strides(tensor: Tensor) -> Tensor:
    size = tensor.untyped_storage().nbytes() // tensor.element_size()
    if tensor.is_contiguous() or size < tensor.storage_offset() + tensor.numel():
        return tensor
    strides = torch.empty(tensor.shape, device="meta").stride()
    return tensor.as_strided(tensor.shape, strides, tensor.storage_offset())


def _ignore_offset(tensor: Tensor) -> Tensor:
    return tensor.as_strided(tensor.shape, tensor.stride(), 0)


def _ignore_both(tensor: Tensor) -> Tensor:
    strides = torch.empty(tensor.shape, device="meta").stride()
    size = tensor.untyped_storage().nbytes() // tensor.element_size()
    return tensor.as_strided(tensor.shape, strides, 0) if size >= tensor.numel() else tensor


def _keep_first_if_expanded(tensor: Tensor) -> Tensor:
    if tensor.dim() < 3 or tensor.stride(1) or tensor.shape[1] < 2:
        return tensor
    return torch.cat([tensor[:, :1], torch.zeros_like(tensor[:, 1:])], dim=1)


def _is_strided(case: Case) -> bool:
    return case.memory_layout is not MemoryLayout.CONTIGUOUS


MISREADINGS: tuple[tuple[str, Misread, int], ...] = (
    ("is read as if it were contiguous: its strides are ignored", _ignore_strides, 0),
    ("is read from the start of its storage: its offset is ignored", _ignore_offset, 0),
    ("is read as if it were contiguous and at the start of its storage", _ignore_both, 1),
)


def _reads_garbage(case: Case) -> bool:
    return case.is_packed and _is_strided(case)


HYPOTHESES: tuple[Hypothesis, ...] = (
    *(
        Hypothesis(
            f"{name} {text}",
            f"read {name} by its strides and its offset, or call contiguous() first",
            ("layouts.memory-layout",),
            partial(Misreads, misread=misread, input=name == "the input", h_0=name == "h_0"),
            _is_strided
            if name == "the input"
            else (lambda case: _is_strided(case) and has_h_0(case)),
            f"memory of {name}",
            rank,
            _reads_garbage if name == "the input" else (lambda case: False),
        )
        for name in ("the input", "h_0")
        for text, misread, rank in MISREADINGS
    ),
    Hypothesis(
        "an h_0 that is expanded over the batch is used for the first sample only",
        "read h_0 by its strides, or call contiguous() first",
        ("layouts.memory-layout",),
        partial(Misreads, misread=_keep_first_if_expanded, h_0=True),
        lambda case: _is_strided(case) and has_h_0(case) and case.is_batched,
        "samples of h_0",
        1,
    ),
)

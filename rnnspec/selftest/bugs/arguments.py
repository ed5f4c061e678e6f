"""Planted bugs in the arguments of calls and constructors: their types, names and errors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnnspec.selftest.bugs.planted import Planted
from rnnspec.selftest.labels import seen_by


@seen_by("errors.dtype")
class IntegersConverted(Planted):
    """Input of integers or bools is silently converted to the dtype of the parameters, in every
    layout.
    """

    def check_dtype(self, input: Tensor) -> None:
        if input.is_floating_point() or input.is_complex():
            super().check_dtype(input)

    def compute(self, data: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
        return super().compute(data.to(self.parameter("weight_ih", 0, 0).dtype), *rest)

    def check_state_dtype(self, input: Tensor, hx: Tensor | None) -> None:
        """Accept every dtype."""


@seen_by("errors.h-0-rank-packed", packed_checks=True, narrow=True)
class FlatStateForPacked(Planted):
    """With packed input, a 2-D `h_0` is accepted and used for every sequence."""

    def forward_packed(self, input: Any, hx: Tensor | None) -> Any:
        if hx is not None and hx.dim() == 2:
            hx = hx.unsqueeze(1).expand(-1, int(input.batch_sizes[0]), -1)
        return super().forward_packed(input, hx)


@seen_by("errors.h-0-batch-unsorted", packed_checks=True, narrow=True)
class OneStateForUnsorted(Planted):
    """With packed input that is not sorted, an `h_0` for a single sequence is used for all
    sequences.
    """

    def forward_packed(self, input: Any, hx: Tensor | None) -> Any:
        is_single = hx is not None and hx.dim() == 3 and hx.size(1) == 1
        if hx is not None and is_single and input.sorted_indices is not None:
            hx = hx.expand(-1, int(input.batch_sizes[0]), -1)
        return super().forward_packed(input, hx)


@seen_by("errors.other-types", report="pytorch PR #107223")
class RankAsserted(Planted):
    """Input with a wrong number of dimensions raises AssertionError instead of ValueError."""

    def check_rank(self, input: Tensor) -> None:
        if input.dim() not in (2, 3):
            raise AssertionError(f"expected 2 or 3 dimensions, got {input.dim()}")


@seen_by("construction.refuses-sizes", report="pytorch PR #108853")
class LayersCheckedLate(Planted):
    """The constructor accepts a `num_layers` of 0 or less, and only the first call rejects it."""

    def check_sizes(self, **sizes: int) -> None:
        super().check_sizes(**{**sizes, "num_layers": max(1, sizes["num_layers"])})

    def forward(self, input: Any, hx: Tensor | None = None) -> Any:
        if self.num_layers < 1:
            raise ValueError(f"num_layers must be at least 1, got {self.num_layers}")
        return super().forward(input, hx)


@seen_by("construction.refuses-types", report="pytorch #136954")
class FlagsCheckedLate(Planted):
    """The constructor accepts any value for `bias` and `batch_first`, and only the first call
    rejects it.
    """

    def check_flags(self, **flags: bool) -> None:
        """Accept every value."""

    def forward(self, input: Any, hx: Tensor | None = None) -> Any:
        super().check_flags(bias=self.bias, batch_first=self.batch_first)
        return super().forward(input, hx)


@seen_by("construction.dropout-exception-type")
class DropoutAsserted(Planted):
    """A `dropout` below 0 or above 1 raises AssertionError instead of ValueError."""

    def check_dropout(self, dropout: float) -> None:
        if isinstance(dropout, (int, float)) and not 0 <= dropout <= 1:
            raise AssertionError(f"expected 0 <= dropout <= 1, got {dropout!r}")
        super().check_dropout(dropout)


@seen_by("construction.size-attributes")
class HiddenSizeCountsDirections(Planted):
    """The attribute `hidden_size` of a bidirectional layer holds the size of its output."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.hidden_size *= self.directions

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Compute with the right size."""
        self.hidden_size //= self.directions
        try:
            return super().forward(input, hx)
        finally:
            self.hidden_size *= self.directions


@seen_by("states.none", single_state=True)
class NoneRefused(Planted):
    """An initial state of None is treated as a tensor instead of a missing state."""

    def forward(self, input: Any, *states: Any, **named: Any) -> Any:
        given = [*states, *named.values()]
        return super().forward(input, *(state.clone() for state in given))


@seen_by("layouts.input-by-name", beyond_cells=True, single_state=True)
class FirstArgumentNamedX(Planted):
    """The first argument of a call is named `x`."""

    def forward(self, x: Any, hx: Tensor | None = None) -> Any:
        return super().forward(x, hx)


@seen_by("packed.indices")
class IndicesNarrowed(Planted):
    """The index tensors of the packed output are int32."""

    def to_packed(self, output: Tensor, input: Any) -> Any:
        indices = [
            None if index is None else index.int()
            for index in (input.sorted_indices, input.unsorted_indices)
        ]
        return torch.nn.utils.rnn.PackedSequence(output, input.batch_sizes, *indices)

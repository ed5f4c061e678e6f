"""Planted bugs that look like open refusals: errors that the layer raises by its own mistake."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnnspec.reference.values import change_values
from rnnspec.selftest.bugs.planted import Planted
from rnnspec.selftest.labels import seen_by


@seen_by("parameters.no-bias", report="pytorch #2515")
class NoBiasRaises(Planted):
    """With `bias=False`, the constructor raises TypeError, because it registers a bias of None as a
    parameter.
    """

    def create_parameters(self, device: Any, dtype: Any) -> None:
        super().create_parameters(device, dtype)
        if not self.bias:
            raise TypeError("cannot assign 'NoneType' object to parameter 'bias_ih_l0'")


@seen_by("directions.output-order directions.own-weights")
class InnerKeywordUnknown(Planted):
    """With `bidirectional=True`, the constructor raises TypeError, because it passes the keyword on
    to a cell that does not take it.
    """

    def create_parameters(self, device: Any, dtype: Any) -> None:
        if self.bidirectional:
            torch.nn.RNNCell(1, 1, bidirectional=True)  # type: ignore[call-arg]
        super().create_parameters(device, dtype)


@seen_by("dropout.scale dropout.place", narrow=True)
class MaskOfIntegers(Planted):
    """The dropout mask is drawn in an integer tensor, for which torch has no kernel."""

    changes = change_values({"mask": lambda mask: mask.long().uniform_()})


@seen_by("packed.output packed.returns-packed")
class PackedInHalf(Planted):
    """Packed data is converted to float16, for which the next kernel is not implemented."""

    def forward_packed(self, input: Any, hx: Tensor | None) -> Any:
        torch.nn.functional.pdist(input.data.detach().half())
        return super().forward_packed(input, hx)

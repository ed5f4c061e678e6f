"""Planted bugs that show in training programs: summed losses, and states that are not leaves."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnnspec.plain.call import Batches
from rnnspec.selftest.bugs.planted import Planted
from rnnspec.selftest.labels import seen_by


class ReadAsContiguous(torch.autograd.Function):
    """The identity, whose backward pass reads an expanded gradient as if it were contiguous.

    It reads zeros after the only number that an expanded gradient has in memory.
    """

    @staticmethod
    def forward(ctx: Any, data: Tensor) -> Tensor:
        return data.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        gradient = gradients[0]
        if any(gradient.stride()) or gradient.numel() == 1:
            return gradient
        memory = gradient.new_zeros(gradient.numel())
        memory[:1] = gradient.flatten()[:1]
        return memory.view(gradient.shape)


@seen_by(
    "gradients.summed-loss", report="ROCm/TransformerEngine PR #623", beyond_cells=True, narrow=True
)
class SummedLossReadOnce(Planted):
    """The backward pass reads the gradient of a sum, a single number expanded to the shape of the
    output, as if it were contiguous.
    """

    def compute(self, data: Tensor, sizes: Batches, start: Tensor | None) -> tuple[Tensor, Tensor]:
        output, h_n = super().compute(data, sizes, start)
        return ReadAsContiguous.apply(output), h_n


@seen_by("gradients.learned-state", report="norse/norse PR #131", narrow=True, single_state=True)
class ComputedStateDetached(Planted):
    """A state that is the result of another operation is detached."""

    def forward(
        self, input: Tensor | PackedSequence, hx: Tensor | None = None
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        return super().forward(input, hx if hx is None or hx.is_leaf else hx.detach())


@seen_by("gradients.across-calls", report="denizyuret/Knet.jl #408", single_state=True, narrow=True)
class CarriedStateDetached(Planted):
    """A unidirectional layer recognises a state that it returned, and detaches it."""

    def forward(
        self, input: Tensor | PackedSequence, hx: Tensor | None = None
    ) -> tuple[Tensor | PackedSequence, Tensor]:
        is_own = hx is not None and getattr(hx, "made_by", None) == id(self)
        output, h_n = super().forward(input, hx.detach() if is_own and hx is not None else hx)
        # An attribute of the layer could not be copied together with its graph.
        h_n.__dict__["made_by"] = None if self.bidirectional else id(self)
        return output, h_n


@seen_by(
    "gradients.detached-state", report="soumith/cudnn.torch #348", single_state=True, narrow=True
)
class LastStateKept(Planted):
    """The layer keeps its last `h_n`, and continues from it if the caller passes the same memory,
    detached or not.
    """

    def compute(self, data: Tensor, sizes: Batches, start: Tensor | None) -> tuple[Tensor, Tensor]:
        kept: Tensor | None = self.__dict__.get("kept")
        if start is not None and kept is not None and kept.data_ptr() == start.data_ptr():
            start = kept if kept.shape == start.shape else start
        output, h_n = super().compute(data, sizes, start)
        self.__dict__["kept"] = h_n if h_n.requires_grad else None
        return output, h_n

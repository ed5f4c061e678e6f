"""Planted bugs in what a call returns: the pair, its shapes, its dtype, the empty batch."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnnspec.plain.layer import Sizes
from rnnspec.selftest.bugs.planted import Planted, as_steps, is_ragged
from rnnspec.selftest.seen import seen_by


@seen_by("shapes.returns-pair", report="OpenNMT-py PR #126")
class StateInTuple(Planted):
    """`h_n` is returned inside a tuple."""

    single_state = True

    def forward(self, input: Tensor | PackedSequence, hx: Tensor | None = None) -> Any:
        output, h_n = super().forward(input, hx)
        return output, (h_n,)


@seen_by("shapes.output", report="sony/nnabla PR #444")
class ForwardHalfOnly(Planted):
    """The output of a bidirectional layer holds only the forward half."""

    beyond_cells = True

    def finish_output(self, data: Tensor, sizes: Sizes) -> Tensor:
        return data[:, : self.output_size].contiguous()


@seen_by("shapes.output", report="huggingface/candle PR #2542")
class StepsJoined(Planted):
    """The time steps of the output are joined along the features instead of stacked."""

    beyond_cells = True

    def unflatten(self, output: Tensor, length: int, batch: int) -> Tensor:
        return torch.cat(list(super().unflatten(output, length, batch)), dim=-1).unsqueeze(0)


@seen_by("shapes.h-n", report="keras #20173")
class StatesWithoutBatch(Planted):
    """`h_n` holds only the first sample and has no batch dimension."""

    def from_batched_states(self, h_n: Tensor, batched: bool) -> Tensor:
        return h_n[:, 0] if h_n.size(1) else h_n


@seen_by("shapes.h-n", report="facebookresearch/minimax PR #2")
class SingleStateSqueezed(Planted):
    """`h_n` of a single unidirectional layer lacks its first dimension."""

    def from_batched_states(self, h_n: Tensor, batched: bool) -> Tensor:
        states = super().from_batched_states(h_n, batched)
        return states.squeeze(0) if states.size(0) == 1 else states


@seen_by("shapes.h-n", report="PaddlePaddle/Paddle #23283")
class OneStateForBothDirections(Planted):
    """`h_n` of a bidirectional layer lacks the backward states."""

    beyond_cells = True

    def stack_states(self, states: list[Tensor]) -> Tensor:
        return super().stack_states(states[:: self.directions])


@seen_by("shapes.dtype", report="pytorch PR #187334")
class BfloatStateWidened(Planted):
    """In bfloat16, `h_n` is returned in float32."""

    narrow = True

    def stack_states(self, states: list[Tensor]) -> Tensor:
        stacked = super().stack_states(states)
        return stacked.float() if stacked.dtype == torch.bfloat16 else stacked


@seen_by("shapes.dtype", report="keras #15140")
class HalfStateWidened(Planted):
    """In float16, `h_n` is returned in float32."""

    narrow = True

    def stack_states(self, states: list[Tensor]) -> Tensor:
        stacked = super().stack_states(states)
        return stacked.float() if stacked.dtype == torch.float16 else stacked


@seen_by("shapes.empty-batch", report="pytorch PR #71696")
class EmptyBatchRefused(Planted):
    """An empty batch raises an error."""

    narrow = True

    def check_states(self, hx: Tensor | None, batch: int) -> None:
        super().check_states(hx, batch)
        if batch < 1:
            raise RuntimeError(f"the batch must have at least one sample, got {batch}")


@seen_by("shapes.output", "layouts.batch-first")
class BatchAndTimeExchanged(Planted):
    """With more than 32 time steps, the first two dimensions of the output are swapped."""

    beyond_cells = True
    narrow = True

    def finish_output(self, data: Tensor, sizes: Sizes) -> Tensor:
        if len(sizes) <= 32 or is_ragged(sizes):
            return data
        return as_steps(data, sizes).transpose(0, 1).reshape(data.shape)

    def unflatten(self, output: Tensor, length: int, batch: int) -> Tensor:
        return super().unflatten(output, *((batch, length) if length > 32 else (length, batch)))


@seen_by("shapes.h-n", report="timbmg/Sentence-VAE #35")
class StatesOfFourAxes(Planted):
    """`h_n` of a bidirectional layer has shape `(num_layers, 2, N, H)`."""

    beyond_cells = True

    def from_batched_states(self, h_n: Tensor, batched: bool) -> Tensor:
        states = super().from_batched_states(h_n, batched)
        return states.view(self.num_layers, 2, *states.shape[1:]) if self.bidirectional else states

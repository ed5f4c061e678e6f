"""Planted bugs in what comes back: the pair, its shapes, its dtype, the empty batch."""

# ruff: noqa: D102  (the class says what its one method does wrong)

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnnspec.selftest.bugs.planted import Planted, as_steps, is_ragged
from rnnspec.selftest.plain import Sizes


class StateInTuple(Planted):
    """The final state comes in a tuple of its own (OpenNMT-py PR #126); shapes.returns-pair sees it."""

    def forward(self, input: Tensor | PackedSequence, hx: Tensor | None = None) -> Any:
        output, h_n = super().forward(input, hx)
        return output, (h_n,)


class ForwardHalfOnly(Planted):
    """The output has H features in both cases, the forward direction's (sony/nnabla PR #444); shapes.output sees it."""

    def finish_output(self, data: Tensor, sizes: Sizes) -> Tensor:
        return data[:, : self.hidden_size].contiguous()


class StepsJoined(Planted):
    """The steps of a batch are joined along the features instead of stacked (huggingface/candle PR #2542); shapes.output sees it."""

    def unflatten(self, output: Tensor, length: int, batch: int) -> Tensor:
        return torch.cat(list(super().unflatten(output, length, batch)), dim=-1).unsqueeze(0)


class StatesWithoutBatch(Planted):
    """The final state is that of the first sample alone (keras #20173); shapes.h-n sees it."""

    def from_batched_states(self, h_n: Tensor, batched: bool) -> Tensor:
        return h_n[:, 0] if h_n.size(1) else h_n


class SingleStateSqueezed(Planted):
    """One layer in one direction returns its final state without the first axis (facebookresearch/minimax PR #2); shapes.h-n sees it."""

    def from_batched_states(self, h_n: Tensor, batched: bool) -> Tensor:
        states = super().from_batched_states(h_n, batched)
        return states.squeeze(0) if states.size(0) == 1 else states


class OneStateForBothDirections(Planted):
    """The final state is sized by the layers alone, without the backward direction (PaddlePaddle/Paddle #23283); shapes.h-n sees it."""

    def stack_states(self, states: list[Tensor]) -> Tensor:
        return super().stack_states(states[:: self.directions])


class BfloatStateWidened(Planted):
    """In bfloat16 the final state comes back in float32 (pytorch PR #187334); shapes.dtype sees it."""

    narrow = True

    def stack_states(self, states: list[Tensor]) -> Tensor:
        stacked = super().stack_states(states)
        return stacked.float() if stacked.dtype == torch.bfloat16 else stacked


class HalfStateWidened(Planted):
    """In float16 states are carried in float32 and come back so (keras #15140); shapes.dtype sees it."""

    narrow = True

    def stack_states(self, states: list[Tensor]) -> Tensor:
        stacked = super().stack_states(states)
        return stacked.float() if stacked.dtype == torch.float16 else stacked


class EmptyBatchRefused(Planted):
    """A batch without samples is an error (pytorch PR #71696); shapes.empty-batch sees it."""

    narrow = True

    def check_states(self, hx: Tensor | None, batch: int) -> None:
        super().check_states(hx, batch)
        if batch < 1:
            raise RuntimeError(f"the batch must have at least one sample, got {batch}")


class BatchAndTimeExchanged(Planted):
    """Above 32 steps the output has its first two axes exchanged; shapes.output sees it."""

    narrow = True

    def finish_output(self, data: Tensor, sizes: Sizes) -> Tensor:
        if len(sizes) <= 32 or is_ragged(sizes):
            return data
        return as_steps(data, sizes).transpose(0, 1).reshape(data.shape)

    def unflatten(self, output: Tensor, length: int, batch: int) -> Tensor:
        return super().unflatten(output, *((batch, length) if length > 32 else (length, batch)))


class StatesOfFourAxes(Planted):
    """In two directions the final state comes out as (L, D, N, H) (timbmg/Sentence-VAE #35); shapes.h-n sees it."""

    def from_batched_states(self, h_n: Tensor, batched: bool) -> Tensor:
        states = super().from_batched_states(h_n, batched)
        return states.view(self.num_layers, 2, *states.shape[1:]) if self.bidirectional else states

"""Planted bugs in what a call returns: the pair, its shapes, its dtype, the empty batch."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnnspec.plain.layer import Sizes
from rnnspec.selftest.bugs.planted import Planted, as_steps, is_ragged


class StateInTuple(Planted):
    """`h_n` is returned inside a tuple (OpenNMT-py PR #126); shapes.returns-pair sees it."""

    single_state = True

    def forward(self, input: Tensor | PackedSequence, hx: Tensor | None = None) -> Any:
        output, h_n = super().forward(input, hx)
        return output, (h_n,)


class ForwardHalfOnly(Planted):
    """The output of a bidirectional layer holds only the forward half (sony/nnabla PR #444);
    shapes.output sees it."""

    beyond_cells = True

    def finish_output(self, data: Tensor, sizes: Sizes) -> Tensor:
        return data[:, : self.output_size].contiguous()


class StepsJoined(Planted):
    """The time steps of the output are joined along the features instead of stacked
    (huggingface/candle PR #2542); shapes.output sees it."""

    beyond_cells = True

    def unflatten(self, output: Tensor, length: int, batch: int) -> Tensor:
        return torch.cat(list(super().unflatten(output, length, batch)), dim=-1).unsqueeze(0)


class StatesWithoutBatch(Planted):
    """`h_n` holds only the first sample and has no batch dimension (keras #20173);
    shapes.h-n sees it."""

    def from_batched_states(self, h_n: Tensor, batched: bool) -> Tensor:
        return h_n[:, 0] if h_n.size(1) else h_n


class SingleStateSqueezed(Planted):
    """`h_n` of a single unidirectional layer lacks its first dimension (facebookresearch/minimax PR
    #2); shapes.h-n sees it."""

    def from_batched_states(self, h_n: Tensor, batched: bool) -> Tensor:
        states = super().from_batched_states(h_n, batched)
        return states.squeeze(0) if states.size(0) == 1 else states


class OneStateForBothDirections(Planted):
    """`h_n` of a bidirectional layer lacks the backward states (PaddlePaddle/Paddle #23283);
    shapes.h-n sees it."""

    beyond_cells = True

    def stack_states(self, states: list[Tensor]) -> Tensor:
        return super().stack_states(states[:: self.directions])


class BfloatStateWidened(Planted):
    """In bfloat16, `h_n` is returned in float32 (pytorch PR #187334); shapes.dtype sees it."""

    narrow = True

    def stack_states(self, states: list[Tensor]) -> Tensor:
        stacked = super().stack_states(states)
        return stacked.float() if stacked.dtype == torch.bfloat16 else stacked


class HalfStateWidened(Planted):
    """In float16, `h_n` is returned in float32 (keras #15140); shapes.dtype sees it."""

    narrow = True

    def stack_states(self, states: list[Tensor]) -> Tensor:
        stacked = super().stack_states(states)
        return stacked.float() if stacked.dtype == torch.float16 else stacked


class EmptyBatchRefused(Planted):
    """An empty batch raises an error (pytorch PR #71696); shapes.empty-batch sees it."""

    narrow = True

    def check_states(self, hx: Tensor | None, batch: int) -> None:
        super().check_states(hx, batch)
        if batch < 1:
            raise RuntimeError(f"the batch must have at least one sample, got {batch}")


class BatchAndTimeExchanged(Planted):
    """With more than 32 time steps, the first two dimensions of the output are swapped;
    shapes.output or layouts.batch-first sees it."""

    beyond_cells = True
    narrow = True

    def finish_output(self, data: Tensor, sizes: Sizes) -> Tensor:
        if len(sizes) <= 32 or is_ragged(sizes):
            return data
        return as_steps(data, sizes).transpose(0, 1).reshape(data.shape)

    def unflatten(self, output: Tensor, length: int, batch: int) -> Tensor:
        return super().unflatten(output, *((batch, length) if length > 32 else (length, batch)))


class StatesOfFourAxes(Planted):
    """`h_n` of a bidirectional layer has shape `(num_layers, 2, N, H)` (timbmg/Sentence-VAE #35);
    shapes.h-n sees it."""

    beyond_cells = True

    def from_batched_states(self, h_n: Tensor, batched: bool) -> Tensor:
        states = super().from_batched_states(h_n, batched)
        return states.view(self.num_layers, 2, *states.shape[1:]) if self.bidirectional else states

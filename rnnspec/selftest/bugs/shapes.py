"""Planted bugs in the results of a call: the pair, its shapes, its dtype, the empty batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnnspec.reference.values import change_values
from rnnspec.selftest.bugs.planted import Planted, Planter, change_states
from rnnspec.selftest.labels import seen_by

plant = Planter(__name__)


@seen_by("shapes.returns-pair", report="OpenNMT-py PR #126", single_state=True)
class StateInTuple(Planted):
    """`h_n` is returned inside a tuple."""

    def forward(self, input: Tensor | PackedSequence, hx: Tensor | None = None) -> Any:
        output, h_n = super().forward(input, hx)
        return output, (h_n,)


ForwardHalfOnly = plant(
    "The output of a bidirectional layer holds only the forward half.",
    "shapes.output",
    {"output": lambda output, spot: output[..., : spot.module.output_size]},
    report="sony/nnabla PR #444",
    beyond_cells=True,
)


@seen_by("shapes.output", report="huggingface/candle PR #2542", beyond_cells=True)
class StepsJoined(Planted):
    """The time steps of the output are joined along the features instead of stacked."""

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


OneStateForBothDirections = plant(
    "`h_n` of a bidirectional layer lacks the backward states.",
    "shapes.h-n",
    change_states("final", lambda state, spot: state[:: spot.call.directions]),
    report="PaddlePaddle/Paddle #23283",
    beyond_cells=True,
)


def widen_from(dtype: torch.dtype, state: Tensor) -> Tensor:
    """Return states as float32 if they have a given dtype."""
    return state.float() if state.dtype == dtype else state


BfloatStateWidened = plant(
    "In bfloat16, `h_n` is returned in float32.",
    "shapes.dtype",
    change_states("final", lambda state: widen_from(torch.bfloat16, state)),
    report="pytorch PR #187334",
    narrow=True,
)
HalfStateWidened = plant(
    "In float16, `h_n` is returned in float32.",
    "shapes.dtype",
    change_states("final", lambda state: widen_from(torch.float16, state)),
    report="keras #15140",
    narrow=True,
)


@seen_by("shapes.empty-batch", report="pytorch PR #71696", narrow=True)
class EmptyBatchRefused(Planted):
    """An empty batch raises an error."""

    def check_states(self, hx: Tensor | None, batch: int) -> None:
        super().check_states(hx, batch)
        if batch < 1:
            raise RuntimeError(f"the batch must have at least one sample, got {batch}")


@seen_by("shapes.empty-batch", beyond_cells=True, narrow=True)
class EmptyBatchDivides(Planted):
    """With an empty batch, the gradients of the parameters are NaN: a mean over no sequence."""

    def check_states(self, hx: Tensor | None, batch: int) -> None:
        super().check_states(hx, batch)
        self.__dict__["batch"] = batch

    def parameter(self, kind: str, layer: int, direction: int) -> Tensor:
        found = super().parameter(kind, layer, direction)
        is_divided = self.__dict__.get("batch") == 0 and torch.is_grad_enabled()
        return found * torch.nan if is_divided else found


@seen_by("shapes.output layouts.batch-first", beyond_cells=True, narrow=True)
class BatchAndTimeExchanged(Planted):
    """With more than 32 time steps, the first two dimensions of the output are swapped."""

    changes = change_values(
        {"output": lambda output: output.transpose(0, 1).reshape(output.shape)}
    ).require(lambda spot: spot.steps > 32 and not spot.call.is_ragged)

    def unflatten(self, output: Tensor, length: int, batch: int) -> Tensor:
        return super().unflatten(output, *((batch, length) if length > 32 else (length, batch)))


@seen_by("shapes.h-n", report="timbmg/Sentence-VAE #35", beyond_cells=True)
class StatesOfFourAxes(Planted):
    """`h_n` of a bidirectional layer has shape `(num_layers, 2, N, H)`."""

    def from_batched_states(self, h_n: Tensor, batched: bool) -> Tensor:
        states = super().from_batched_states(h_n, batched)
        return states.view(self.num_layers, 2, *states.shape[1:]) if self.bidirectional else states


plant.name_classes(globals())

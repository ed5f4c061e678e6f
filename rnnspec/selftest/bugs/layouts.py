"""Planted bugs in layouts: `batch_first`, unbatched input, a batch of one, strides."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnnspec.selftest.bugs.planted import Planted, Planter, change_states
from rnnspec.selftest.labels import seen_by

plant = Planter(__name__)


@seen_by("layouts.batch-first shapes.output", report="pytorch #80306")
class OutputStaysTimeMajor(Planted):
    """With `batch_first`, the output has shape `(L, N, D * H)`."""

    def from_time_major(self, output: Tensor, batched: bool) -> Tensor:
        return output if batched else output.squeeze(1)


@seen_by("layouts.batch-first", report="pytorch PR #255", narrow=True)
class BatchFirstForOneLayer(Planted):
    """`batch_first` is ignored if there is more than one layer."""

    def __init__(self, *args: Any, **others: Any) -> None:
        super().__init__(*args, **others)
        self.batch_first = self.batch_first and self.num_layers == 1


@seen_by("layouts.batch-first", report="ixaxaar/pytorch-dnc #51")
class AlwaysBatchFirst(Planted):
    """`batch_first` is always treated as True."""

    def __init__(self, *args: Any, **others: Any) -> None:
        super().__init__(*args, **others)
        self.batch_first = True


@seen_by("layouts.batch-first", report="onnx/onnx #5218")
class ReshapedToTimeMajor(Planted):
    """With `batch_first`, batch and time are swapped by a reshape instead of a transpose."""

    def to_time_major(self, input: Tensor) -> Tensor:
        if input.dim() == 3 and self.batch_first:
            return input.reshape(input.size(1), input.size(0), input.size(2))
        return super().to_time_major(input)


@seen_by("layouts.batch-first", narrow=True)
class SquareTakenForBatchFirst(Planted):
    """If the batch size equals the sequence length, batch and time of the input are swapped."""

    def to_time_major(self, input: Tensor) -> Tensor:
        steps = super().to_time_major(input)
        return steps.transpose(0, 1) if steps.size(0) == steps.size(1) else steps


@seen_by("layouts.states-stay-layer-first", report="microsoft/onnxruntime #1607", narrow=True)
class InitialStateBatchFirst(Planted):
    """With `batch_first`, `h_0` is read as `(N, D * num_layers, H)`."""

    def to_batched_states(self, hx: Tensor, batched: bool) -> Tensor:
        states = super().to_batched_states(hx, batched)
        return states.transpose(0, 1) if batched and self.batch_first else states


@seen_by("layouts.states-stay-layer-first")
class FinalStateBatchFirst(Planted):
    """With `batch_first`, `h_n` has shape `(N, D * num_layers, H)`."""

    def from_batched_states(self, h_n: Tensor, batched: bool) -> Tensor:
        states = super().from_batched_states(h_n, batched)
        return states.transpose(0, 1) if batched and self.batch_first else states


@seen_by("layouts.unbatched", report="pytorch PR #70442", beyond_cells=True, narrow=True)
class UnbatchedSqueezedEverywhere(Planted):
    """With unbatched input, the output loses every dimension of size 1."""

    def from_time_major(self, output: Tensor, batched: bool) -> Tensor:
        return super().from_time_major(output, batched) if batched else output.squeeze()


@seen_by("layouts.unbatched")
class UnbatchedStateKeepsAxis(Planted):
    """With unbatched input, `h_n` has a batch dimension."""

    def from_batched_states(self, h_n: Tensor, batched: bool) -> Tensor:
        return h_n


@seen_by("layouts.unbatched", narrow=True)
class UnbatchedStateIgnored(Planted):
    """With unbatched input, `h_0` is replaced by zeros."""

    def to_batched_states(self, hx: Tensor, batched: bool) -> Tensor:
        states = super().to_batched_states(hx, batched)
        return states if batched else torch.zeros_like(states)


@seen_by("layouts.unbatched", beyond_cells=True, narrow=True)
class UnbatchedBackwardsInTime(Planted):
    """With `batch_first`, unbatched input is read from the last time step to the first."""

    def to_time_major(self, input: Tensor) -> Tensor:
        steps = super().to_time_major(input)
        return steps.flip(0) if input.dim() == 2 and self.batch_first else steps


@seen_by("layouts.batch-of-one", report="Maghoumi/JitGRU #2", beyond_cells=True)
class BatchOfOneSqueezed(Planted):
    """The output for a batch of one has no batch dimension."""

    def from_time_major(self, output: Tensor, batched: bool) -> Tensor:
        return super().from_time_major(output, batched and output.size(1) != 1)


@seen_by("layouts.memory-layout", narrow=True)
class StridesIgnored(Planted):
    """Non-contiguous input is read as if it were contiguous."""

    def to_time_major(self, input: Tensor) -> Tensor:
        return super().to_time_major(read_as_contiguous(input, int(input.storage_offset())))


@seen_by("layouts.memory-layout", report="pytorch #345", single_state=True, narrow=True)
class StateStridesIgnored(Planted):
    """A non-contiguous `h_0` is read as if it were contiguous."""

    def to_batched_states(self, hx: Tensor, batched: bool) -> Tensor:
        return super().to_batched_states(read_as_contiguous(hx, int(hx.storage_offset())), batched)


@seen_by("layouts.memory-layout", beyond_cells=True, narrow=True)
class GapsIgnored(Planted):
    """Rows of a part of a larger batch are read at equal distances, across the gaps."""

    def to_time_major(self, input: Tensor) -> Tensor:
        return super().to_time_major(read_without_gaps(input))


def read_without_gaps(tensor: Tensor) -> Tensor:
    """Return rows of the storage at equal distances, if the rows of the first slice have them."""
    if tensor.dim() < 3 or tensor.stride(2) != 1 or tensor.stride(0) < tensor.stride(1):
        return tensor
    between = int(tensor.stride(1))
    strides = (tensor.size(1) * between, between, 1)
    return tensor.as_strided(tensor.shape, strides, int(tensor.storage_offset()))


@seen_by("layouts.memory-layout", narrow=True)
class OffsetIgnored(Planted):
    """Input that is a slice of a larger tensor is read from the start of that tensor."""

    def to_time_major(self, input: Tensor) -> Tensor:
        return super().to_time_major(
            input.as_strided(input.shape, input.stride(), 0) if input.storage_offset() else input
        )


def read_as_contiguous(tensor: Tensor, offset: int) -> Tensor:
    """Return consecutive elements of the storage, starting at `offset`."""
    if (
        tensor.is_contiguous()
        or tensor.untyped_storage().nbytes() < (offset + tensor.numel()) * tensor.element_size()
    ):
        return tensor
    return tensor.as_strided(
        tensor.shape, torch.empty(tensor.shape, device="meta").stride(), offset
    )


@seen_by("layouts.memory-layout", report="allennlp #1486", single_state=True, narrow=True)
class StateOffsetIgnored(Planted):
    """An `h_0` that is a slice of a larger tensor is read from the start of that tensor."""

    def to_batched_states(self, hx: Tensor, batched: bool) -> Tensor:
        whole = hx.is_contiguous() and hx.storage_offset() > 0
        return super().to_batched_states(
            torch.as_strided(hx, hx.shape, hx.stride(), 0) if whole else hx, batched
        )


@seen_by(
    "layouts.memory-layout states.initial-state-used",
    report="fastai2 PR #141",
    single_state=True,
    narrow=True,
)
class ExpandedStateCut(Planted):
    """If `h_0` is expanded over the batch, only the first sample uses it."""

    def to_batched_states(self, hx: Tensor, batched: bool) -> Tensor:
        expanded = batched and hx.size(1) > 1 and hx.stride(1) == 0
        return (
            torch.cat([hx[:, :1], torch.zeros_like(hx[:, 1:])], 1)
            if expanded
            else super().to_batched_states(hx, batched)
        )


@seen_by("layouts.memory-layout", single_state=True, beyond_cells=True, narrow=True)
class ExpandedStateForEqualSamples(Planted):
    """If `h_0` is expanded over the batch, all samples get the output of the first."""

    def forward_tensor(self, input: Tensor, hx: Tensor | None) -> tuple[Tensor, Tensor]:
        output, states = super().forward_tensor(input, hx)
        if hx is None or hx.dim() < 3 or hx.size(1) < 2 or hx.stride(1):
            return output, states
        samples = 0 if self.batch_first else 1
        return output.narrow(samples, 0, 1).expand_as(output).clone(), states


@seen_by("layouts.memory-layout", beyond_cells=True, narrow=True)
class RepeatedStepComputedOnce(Planted):
    """If the input of several samples is expanded over time, all steps get the output of the
    first.
    """

    def forward_tensor(self, input: Tensor, hx: Tensor | None) -> tuple[Tensor, Tensor]:
        output, states = super().forward_tensor(input, hx)
        time = 1 if self.batch_first else 0
        if input.dim() < 3 or min(input.shape[:2]) < 2 or input.stride(time):
            return output, states
        return output.narrow(time, 0, 1).expand_as(output).clone(), states


# The gradient of the output is read in a wrong order, so whichever gradient is found wrong first
# identifies the bug as well as the gradients in the report.
@seen_by(
    "gradients.weights gradients.many-rows gradients.input",
    report="pytorch #54307",
    beyond_cells=True,
    narrow=True,
)
class GradientByMemoryOrder(Planted):
    """A gradient with its first two dimensions transposed in memory is read as if it were
    contiguous.
    """

    def unflatten(self, output: Tensor, length: int, batch: int) -> Tensor:
        result = super().unflatten(output, length, batch)
        if result.requires_grad:
            result.register_hook(read_by_memory_order)
        return result


def read_by_memory_order(gradient: Tensor) -> Tensor:
    """Return the elements in memory order if the first two dimensions are transposed in memory."""
    turned = gradient.transpose(0, 1)
    return (
        turned.reshape(gradient.shape)
        if turned.is_contiguous() and not gradient.is_contiguous()
        else gradient
    )


ChainedBatchFirstTurned = plant(
    "In a bidirectional stack with `batch_first`, `h_n` of the last layer is that of the layer "
    "below.",
    "states.h-n-is-last-output",
    change_states("final", lambda state: torch.cat([state[:-2], state[-4:-2]])),
    report="pytorch #72399",
    where=lambda spot: (
        spot.module.batch_first and spot.call.directions == 2 and spot.call.layers > 1
    ),
    beyond_cells=True,
    narrow=True,
)


@seen_by(
    "layouts.batch-first layouts.states-stay-layer-first",
    report="microsoft/DirectML #363",
    narrow=True,
)
class BatchFirstAloneFails(Planted):
    """In eval mode, a single unidirectional layer with `batch_first` raises an error."""

    def to_time_major(self, input: Tensor) -> Tensor:
        if (
            self.batch_first
            and input.dim() == 3
            and not self.training
            and (self.num_layers, self.directions) == (1, 1)
        ):
            raise RuntimeError("the parameter is incorrect")
        return super().to_time_major(input)


plant.name_classes(globals())

"""Planted bugs in packed sequences: their order, their indices, and where each sequence ends."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from rnnspec.plain.call import Here, LayerCall, LayerLoop
from rnnspec.reference.values import States
from rnnspec.selftest.bugs.planted import Planted, Planter, change_states, zero_after
from rnnspec.selftest.labels import seen_by

plant = Planter(__name__)


@seen_by("packed.returns-packed")
class ReturnsPadded(Planted):
    """Packed input returns a padded tensor instead of a packed sequence."""

    def forward(self, input: Tensor | PackedSequence, hx: Tensor | None = None) -> Any:
        output, h_n = super().forward(input, hx)
        return (
            pad_packed_sequence(output)[0] if isinstance(output, PackedSequence) else output
        ), h_n


@seen_by("packed.unsorted", report="pytorch PR #15225", narrow=True)
class GivenStatesNotSorted(Planted):
    """With unsorted packed sequences, `h_0` is not sorted to match them."""

    def sort_states(self, states: Tensor, indices: Tensor | None) -> Tensor:
        return states


@seen_by("packed.unsorted", narrow=True)
class FinalStatesStaySorted(Planted):
    """With unsorted packed sequences, `h_n` is returned in sorted order."""

    def unsort_states(self, states: Tensor, indices: Tensor | None) -> Tensor:
        return states


@seen_by("packed.unsorted", narrow=True)
class BackwardStatesStaySorted(Planted):
    """With unsorted packed sequences, `h_n` of the backward direction stays in sorted order."""

    def unsort_states(self, states: Tensor, indices: Tensor | None) -> Tensor:
        unsorted = super().unsort_states(states, indices).clone()
        if self.bidirectional:
            unsorted[1::2] = states[1::2]
        return unsorted


@seen_by("packed.unsorted", narrow=True)
class FinalStatesSortedTwice(Planted):
    """With unsorted packed sequences, `h_n` is permuted by `sorted_indices` instead of
    `unsorted_indices`.
    """

    def unsort_states(self, states: Tensor, indices: Tensor | None) -> Tensor:
        return states if indices is None else super().unsort_states(states, torch.argsort(indices))


@seen_by("packed.indices", narrow=True)
class IndicesLost(Planted):
    """The packed output has no `sorted_indices` and no `unsorted_indices`."""

    def to_packed(self, output: Tensor, input: PackedSequence) -> PackedSequence:
        return PackedSequence(output, input.batch_sizes)


@seen_by("packed.returns-packed", report="mlverse/torch #1156", narrow=True)
class IndicesNeeded(Planted):
    """Input packed with `enforce_sorted=True` raises an error."""

    def unsort_states(self, states: Tensor, indices: Tensor | None) -> Tensor:
        if indices is None:
            raise TypeError(f"the permutation must be a tensor, got {indices!r}")
        return super().unsort_states(states, indices)


def clear_padding(data: Tensor, spot: Here) -> Tensor:
    """Return data with zeros after the end of each sequence."""
    return spot.call.pad(spot.call.cut(data))


def run_padded(data: Tensor, first: States, spot: Here, shift: int = 0) -> tuple[Tensor, States]:
    """Return the results of a direction if all sequences are padded with zeros to the longest.

    Its input may be shifted by time steps.
    """
    padded, sizes = clear_padding(data, spot).roll(shift, dims=0), spot.call.sizes
    whole = LayerCall(spot.call.layer, padded.flatten(0, 1), sizes[:1] * len(sizes), None)
    return LayerLoop(whole).run_direction(padded, first, *spot.place)


def runs_backward(spot: Here) -> bool:
    """Return whether a direction runs backward over sequences of different lengths."""
    return spot.direction == 1 and spot.call.is_ragged


BackwardStartsInPadding = plant(
    "The backward direction starts in the padding of shorter sequences.",
    "packed.output",
    {"direction": lambda ran, data, first, spot: run_padded(data, first, spot)},
    report="onnx/onnx-tensorflow #342",
    where=runs_backward,
    narrow=True,
)


def end_in_padding(
    ran: tuple[Tensor, States], data: Tensor, first: States, spot: Here
) -> tuple[Tensor, States]:
    """Return the output of a direction and the states after the padding."""
    return ran[0], run_padded(data, first, spot)[1]


PaddingChangesBackwardState = plant(
    "The final state of the backward direction depends on the padding, although the output does "
    "not.",
    "packed.padding",
    {"direction": end_in_padding},
    report="keras #4192",
    where=runs_backward,
    narrow=True,
)
FinalStateAfterPadding = plant(
    "The final state of the forward direction is taken after the padding.",
    "packed.h-n packed.padding",
    {"direction": end_in_padding},
    report="espnet #1201",
    where=lambda spot: spot.direction == 0 and spot.call.is_ragged,
    narrow=True,
)
EndedSequencesForgotten = plant(
    "The final state of a sequence that ends before the longest one is zero.",
    "packed.h-n",
    change_states(
        "carried", lambda state, spot: zero_after(spot.call.sizes[spot.time], state, dim=0)
    ),
    narrow=True,
)
TiesExchanged = plant(
    "If the two shortest sequences have the same length, their final states are swapped.",
    "packed.h-n packed.padding",
    change_states("final", lambda rows: torch.cat([rows[:, :-2], rows[:, -2:].flip(1)], dim=1)),
    # if two sequences end together, no step has exactly a sequence less
    where=lambda spot: spot.call.is_ragged and spot.call.sizes[0] - 1 not in spot.call.sizes,
    narrow=True,
)
LastStepWithoutState = plant(
    "A time step that only the longest sequence has ignores the hidden state.",
    "packed.output",
    change_states("before", lambda state: state * 0),
    where=lambda spot: spot.call.sizes[spot.time] == 1 < spot.call.sizes[0],
    narrow=True,
)
BackwardStateForLongestOnly = plant(
    "The backward direction uses `h_0` for the longest sequences and zeros for the others.",
    "packed.output",
    change_states("first", lambda state, spot: zero_after(spot.call.sizes[-1], state, dim=0)),
    report="apache/mxnet #19323",
    where=runs_backward,
    narrow=True,
)
ReversedWholeBatch = plant(
    "The backward direction runs over the padded batch, with the input shifted by one time step.",
    "packed.output packed.padding",
    {"direction": lambda ran, data, first, spot: run_padded(data, first, spot, shift=1)},
    report="NervanaSystems/ngraph PR #3176",
    where=runs_backward,
    narrow=True,
)
PackedBackwardAsProcessed = plant(
    "With packed sequences of different lengths, the backward output is returned in the order in "
    "which it is computed.",
    "packed.output",
    {"steps.h": lambda h, spot: clear_padding(h, spot).flip(0)},
    report="webmachinelearning/webnn #801",
    where=runs_backward,
    narrow=True,
)
plant.name_classes(globals())

"""Planted bugs in packed sequences: their order, their indices, and where each one ends."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from rnnspec.plain.layer import Sizes
from rnnspec.selftest.bugs.planted import Planted, is_ragged, lengths, pad_steps, unpad_steps
from rnnspec.selftest.seen import seen_by


@seen_by("packed.returns-packed")
class ReturnsPadded(Planted):
    """Packed input returns a padded tensor instead of a packed sequence."""

    def forward(self, input: Tensor | PackedSequence, hx: Tensor | None = None) -> Any:
        output, h_n = super().forward(input, hx)
        return (
            pad_packed_sequence(output)[0] if isinstance(output, PackedSequence) else output
        ), h_n


@seen_by("packed.unsorted", report="pytorch PR #15225")
class GivenStatesNotSorted(Planted):
    """With unsorted packed sequences, `h_0` is not sorted to match them."""

    narrow = True

    def sort_states(self, states: Tensor, indices: Tensor | None) -> Tensor:
        return states


@seen_by("packed.unsorted")
class FinalStatesStaySorted(Planted):
    """With unsorted packed sequences, `h_n` is returned in sorted order."""

    narrow = True

    def unsort_states(self, states: Tensor, indices: Tensor | None) -> Tensor:
        return states


@seen_by("packed.unsorted")
class FinalStatesSortedTwice(Planted):
    """With unsorted packed sequences, `h_n` is permuted by `sorted_indices` instead of
    `unsorted_indices`.
    """

    narrow = True

    def unsort_states(self, states: Tensor, indices: Tensor | None) -> Tensor:
        return states if indices is None else super().unsort_states(states, torch.argsort(indices))


@seen_by("packed.indices")
class IndicesLost(Planted):
    """The packed output has no `sorted_indices` and no `unsorted_indices`."""

    narrow = True

    def to_packed(self, output: Tensor, input: PackedSequence) -> PackedSequence:
        return PackedSequence(output, input.batch_sizes)


@seen_by("packed.returns-packed", report="mlverse/torch #1156")
class IndicesNeeded(Planted):
    """Input packed with `enforce_sorted=True` raises an error."""

    narrow = True

    def unsort_states(self, states: Tensor, indices: Tensor | None) -> Tensor:
        if indices is None:
            raise TypeError(f"the permutation must be a tensor, got {indices!r}")
        return super().unsort_states(states, indices)


@seen_by("packed.output", report="onnx/onnx-tensorflow #342")
class BackwardStartsInPadding(Planted):
    """The backward direction starts in the padding of shorter sequences."""

    narrow = True

    def run_direction(
        self, data: Tensor, sizes: Sizes, h: Tensor, layer: int, direction: int
    ) -> tuple[Tensor, Tensor]:
        if not direction or not is_ragged(sizes):
            return super().run_direction(data, sizes, h, layer, direction)
        padded, state = super().run_direction(
            pad_steps(data, sizes), (sizes[0],) * len(sizes), h, layer, direction
        )
        return unpad_steps(padded, sizes), state


@seen_by("packed.padding", report="keras #4192")
class PaddingChangesBackwardState(Planted):
    """The final state of the backward direction depends on the padding, although the output does
    not.
    """

    narrow = True

    def run_direction(
        self, data: Tensor, sizes: Sizes, h: Tensor, layer: int, direction: int
    ) -> tuple[Tensor, Tensor]:
        output, state = super().run_direction(data, sizes, h, layer, direction)
        if not direction or not is_ragged(sizes):
            return output, state
        return output, super().run_direction(
            pad_steps(data, sizes), (sizes[0],) * len(sizes), h, layer, direction
        )[1]


@seen_by("packed.h-n", "packed.padding", report="espnet #1201")
class FinalStateAfterPadding(Planted):
    """The final state of the forward direction is taken after the padding."""

    narrow = True

    def run_direction(
        self, data: Tensor, sizes: Sizes, h: Tensor, layer: int, direction: int
    ) -> tuple[Tensor, Tensor]:
        output, state = super().run_direction(data, sizes, h, layer, direction)
        if direction or not is_ragged(sizes):
            return output, state
        return output, super().run_direction(
            pad_steps(data, sizes), (sizes[0],) * len(sizes), h, layer, direction
        )[1]


@seen_by("packed.h-n")
class EndedSequencesForgotten(Planted):
    """The final state of a sequence that ends before the longest one is zero."""

    narrow = True

    def advance(self, h: Tensor, new: Tensor) -> Tensor:
        return (
            new
            if new.size(0) == h.size(0)
            else torch.cat([new, torch.zeros_like(h[new.size(0) :])])
        )


@seen_by("packed.h-n", "packed.padding")
class TiesExchanged(Planted):
    """If the two shortest sequences have the same length, their final states are swapped."""

    narrow = True

    def run(self, data: Tensor, sizes: Sizes, h_0: Tensor) -> tuple[Tensor, Tensor]:
        output, h_n = super().run(data, sizes, h_0)
        ends = lengths(sizes)
        if not is_ragged(sizes) or ends[-1] != ends[-2]:
            return output, h_n
        return output, torch.cat([h_n[:, :-2], h_n[:, -2:].flip(1)], dim=1)


@seen_by("packed.output")
class LastStepWithoutState(Planted):
    """A time step that only the longest sequence has ignores the hidden state."""

    narrow = True

    def alive(self, h: Tensor, count: int) -> Tensor:
        state = super().alive(h, count)
        return state * 0 if count == 1 and h.size(0) > 1 else state


@seen_by("packed.output", report="apache/mxnet #19323")
class BackwardStateForLongestOnly(Planted):
    """The backward direction uses `h_0` for the longest sequences and zeros for the others."""

    narrow = True

    def run_direction(
        self, data: Tensor, sizes: Sizes, h: Tensor, layer: int, direction: int
    ) -> tuple[Tensor, Tensor]:
        if direction:
            h = torch.cat([h[: sizes[-1]], torch.zeros_like(h[sizes[-1] :])])
        return super().run_direction(data, sizes, h, layer, direction)


@seen_by("packed.output", "packed.padding", report="NervanaSystems/ngraph PR #3176")
class ReversedWholeBatch(Planted):
    """The backward direction runs over the padded batch, with the input shifted by one time
    step.
    """

    narrow = True

    def run_direction(
        self, data: Tensor, sizes: Sizes, h: Tensor, layer: int, direction: int
    ) -> tuple[Tensor, Tensor]:
        if not direction or not is_ragged(sizes):
            return super().run_direction(data, sizes, h, layer, direction)
        full = (sizes[0],) * len(sizes)
        padded = pad_steps(data, sizes).view(len(sizes), sizes[0], -1).roll(1, dims=0).flatten(0, 1)
        output, state = super().run_direction(padded, full, h, layer, direction)
        return unpad_steps(output, sizes), state


@seen_by("packed.output", report="webmachinelearning/webnn #801")
class PackedBackwardAsProcessed(Planted):
    """With packed sequences of different lengths, the backward output is returned in the order in
    which it is computed.
    """

    narrow = True

    def run_direction(
        self, data: Tensor, sizes: Sizes, h: Tensor, layer: int, direction: int
    ) -> tuple[Tensor, Tensor]:
        output, state = super().run_direction(data, sizes, h, layer, direction)
        if not direction or not is_ragged(sizes):
            return output, state
        steps = pad_steps(output, sizes).view(len(sizes), sizes[0], -1)
        return unpad_steps(steps.flip(0).flatten(0, 1), sizes), state

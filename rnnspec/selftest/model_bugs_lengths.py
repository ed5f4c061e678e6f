"""Models with a planted bug that are told the lengths of their sequences, or take a state."""

# ruff: noqa: D102  (the class docstring says what its methods do wrong)

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnspec.selftest.model_forms import UNITS, Classifier
from rnnspec.selftest.model_forms_states import OneSequence, StateAfter, StatesApart

BOTH: dict[str, Any] = {"batch_first": True, "bidirectional": True}
DEEP: dict[str, Any] = {"batch_first": True, "num_layers": 2}


class OfLengths(Classifier):
    """A correct classifier of packed batches, whose parts can be replaced one at a time."""

    def forward(self, tokens: Tensor, lengths: Tensor) -> Any:  # type: ignore[override]
        output, states = self.run(tokens, lengths)
        return self.scores(self.read(output, states, lengths))

    def run(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        packed = pack_padded_sequence(
            self.words(tokens), lengths, batch_first=True, enforce_sorted=False
        )
        output, states = self.encoder(packed)
        return pad_packed_sequence(output, batch_first=True)[0], states

    def read(self, output: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        return states[-1]

    def mask(self, output: Tensor, lengths: Tensor) -> Tensor:
        """Return (N, L, 1): whether a step belongs to its sequence."""
        steps = torch.arange(output.size(1), device=output.device)
        return (steps < lengths.to(output.device).unsqueeze(1)).unsqueeze(-1)


class LengthsNotUsed(OfLengths):
    """The batch is not packed although the lengths are known, so that h_n is the state after the
    padding;
    readout.padding sees it.
    """

    def run(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        output, states = self.encoder(self.words(tokens))
        return output, states


class LastOfPadded(OfLengths):
    """The last step of the padded output is read, which is zero in shorter sequences;
    readout.padding sees it.
    """

    def read(self, output: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        return output[:, -1]


class MeanOfPadded(OfLengths):
    """The mean of the padded output is divided by the number of all steps;
    readout.padding sees it.
    """

    def read(self, output: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        return output.mean(1)


class MaximumOfPadded(OfLengths):
    """The maximum of the padded output is never below the zeros of the padding;
    readout.padding sees it.
    """

    def read(self, output: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        return output.amax(1)


class AttentionWithoutMask(OfLengths):
    """The softmax of an attention runs over padded steps too; readout.padding sees it."""

    def __init__(self, outputs: int = 4) -> None:
        super().__init__(outputs)
        self.weigh = nn.Linear(self.units, 1)

    def read(self, output: Tensor, states: Tensor, lengths: Tensor) -> Any:
        return (self.weigh(output).softmax(1) * output).sum(1)


class MaskAfterSoftmax(AttentionWithoutMask):
    """The weights of padded steps are set to zero after the softmax, so that the rest does not sum
    to 1;
    readout.padding sees it.
    """

    def read(self, output: Tensor, states: Tensor, lengths: Tensor) -> Any:
        weights = self.weigh(output).softmax(1) * self.mask(output, lengths)
        return (weights * output).sum(1)


class StepBeforeTheLast(OfLengths):
    """The index of the last step is one too small; readout.complete sees it."""

    def read(self, output: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        return output[torch.arange(output.size(0)), (lengths - 2).clamp(min=0)]


class StepAfterTheLast(LengthsNotUsed):
    """The index of the last step is one too large, and cut at the end of the batch;
    readout.padding sees it.
    """

    def read(self, output: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        return output[torch.arange(output.size(0)), lengths.clamp(max=output.size(1) - 1)]


class SortedForPacking(OfLengths):
    """The samples are sorted for packing and never put back in order;
    model.samples-independent sees it.
    """

    def forward(self, tokens: Tensor, lengths: Tensor) -> Any:  # type: ignore[override]
        ordered, order = lengths.sort(descending=True, stable=True)
        return super().forward(tokens[order], ordered)


class RestoredTheWrongWay(OfLengths):
    """Sorted samples are indexed by the order once more, and not by its inverse;
    model.samples-independent sees it.
    """

    def forward(self, tokens: Tensor, lengths: Tensor) -> Any:  # type: ignore[override]
        ordered, order = lengths.sort(descending=True, stable=True)
        return super().forward(tokens[order], ordered)[order]


class LengthsOfOthers(OfLengths):
    """The lengths are sorted and the samples are not, so that a sample gets the length of another;
    readout.padding sees it.
    """

    def run(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return super().run(tokens, lengths.sort(descending=True).values)


class AtLeastFour(OfLengths):
    """Lengths below four are raised, so that shorter sequences end in padding;
    readout.padding sees it.
    """

    def run(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return super().run(tokens, lengths.clamp(min=min(4, tokens.size(1))))


class LongestForAll(OfLengths):
    """Every sequence is packed with the length of the longest one; readout.padding sees it."""

    def run(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return super().run(tokens, torch.full_like(lengths, int(lengths.max())))


class BackwardAtItsStart(OfLengths):
    """The output at each sequence's last step is read of both directions of a packed batch;
    readout.complete sees it.
    """

    settings: ClassVar[dict[str, Any]] = BOTH
    units: ClassVar[int] = 2 * UNITS

    def read(self, output: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        return output[torch.arange(output.size(0)), lengths - 1]


class LowerStateOfPacked(OfLengths):
    """`h_n[0]` of a packed stack is the state of the lower layer; readout.complete sees it."""

    settings: ClassVar[dict[str, Any]] = DEEP

    def read(self, output: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        return states[0]


class PackedStatesViewed(OfLengths):
    """`h_n.view(batch, -1)` of a packed batch puts states of different samples into one row;
    readout.samples sees it.
    """

    settings: ClassVar[dict[str, Any]] = BOTH
    units: ClassVar[int] = 2 * UNITS

    def read(self, output: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        return states.view(lengths.numel(), -1)


class PackedStatesPermuted(PackedStatesViewed):
    """h_n is permuted to (units, layers, batch) and flattened to rows of the batch;
    model.samples-independent sees it.
    """

    def read(self, output: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        return states.permute(2, 0, 1).reshape(lengths.numel(), -1)


class PackedWithoutGradient(OfLengths):
    """The embedding is detached before packing; model.gradients-reach sees it."""

    def run(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        embedded = self.words(tokens).detach()
        packed = pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
        output, states = self.encoder(packed)
        return pad_packed_sequence(output, batch_first=True)[0], states


class LabelsThroughPadding(LengthsNotUsed):
    """A tagger of both directions is not packed, so that the backward direction starts in the
    padding;
    readout.padding sees it.
    """

    settings: ClassVar[dict[str, Any]] = BOTH
    units: ClassVar[int] = 2 * UNITS

    def read(self, output: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        return output


class FirstStepWithState(StateAfter):
    """Step 0 is read of a layer that is given a state; readout.complete sees it."""

    def forward(self, tokens: Tensor, hidden: Tensor) -> Any:  # type: ignore[override]
        output, hidden = self.encoder(self.words(tokens), hidden)
        return self.scores(output[:, 0]), hidden


class LookingAhead(StateAfter):
    """A language model reads the sequence in reverse, and the outputs are not reversed back;
    model.causal sees it.
    """

    def forward(self, tokens: Tensor, hidden: Tensor) -> Any:  # type: ignore[override]
        return super().forward(tokens.flip(1), hidden)


class SoftmaxOverSamples(StatesApart):
    """The softmax runs over the samples of the batch; model.samples-independent sees it."""

    def forward(self, tokens: Tensor, h0: Tensor, c0: Tensor) -> Any:  # type: ignore[override]
        scores, hidden, cell = super().forward(tokens, h0, c0)
        return scores.softmax(0), hidden, cell


class ViewForTranspose(Classifier):
    """The output (L, N, H) is viewed as (N, L, H), where it should be transposed;
    readout.samples sees it.
    """

    settings: ClassVar[dict[str, Any]] = {}

    def forward(self, tokens: Tensor) -> Any:
        output, _ = self.encoder(self.words(tokens).transpose(0, 1))
        return self.scores(output.reshape(tokens.size(0), tokens.size(1), -1))


class LowerStateOfOne(OneSequence):
    """`h_n[0]` of a stack that takes one sequence without a batch; readout.complete sees it."""

    settings: ClassVar[dict[str, Any]] = {"num_layers": 2}

    def forward(self, sequence: Tensor) -> Any:
        if sequence.dim() != 2:
            raise ValueError("one sequence, please")
        return self.scores(self.encoder(sequence)[1][0])


class LastInDictionary(Classifier):
    """The scores in a dictionary are made from the last step of both directions;
    readout.complete sees it.
    """

    settings: ClassVar[dict[str, Any]] = BOTH
    units: ClassVar[int] = 2 * UNITS

    def forward(self, tokens: Tensor) -> Any:
        output, states = self.encoder(self.words(tokens))
        return {"logits": self.scores(output[:, -1]), "states": states}


BUGS: tuple[type[Classifier], ...] = (
    LengthsNotUsed,
    LastOfPadded,
    MeanOfPadded,
    MaximumOfPadded,
    AttentionWithoutMask,
    MaskAfterSoftmax,
    StepBeforeTheLast,
    StepAfterTheLast,
    SortedForPacking,
    RestoredTheWrongWay,
    LengthsOfOthers,
    AtLeastFour,
    LongestForAll,
    BackwardAtItsStart,
    LowerStateOfPacked,
    PackedStatesViewed,
    PackedStatesPermuted,
    PackedWithoutGradient,
    LabelsThroughPadding,
    FirstStepWithState,
    LookingAhead,
    SoftmaxOverSamples,
    ViewForTranspose,
    LowerStateOfOne,
    LastInDictionary,
)

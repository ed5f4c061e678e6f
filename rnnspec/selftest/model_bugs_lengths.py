"""Models with a planted bug that take the lengths of their sequences, or a state."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnspec.selftest.labels import seen_by
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
        """Return a mask (N, L, 1) of the steps that belong to their sequence."""
        steps = torch.arange(output.size(1), device=output.device)
        return (steps < lengths.to(output.device).unsqueeze(1)).unsqueeze(-1)


@seen_by("readout.padding")
class LengthsNotUsed(OfLengths):
    """The batch is not packed although the lengths are known, so that h_n is the state after the
    padding.
    """

    def run(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        output, states = self.encoder(self.words(tokens))
        return output, states


@seen_by("readout.padding")
class LastOfPadded(OfLengths):
    """The last step of the padded output is read, which is zero in shorter sequences."""

    def read(self, output: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        return output[:, -1]


@seen_by("readout.padding")
class MeanOfPadded(OfLengths):
    """The mean of the padded output is divided by the number of all steps."""

    def read(self, output: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        return output.mean(1)


@seen_by("readout.padding")
class MaximumOfPadded(OfLengths):
    """The maximum of the padded output is never below the zeros of the padding."""

    def read(self, output: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        return output.amax(1)


@seen_by("readout.padding")
class AttentionWithoutMask(OfLengths):
    """The softmax of an attention runs over padded steps too."""

    def __init__(self, outputs: int = 4) -> None:
        super().__init__(outputs)
        self.weigh = nn.Linear(self.units, 1)

    def read(self, output: Tensor, states: Tensor, lengths: Tensor) -> Any:
        return (self.weigh(output).softmax(1) * output).sum(1)


@seen_by("readout.padding")
class MaskAfterSoftmax(AttentionWithoutMask):
    """The weights of padded steps are set to zero after the softmax, so that the rest does not sum
    to 1.
    """

    def read(self, output: Tensor, states: Tensor, lengths: Tensor) -> Any:
        weights = self.weigh(output).softmax(1) * self.mask(output, lengths)
        return (weights * output).sum(1)


@seen_by("readout.complete")
class StepBeforeTheLast(OfLengths):
    """The index of the last step is one too small."""

    def read(self, output: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        return output[torch.arange(output.size(0)), (lengths - 2).clamp(min=0)]


@seen_by("readout.padding")
class StepAfterTheLast(LengthsNotUsed):
    """The index of the last step is one too large, and cut at the end of the batch."""

    def read(self, output: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        return output[torch.arange(output.size(0)), lengths.clamp(max=output.size(1) - 1)]


@seen_by("model.samples-independent")
class SortedForPacking(OfLengths):
    """The samples are sorted for packing and never put back in order."""

    def forward(self, tokens: Tensor, lengths: Tensor) -> Any:  # type: ignore[override]
        ordered, order = lengths.sort(descending=True, stable=True)
        return super().forward(tokens[order], ordered)


@seen_by("model.samples-independent")
class RestoredTheWrongWay(OfLengths):
    """Sorted samples are indexed by the order once more, instead of by its inverse."""

    def forward(self, tokens: Tensor, lengths: Tensor) -> Any:  # type: ignore[override]
        ordered, order = lengths.sort(descending=True, stable=True)
        return super().forward(tokens[order], ordered)[order]


@seen_by("readout.padding")
class LengthsOfOthers(OfLengths):
    """The lengths are sorted and the samples are not, so that a sample gets the length of
    another.
    """

    def run(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return super().run(tokens, lengths.sort(descending=True).values)


@seen_by("readout.padding")
class AtLeastFour(OfLengths):
    """Lengths below four are raised, so that shorter sequences end in padding."""

    def run(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return super().run(tokens, lengths.clamp(min=min(4, tokens.size(1))))


@seen_by("readout.padding")
class LongestForAll(OfLengths):
    """Every sequence is packed with the length of the longest sequence."""

    def run(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        return super().run(tokens, torch.full_like(lengths, int(lengths.max())))


@seen_by("readout.complete")
class BackwardAtItsStart(OfLengths):
    """In a packed batch, both directions of the output are read at each sequence's last step."""

    settings: ClassVar[dict[str, Any]] = BOTH
    units: ClassVar[int] = 2 * UNITS

    def read(self, output: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        return output[torch.arange(output.size(0)), lengths - 1]


@seen_by("readout.complete")
class LowerStateOfPacked(OfLengths):
    """`h_n[0]` of a packed stack is the state of the lower layer."""

    settings: ClassVar[dict[str, Any]] = DEEP

    def read(self, output: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        return states[0]


@seen_by("readout.samples")
class PackedStatesViewed(OfLengths):
    """`h_n.view(batch, -1)` of a packed batch puts states of different samples into one row."""

    settings: ClassVar[dict[str, Any]] = BOTH
    units: ClassVar[int] = 2 * UNITS

    def read(self, output: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        return states.view(lengths.numel(), -1)


@seen_by("model.samples-independent")
class PackedStatesPermuted(PackedStatesViewed):
    """h_n is permuted to (units, layers, batch) and flattened to rows of the batch."""

    def read(self, output: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        return states.permute(2, 0, 1).reshape(lengths.numel(), -1)


@seen_by("model.gradients-reach")
class PackedWithoutGradient(OfLengths):
    """The embedding is detached before packing."""

    def run(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        embedded = self.words(tokens).detach()
        packed = pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
        output, states = self.encoder(packed)
        return pad_packed_sequence(output, batch_first=True)[0], states


@seen_by("readout.padding")
class LabelsThroughPadding(LengthsNotUsed):
    """A bidirectional tagger does not pack its input, so that the backward direction starts in the
    padding.
    """

    settings: ClassVar[dict[str, Any]] = BOTH
    units: ClassVar[int] = 2 * UNITS

    def read(self, output: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        return output


@seen_by("readout.complete")
class FirstStepWithState(StateAfter):
    """The output at step 0 is read from a layer that takes a state."""

    def forward(self, tokens: Tensor, hidden: Tensor) -> Any:  # type: ignore[override]
        output, hidden = self.encoder(self.words(tokens), hidden)
        return self.scores(output[:, 0]), hidden


@seen_by("model.causal")
class LookingAhead(StateAfter):
    """A language model reads the sequence in reverse, and the outputs are not reversed back."""

    def forward(self, tokens: Tensor, hidden: Tensor) -> Any:  # type: ignore[override]
        return super().forward(tokens.flip(1), hidden)


@seen_by("model.samples-independent")
class SoftmaxOverSamples(StatesApart):
    """The softmax runs over the samples of the batch."""

    def forward(self, tokens: Tensor, h0: Tensor, c0: Tensor) -> Any:  # type: ignore[override]
        scores, hidden, cell = super().forward(tokens, h0, c0)
        return scores.softmax(0), hidden, cell


@seen_by("readout.samples")
class ViewForTranspose(Classifier):
    """The output (L, N, H) is viewed as (N, L, H), where it should be transposed."""

    settings: ClassVar[dict[str, Any]] = {}

    def forward(self, tokens: Tensor) -> Any:
        output, _ = self.encoder(self.words(tokens).transpose(0, 1))
        return self.scores(output.reshape(tokens.size(0), tokens.size(1), -1))


@seen_by("readout.complete")
class LowerStateOfOne(OneSequence):
    """`h_n[0]` of a stack that takes a single sequence without a batch is read."""

    settings: ClassVar[dict[str, Any]] = {"num_layers": 2}

    def forward(self, sequence: Tensor) -> Any:
        if sequence.dim() != 2:
            raise ValueError("one sequence, please")
        return self.scores(self.encoder(sequence)[1][0])


@seen_by("readout.complete")
class LastInDictionary(Classifier):
    """The scores in a dictionary are made from the last step of both directions."""

    settings: ClassVar[dict[str, Any]] = BOTH
    units: ClassVar[int] = 2 * UNITS

    def forward(self, tokens: Tensor) -> Any:
        output, states = self.encoder(self.words(tokens))
        return {"logits": self.scores(output[:, -1]), "states": states}

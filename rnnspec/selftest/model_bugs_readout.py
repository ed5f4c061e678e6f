"""Models that read the wrong part of their recurrent layer's results, or the wrong sample."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rnnspec.selftest.labels import seen_by
from rnnspec.selftest.model_plain import EMBEDDING, HIDDEN, EveryStep, LastStep, Padded

BOTH = {"bidirectional": True}
DEEP = {"num_layers": 2}


@seen_by("readout.complete")
class LastOfBothDirections(LastStep, options=BOTH, width=2 * HIDDEN):
    """The model reads the last step of a bidirectional layer, where the backward half has seen only
    the last id.
    """


@seen_by("readout.complete")
class LastOfBothDirectionsDeep(LastOfBothDirections, options={**BOTH, **DEEP}):
    """The model reads the last step of a bidirectional stack, where the top layer's backward
    recurrence has no effect.
    """


@seen_by("readout.complete")
class LastOfBothDirectionsGRU(LastOfBothDirections, layer=nn.GRU):
    """The model reads the last step of a bidirectional GRU."""


@seen_by("readout.complete")
class LastOfBothDirectionsLSTM(LastOfBothDirectionsDeep, layer=nn.LSTM):
    """The model reads the last step of a bidirectional stack of LSTM layers."""


@seen_by("readout.complete")
class FirstOfBothDirections(LastOfBothDirections):
    """The model reads step 0 of a bidirectional layer, where the forward half has seen only the
    first id.
    """

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return output[:, 0]


@seen_by("readout.complete")
class FirstStep(LastStep):
    """The model reads step 0 of a unidirectional layer, which has seen only the first id."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return output[:, 0]


@seen_by("readout.complete")
class FirstLayerState(LastStep, options=DEEP):
    """The model reads `h_n[0]` of a stack of two layers, which is the state of the lower layer."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return states[0]


@seen_by("readout.complete")
class OneDirectionState(LastStep, options=BOTH):
    """The model reads `h_n[-1]` of a bidirectional layer, which is the backward direction only."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return states[-1]


@seen_by("readout.complete")
class StatesUnpackedAsPair(LastStep, layer=nn.GRU, options=BOTH):
    """The h_n of a bidirectional GRU is unpacked as `(h, c)`, so that `h` is the forward direction
    only.
    """

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        hidden: Tensor = states[0]
        return hidden


@seen_by("readout.complete")
class ForwardHalfOnly(EveryStep, options=BOTH):
    """The model reads only the forward half of a bidirectional layer's output."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return output[..., :HIDDEN]


@seen_by("readout.complete")
class FirstThreeIds(LastStep):
    """The model reads only the first three ids, which was once the whole sequence."""

    def embed(self, tokens: Tensor) -> Tensor:
        return super().embed(tokens[:, :3])


@seen_by("readout.samples")
class StatesViewed(LastStep, options=BOTH, width=2 * HIDDEN):
    """`h_n.view(batch, -1)` puts states of different samples into one row."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return states.view(output.size(0), -1)


@seen_by("readout.samples")
class AlongTheBatch(LastStep, options={"batch_first": False}):
    """`batch_first` is missing, so that the layer runs along the batch."""


@seen_by("readout.samples")
class AlongTheBatchEveryStep(EveryStep, options={"batch_first": False}):
    """`batch_first` is missing in a model that predicts at every step."""

    given: ClassVar[dict[str, Any]] = {"batch_first": True}


@seen_by("readout.samples")
class RolledOutput(LastStep):
    """The output is shifted by a sample, as if sorted samples were not put back in order."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return super().read(output.roll(1, 0), states)


@seen_by("model.samples-independent")
class SoftmaxOverBatch(LastStep):
    """The softmax runs over the batch axis."""

    def predict(self, features: Tensor) -> Tensor:
        return super().predict(features).softmax(0)


@seen_by("model.samples-independent")
class CentredOverBatch(LastStep):
    """The embedded batch is centred by its mean over the samples."""

    def embed(self, tokens: Tensor) -> Tensor:
        embedded = super().embed(tokens)
        return embedded - embedded.mean(0, keepdim=True)


@seen_by("model.samples-independent")
class SortedByLength(Padded):
    """The samples are sorted by length for the layer and never put back in order."""

    def forward(self, tokens: Tensor) -> Tensor:
        order = self.lengths(tokens).argsort(descending=True, stable=True)
        return super().forward(tokens[order])


@seen_by("model.samples-in-training")
class MixedInTraining(LastStep):
    """A random part of the mean over the samples is added, in training mode only."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        features = super().read(output, states)
        mean = features.mean(0, keepdim=True)
        return features + torch.rand(()).to(mean) * mean if self.training else features


@seen_by("readout.padding")
class LastIsPadding(Padded):
    """The model reads the last step of a padded batch, which is padding in shorter sequences."""

    def read_until(self, output: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        return output[:, -1]


@seen_by("readout.padding")
class MeanOverPadding(Padded):
    """The mean over the steps includes padded steps."""

    def read_until(self, output: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        return output.mean(1)


@seen_by("readout.padding")
class StatesAfterPadding(Padded):
    """The batch is not packed, so that h_n is the state after the padding."""

    def read_until(self, output: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        return states[-1]


@seen_by("readout.padding")
class BackwardThroughPadding(Padded, options=BOTH, width=2 * HIDDEN):
    """The batch is not packed, so that the backward direction starts in the padding."""

    def read_until(self, output: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        forward = super().read_until(output, states, lengths)[:, :HIDDEN]
        return torch.cat([forward, output[:, 0, HIDDEN:]], dim=-1)


@seen_by("readout.parameters")
class NeverUsed(LastStep):
    """No prediction uses a linear layer that the model has."""

    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(EMBEDDING, HIDDEN)

"""Models with a planted bug in what they read from their recurrent layer, or from which sample."""

# ruff: noqa: D102  (the class docstring says what its methods do wrong)

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rnnspec.selftest.model_plain import EMBEDDING, HIDDEN, EveryStep, LastStep, Layer, Padded

BOTH = {"bidirectional": True}
DEEP = {"num_layers": 2}


class LastOfBothDirections(LastStep):
    """The model reads the last step of a bidirectional layer, where the backward half has seen only
    the last id;
    readout.complete sees it.
    """

    options: ClassVar[dict[str, Any]] = BOTH
    width: ClassVar[int] = 2 * HIDDEN


class LastOfBothDirectionsDeep(LastOfBothDirections):
    """The model reads the last step of a bidirectional stack, where the top layer's backward
    recurrence has no effect;
    readout.complete sees it.
    """

    options: ClassVar[dict[str, Any]] = {**BOTH, **DEEP}


class LastOfBothDirectionsGRU(LastOfBothDirections):
    """The model reads the last step of a bidirectional GRU; readout.complete sees it."""

    layer: ClassVar[Layer] = nn.GRU


class LastOfBothDirectionsLSTM(LastOfBothDirectionsDeep):
    """The model reads the last step of a bidirectional stack of LSTM layers;
    readout.complete sees it.
    """

    layer: ClassVar[Layer] = nn.LSTM


class FirstOfBothDirections(LastOfBothDirections):
    """The model reads step 0 of a bidirectional layer, where the forward half has seen only the
    first id;
    readout.complete sees it.
    """

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return output[:, 0]


class FirstStep(LastStep):
    """The model reads step 0 of a unidirectional layer, which has seen only the first id;
    readout.complete sees it.
    """

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return output[:, 0]


class FirstLayerState(LastStep):
    """The model reads `h_n[0]` of a stack of two layers, which is the state of the lower layer;
    readout.complete sees it.
    """

    options: ClassVar[dict[str, Any]] = DEEP

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return states[0]


class OneDirectionState(LastStep):
    """The model reads `h_n[-1]` of a bidirectional layer, which is the backward direction only;
    readout.complete sees it.
    """

    options: ClassVar[dict[str, Any]] = BOTH

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return states[-1]


class StatesUnpackedAsPair(LastStep):
    """The h_n of a bidirectional GRU is unpacked as `(h, c)`, so that `h` is the forward direction
    only;
    readout.complete sees it.
    """

    layer: ClassVar[Layer] = nn.GRU
    options: ClassVar[dict[str, Any]] = BOTH

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        hidden: Tensor = states[0]
        return hidden


class ForwardHalfOnly(EveryStep):
    """The model reads only the forward half of a bidirectional layer's output;
    readout.complete sees it.
    """

    options: ClassVar[dict[str, Any]] = BOTH

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return output[..., :HIDDEN]


class FirstThreeIds(LastStep):
    """The model reads only the first three ids, which was once the whole sequence;
    readout.complete sees it.
    """

    def embed(self, tokens: Tensor) -> Tensor:
        return super().embed(tokens[:, :3])


class StatesViewed(LastStep):
    """`h_n.view(batch, -1)` puts states of different samples into one row;
    readout.samples sees it.
    """

    options: ClassVar[dict[str, Any]] = BOTH
    width: ClassVar[int] = 2 * HIDDEN

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return states.view(output.size(0), -1)


class AlongTheBatch(LastStep):
    """`batch_first` is missing, so that the layer runs along the batch; readout.samples sees it."""

    options: ClassVar[dict[str, Any]] = {"batch_first": False}


class AlongTheBatchEveryStep(EveryStep):
    """`batch_first` is missing in a model that predicts at every step; readout.samples sees it."""

    given: ClassVar[dict[str, Any]] = {"batch_first": True}
    options: ClassVar[dict[str, Any]] = {"batch_first": False}


class RolledOutput(LastStep):
    """The output is shifted by one sample, as if sorted samples were not put back in order;
    readout.samples sees it.
    """

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return super().read(output.roll(1, 0), states)


class SoftmaxOverBatch(LastStep):
    """The softmax runs over the batch axis; model.samples-independent sees it."""

    def predict(self, features: Tensor) -> Tensor:
        return super().predict(features).softmax(0)


class CentredOverBatch(LastStep):
    """The embedded batch is centred by its mean over the samples;
    model.samples-independent sees it.
    """

    def embed(self, tokens: Tensor) -> Tensor:
        embedded = super().embed(tokens)
        return embedded - embedded.mean(0, keepdim=True)


class SortedByLength(Padded):
    """The samples are sorted by length for the layer and never put back in order;
    model.samples-independent sees it.
    """

    def forward(self, tokens: Tensor) -> Tensor:
        order = self.lengths(tokens).argsort(descending=True, stable=True)
        return super().forward(tokens[order])


class MixedInTraining(LastStep):
    """A random part of the mean over the samples is added, in training mode only;
    model.samples-in-training sees it.
    """

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        features = super().read(output, states)
        mean = features.mean(0, keepdim=True)
        return features + torch.rand(()).to(mean) * mean if self.training else features


class LastIsPadding(Padded):
    """The model reads the last step of a padded batch, which is padding in shorter sequences;
    readout.padding sees it.
    """

    def read_until(self, output: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        return output[:, -1]


class MeanOverPadding(Padded):
    """The mean over the steps includes padded steps; readout.padding sees it."""

    def read_until(self, output: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        return output.mean(1)


class StatesAfterPadding(Padded):
    """The batch is not packed, so that h_n is the state after the padding;
    readout.padding sees it.
    """

    def read_until(self, output: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        return states[-1]


class BackwardThroughPadding(Padded):
    """The batch is not packed, so that the backward direction starts in the padding;
    readout.padding sees it.
    """

    options: ClassVar[dict[str, Any]] = BOTH
    width: ClassVar[int] = 2 * HIDDEN

    def read_until(self, output: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        forward = super().read_until(output, states, lengths)[:, :HIDDEN]
        return torch.cat([forward, output[:, 0, HIDDEN:]], dim=-1)


class NeverUsed(LastStep):
    """No prediction uses one of the linear layers; readout.parameters sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(EMBEDDING, HIDDEN)


BUGS: tuple[type[LastStep], ...] = (
    LastOfBothDirections,
    LastOfBothDirectionsDeep,
    LastOfBothDirectionsGRU,
    LastOfBothDirectionsLSTM,
    FirstOfBothDirections,
    FirstStep,
    FirstLayerState,
    OneDirectionState,
    StatesUnpackedAsPair,
    ForwardHalfOnly,
    FirstThreeIds,
    StatesViewed,
    AlongTheBatch,
    AlongTheBatchEveryStep,
    RolledOutput,
    SoftmaxOverBatch,
    CentredOverBatch,
    SortedByLength,
    MixedInTraining,
    LastIsPadding,
    MeanOverPadding,
    StatesAfterPadding,
    BackwardThroughPadding,
    NeverUsed,
)

"""Models with a planted bug in what they read of their recurrent layer, and of which sample."""

# ruff: noqa: D102  (the class says what its methods do wrong)

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rnnspec.selftest.model_plain import EMBEDDING, HIDDEN, EveryStep, LastStep, Layer, Padded

BOTH = {"bidirectional": True}
DEEP = {"num_layers": 2}


class LastOfBothDirections(LastStep):
    """The last step of one bidirectional layer, whose backward half has read the last id alone; readout.complete sees it."""

    options: ClassVar[dict[str, Any]] = BOTH
    width: ClassVar[int] = 2 * HIDDEN


class LastOfBothDirectionsDeep(LastOfBothDirections):
    """The last step of a bidirectional stack, whose top backward recurrence takes no part; readout.complete sees it."""

    options: ClassVar[dict[str, Any]] = {**BOTH, **DEEP}


class LastOfBothDirectionsGRU(LastOfBothDirections):
    """The last step of a bidirectional GRU; readout.complete sees it."""

    layer: ClassVar[Layer] = nn.GRU


class LastOfBothDirectionsLSTM(LastOfBothDirectionsDeep):
    """The last step of a bidirectional stack of LSTM layers; readout.complete sees it."""

    layer: ClassVar[Layer] = nn.LSTM


class FirstOfBothDirections(LastOfBothDirections):
    """Step 0 of a bidirectional layer, whose forward half has read the first id alone; readout.complete sees it."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return output[:, 0]


class FirstStep(LastStep):
    """The output at step 0 of a layer of one direction, which has read one id; readout.complete sees it."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return output[:, 0]


class FirstLayerState(LastStep):
    """h_n[0] of a stack of two layers is the state of the lower one; readout.complete sees it."""

    options: ClassVar[dict[str, Any]] = DEEP

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return states[0]


class OneDirectionState(LastStep):
    """h_n[-1] of a bidirectional layer is its backward direction alone; readout.complete sees it."""

    options: ClassVar[dict[str, Any]] = BOTH

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return states[-1]


class StatesUnpackedAsPair(LastStep):
    """A bidirectional GRU's h_n is unpacked as (h, c): h is the forward direction alone; readout.complete sees it."""

    layer: ClassVar[Layer] = nn.GRU
    options: ClassVar[dict[str, Any]] = BOTH

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        hidden: Tensor = states[0]
        return hidden


class ForwardHalfOnly(EveryStep):
    """Of a bidirectional layer only the forward half of the output is read; readout.complete sees it."""

    options: ClassVar[dict[str, Any]] = BOTH

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return output[..., :HIDDEN]


class FirstThreeIds(LastStep):
    """Only the first three ids are read, a length that was right once; readout.complete sees it."""

    def embed(self, tokens: Tensor) -> Tensor:
        return super().embed(tokens[:, :3])


class StatesViewed(LastStep):
    """h_n.view(batch, -1) puts states of different samples side by side; readout.samples sees it."""

    options: ClassVar[dict[str, Any]] = BOTH
    width: ClassVar[int] = 2 * HIDDEN

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return states.view(output.size(0), -1)


class AlongTheBatch(LastStep):
    """batch_first forgotten: the layer runs along the batch; readout.samples sees it."""

    options: ClassVar[dict[str, Any]] = {"batch_first": False}


class AlongTheBatchEveryStep(EveryStep):
    """batch_first forgotten in a model that predicts every step; readout.samples sees it."""

    options: ClassVar[dict[str, Any]] = {"batch_first": False}


class RolledOutput(LastStep):
    """The output is rolled by one sample, as after sorting without sorting back; readout.samples sees it."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return super().read(output.roll(1, 0), states)


class SoftmaxOverBatch(LastStep):
    """softmax over the batch axis; model.samples-independent sees it."""

    def predict(self, features: Tensor) -> Tensor:
        return super().predict(features).softmax(0)


class CentredOverBatch(LastStep):
    """The embedded batch is centred by its own mean; model.samples-independent sees it."""

    def embed(self, tokens: Tensor) -> Tensor:
        embedded = super().embed(tokens)
        return embedded - embedded.mean(0, keepdim=True)


class SortedByLength(Padded):
    """The samples are sorted by length for the layer and never sorted back; model.samples-independent sees it."""

    def forward(self, tokens: Tensor) -> Tensor:
        order = self.lengths(tokens).argsort(descending=True, stable=True)
        return super().forward(tokens[order])


class BatchNormalised(LastStep):
    """BatchNorm over the features: in training a sample's prediction depends on the others; model.samples-in-training sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(HIDDEN)

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        normalised: Tensor = self.norm(super().read(output, states))
        return normalised


class LastIsPadding(Padded):
    """The last step of a padded batch is padding; readout.padding sees it."""

    def read_until(self, output: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        return output[:, -1]


class MeanOverPadding(Padded):
    """The mean over the steps takes the padded ones in; readout.padding sees it."""

    def read_until(self, output: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        return output.mean(1)


class StatesAfterPadding(Padded):
    """h_n of a batch that was not packed has run on through the padding; readout.padding sees it."""

    def read_until(self, output: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        return states[-1]


class BackwardThroughPadding(Padded):
    """The backward direction of a batch that was not packed starts in the padding; readout.padding sees it."""

    options: ClassVar[dict[str, Any]] = BOTH
    width: ClassVar[int] = 2 * HIDDEN

    def read_until(self, output: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        forward = super().read_until(output, states, lengths)[:, :HIDDEN]
        return torch.cat([forward, output[:, 0, HIDDEN:]], dim=-1)


class NeverUsed(LastStep):
    """A linear layer that no prediction uses; readout.parameters sees it."""

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
    BatchNormalised,
    LastIsPadding,
    MeanOverPadding,
    StatesAfterPadding,
    BackwardThroughPadding,
    NeverUsed,
)

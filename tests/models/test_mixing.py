"""The line in which samples first mix, or change their places."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from rnnspec.api.model import check_model


class Words(nn.Module):
    """Token ids through a layer with the steps first to scores."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(13, 6, padding_idx=0)
        self.rnn = nn.GRU(6, 8)
        self.scores = nn.Linear(8, 3)


class ViewedInFront(Words):
    """The dimensions of the input are exchanged by a view."""

    def forward(self, tokens: Tensor) -> Any:
        embedded = self.words(tokens)
        embedded = embedded.view(tokens.size(1), tokens.size(0), -1)
        return self.scores(self.rnn(embedded)[1][-1])


class ViewedBehind(Words):
    """The dimensions of the output are exchanged by a reshape."""

    def forward(self, tokens: Tensor) -> Any:
        output, _ = self.rnn(self.words(tokens).transpose(0, 1))
        scores = self.scores(output)
        return scores.reshape(tokens.size(0), tokens.size(1), -1)


class NeverSortedBack(Words):
    """The samples are sorted by their lengths, and stay so."""

    def forward(self, tokens: Tensor, lengths: Tensor) -> Any:
        lengths, order = lengths.sort(descending=True)
        tokens = tokens[order]
        packed = pack_padded_sequence(self.words(tokens).transpose(0, 1), lengths.cpu())
        return self.scores(self.rnn(packed)[1][-1])


class StandardisedByHand(Words):
    """The states of a packed batch are centred by their mean over the batch."""

    def forward(self, tokens: Tensor, lengths: Tensor) -> Any:
        embedded = self.words(tokens).transpose(0, 1)
        packed = pack_padded_sequence(embedded, lengths.cpu(), enforce_sorted=False)
        state = self.rnn(packed)[1][-1]
        state = state - state.mean(0)
        return self.scores(state)


class FlippedSamples(Words):
    """The samples are reversed in place of the steps."""

    def forward(self, tokens: Tensor) -> Any:
        reverse = self.words(tokens).flip(0)
        return self.scores(self.rnn(reverse.transpose(0, 1))[1][-1])


class AttentionOverSamples(Words):
    """The softmax runs over the samples."""

    def forward(self, tokens: Tensor) -> Any:
        output = self.rnn(self.words(tokens).transpose(0, 1))[0].transpose(0, 1)
        weights = torch.softmax(output.sum(-1, keepdim=True), dim=0)
        return self.scores((weights * output).sum(1))


class CancelledFirst(Words):
    """A mean over the batch is subtracted and added again, before samples mix for good."""

    def forward(self, tokens: Tensor) -> Any:
        embedded = self.words(tokens)
        embedded = embedded - embedded.mean(0) + embedded.mean(0)
        scores = self.scores(self.rnn(embedded.transpose(0, 1))[1][-1]).exp()
        scores = scores / scores.amax()
        probabilities = scores / scores.sum(1, keepdim=True)
        return probabilities / probabilities.sum(0)


class FilledInPlace(Words):
    """The samples are written to a new tensor in reverse."""

    def forward(self, tokens: Tensor) -> Any:
        reverse = torch.zeros_like(tokens)
        reverse[:] = tokens.flip(0)
        return self.scores(self.rnn(self.words(reverse).transpose(0, 1))[1][-1])


class ReshapedToOutputs(Words):
    """The scores are reshaped by the number of outputs, which a batch may have by chance."""

    def forward(self, tokens: Tensor) -> Any:
        scores = self.scores(self.rnn(self.words(tokens).transpose(0, 1))[1][-1])
        return scores.reshape(3, -1).transpose(0, 1)


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    ("model", "line", "remedy"),
    [
        (ViewedInFront, "embedded = embedded.view(tokens.size(1)", "with transpose or permute"),
        (ViewedBehind, "return scores.reshape(tokens.size(0)", "with transpose or permute"),
        (NeverSortedBack, "tokens = tokens[order]", "prediction[order.argsort()]"),
        (StandardisedByHand, "state = state - state.mean(0)", "within each sample"),
        (FlippedSamples, "reverse = self.words(tokens).flip(0)", "flip the dimension of the steps"),
        (AttentionOverSamples, "weights = torch.softmax(output.sum(", "not of the batch"),
        (CancelledFirst, "return probabilities / probabilities.sum(0)", "within each sample"),
        (FilledInPlace, "reverse[:] = tokens.flip(0)", "flip the dimension of the steps"),
        (ReshapedToOutputs, "return scores.reshape(3, -1)", "with transpose or permute"),
    ],
)
def test_the_line_that_mixes_samples_is_reported(
    model: type[nn.Module], line: str, remedy: str
) -> None:
    rules = ["model.samples-independent", "readout.samples"]
    report = check_model(model, profile="quick", rules=rules)
    (fault,) = report.faults
    problem, where, written = report.result(fault.rule).message.splitlines()
    assert problem.endswith("They first mix, or change places, in this line:")
    assert f"test_mixing.py: {line}" in where
    assert remedy in written

"""Test finding the line of a model's source that reads a layer's results."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnspec.models import list_advice, measure_readout
from rnnspec.selftest.model_forms import WithLengths


class BothDirections(nn.Module):
    """Token ids and lengths, through a layer with two directions, to scores."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(13, 6, padding_idx=0)
        self.encoder = nn.LSTM(6, 8, batch_first=True, bidirectional=True)
        self.drop = nn.Dropout(0.3)
        self.scores = nn.Linear(16, 3)


class DroppedFirst(BothDirections):
    """Dropout and an activation come before the last step is taken."""

    def forward(self, tokens: Tensor) -> Any:
        output, _ = self.encoder(self.words(tokens))
        output = self.drop(output).relu()
        return self.scores(output[:, -1])


class TransposedFirst(BothDirections):
    """The steps are moved to the front before the last one is taken."""

    def forward(self, tokens: Tensor) -> Any:
        output, _ = self.encoder(self.words(tokens))
        output = torch.tanh(output.permute(1, 0, 2))
        return self.scores(output[-1])


class PackedThenLast(BothDirections):
    """The batch is packed and padded again, and the last step is taken."""

    def forward(self, tokens: Tensor, lengths: Tensor) -> Any:
        packed = pack_padded_sequence(
            self.words(tokens), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        output, _ = self.encoder(packed)
        output, _ = pad_packed_sequence(output, batch_first=True)
        return self.scores(output[:, -1])


class PackedThenMean(BothDirections):
    """The mean runs over the steps after the end, in one line with the padding."""

    def forward(self, tokens: Tensor, lengths: Tensor) -> Any:
        words = self.words(tokens)
        packed = pack_padded_sequence(words, lengths.cpu(), batch_first=True, enforce_sorted=False)
        output = pad_packed_sequence(self.encoder(packed)[0], batch_first=True)[0]
        pooled = output.mean(dim=1)
        return self.scores(pooled)


class StatesViewed(WithLengths):
    """The states of a stack are viewed as if the batch came first, and then one is taken."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.LSTM(6, 8, num_layers=2, batch_first=True)

    def forward(self, tokens: Tensor) -> Any:  # type: ignore[override]
        _, (h_n, _) = self.encoder(self.words(tokens))
        h_n = torch.relu(h_n)
        states = h_n.view(tokens.size(0), 2, -1)
        return self.scores(states[:, -1])


@pytest.mark.parametrize(
    ("model", "line"),
    [
        (DroppedFirst, "return self.scores(output[:, -1])"),
        (TransposedFirst, "return self.scores(output[-1])"),
        (PackedThenLast, "return self.scores(output[:, -1])"),
        (PackedThenMean, "pooled = output.mean(dim=1)"),
        (StatesViewed, "states = h_n.view(tokens.size(0), 2, -1)"),
    ],
)
@pytest.mark.parametrize("batch", [2, 3])
def test_the_line_takes_something_and_does_not_only_pass_it_on(
    model: type[nn.Module], line: str, batch: int
) -> None:
    advice = list_advice(measure_readout(model(), batch=batch, draws=1))
    assert {each.where.partition(": ")[2] for each in advice} == {line}

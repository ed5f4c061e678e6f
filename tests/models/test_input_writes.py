"""A call writes to nothing that the caller gives, however the model writes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from rnnspec.api.model import check_model
from rnnspec.report.data import Result, Verdict
from tests.models.slow import mark_slow


class Classifier(nn.Module):
    """Features, and lengths if they are given, to scores."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 8, batch_first=True)
        self.fc = nn.Linear(8, 3)

    def read(self, x: Tensor, state: Tensor | None = None, lengths: Tensor | None = None) -> Any:
        given: Any = x
        if lengths is not None:
            given = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return self.fc(self.rnn(given, state)[1][-1])


class ZeroesPadding(Classifier):
    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        for sample, length in enumerate(lengths):
            x[sample, length:] = 0
        return self.read(x, lengths=lengths)


class FillsMask(Classifier):
    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        is_padding = torch.arange(x.size(1)) >= lengths.unsqueeze(1)
        x.masked_fill_(is_padding.unsqueeze(-1), 0.0)
        return self.read(x, lengths=lengths)


class ReplacesPaddingId(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(12, 5, padding_idx=0)
        self.rnn = nn.GRU(5, 8, batch_first=True)

    def forward(self, tokens: Tensor) -> Any:
        lengths = (tokens != 0).sum(1)
        tokens[tokens == 0] = 1
        embedded = self.words(tokens)
        packed = pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
        return self.rnn(packed)[1][-1]


class ReplacesNaN(Classifier):
    def forward(self, x: Tensor) -> Any:
        x[x.isnan()] = 0
        return self.read(x)


class WritesBehindAutograd(Classifier):
    def forward(self, x: Tensor) -> Any:
        x.detach().numpy()[:, 0] = 0
        return self.read(x)


class DropsInputInPlace(Classifier):
    """Only in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5, inplace=True)

    def forward(self, x: Tensor) -> Any:
        return self.read(self.dropout(x))


class AddsDimension(Classifier):
    def forward(self, x: Tensor) -> Any:
        return self.read(x.unsqueeze_(0)[0])


class LastIndex(Classifier):
    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        lengths -= 1
        return self.fc(self.rnn(x)[0][torch.arange(len(x)), lengths])


class KeepsLengthsPositive(Classifier):
    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        return self.read(x, lengths=lengths.clamp_(min=1))


class ScalesState(Classifier):
    """The given zeros stay zero."""

    def forward(self, x: Tensor, hidden: Tensor) -> Any:
        hidden *= 0.5
        return self.read(x, hidden)


class KeepsStateInGiven(Classifier):
    def forward(self, x: Tensor, hidden: Tensor) -> Any:
        output, state = self.rnn(x, hidden)
        hidden.copy_(state)
        return self.fc(output[:, -1])


CHANGING = {
    ZeroesPadding: ("changed its input: element [0, 1, 0] is 0.0", "x[sample, length:] = 0"),
    FillsMask: ("changed its input: element [0, 1, 0] is 0.0", "x.masked_fill_("),
    ReplacesPaddingId: ("changed its input: element [0, 1] is 1 ", "tokens[tokens == 0] = 1"),
    ReplacesNaN: ("writes to its input, here the numbers that were there", "x[x.isnan()] = 0"),
    WritesBehindAutograd: ("changed its input: element [0, 0, 0] is 0.0", ""),
    DropsInputInPlace: ("changed its input", "return self.read(self.dropout(x))"),
    AddsDimension: ("changed its input: it is (1, 2, 3, 5)", "x.unsqueeze_(0)[0]"),
    LastIndex: ("changed the lengths that it is given: element [0] is 2", "lengths -= 1"),
    KeepsLengthsPositive: ("writes to the lengths that it is given", "lengths.clamp_(min=1)"),
    ScalesState: ("writes to the given state", "hidden *= 0.5"),
    KeepsStateInGiven: ("changed the given state", "hidden.copy_(state)"),
}


def check(model: type[nn.Module]) -> Result:
    return check_model(model, profile="quick", rules="model.input-kept").result("model.input-kept")


FAST = (ZeroesPadding, ReplacesPaddingId, WritesBehindAutograd, LastIndex, ScalesState)
SLOW = [model for model in CHANGING if model not in FAST]


@pytest.mark.parametrize("model", [*FAST, *mark_slow(*SLOW)])
def test_every_change_of_an_argument_is_found_and_its_program_fails(
    model: type[nn.Module],
) -> None:
    result = check(model)
    assert result.verdict is Verdict.FAIL
    change, line = CHANGING[model]
    assert change in result.message
    assert line in result.message
    assert result.repro is not None
    with pytest.raises(AssertionError):
        exec(compile(result.repro, "program", "exec"), {})


class ChangesCopies(Classifier):
    def forward(self, x: Tensor, lengths: Tensor, hidden: Tensor) -> Any:
        x, lengths, hidden = x * 1, lengths.clone(), hidden + 0
        x[:, -1] = 0
        lengths -= 1
        hidden.mul_(0.5)
        return self.read(x, hidden, lengths + 1)


class DetachesState(Classifier):
    def forward(self, x: Tensor, hidden: Tensor) -> Any:
        return self.read(x.requires_grad_(x.requires_grad), hidden.detach_())


@pytest.mark.parametrize("model", [ChangesCopies, DetachesState])
def test_changes_of_copies_are_no_violation(model: type[nn.Module]) -> None:
    assert check(model).verdict is Verdict.PASS

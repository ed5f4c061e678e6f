"""Test notes on features of a read-out map that are seldom intended."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rnnspec.models import measure_readout
from rnnspec.readout.advice import list_advice


class Tagger(nn.Module):
    """Tags every step with a cell; variants change one thing."""

    is_detached = False

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(4, 5)
        self.fc = nn.Linear(5, 3)

    def run_cell(self, x: Tensor) -> Tensor:
        h, outputs = x.new_zeros(len(x), 5), []
        for step in x.unbind(1):
            h = self.cell(step, h.detach() if self.is_detached else h)
            outputs.append(h)
        return torch.stack(outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        prediction: Tensor = self.fc(self.run_cell(x))
        return prediction


class DetachedTagger(Tagger):
    is_detached = True


class DetachedClassifier(DetachedTagger):
    def forward(self, x: Tensor) -> Tensor:
        prediction: Tensor = self.fc(self.run_cell(x)[:, -1])
        return prediction


class DetachedWords(DetachedTagger):
    """Takes token ids."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 4)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.embedding(x))


class BothWays(Tagger):
    is_turned_back = True

    def __init__(self) -> None:
        super().__init__()
        self.back = nn.GRU(4, 5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        back, _ = self.back(x.flip(1))
        prediction: Tensor = self.fc(
            self.run_cell(x) + (back.flip(1) if self.is_turned_back else back)
        )
        return prediction


class NotTurnedBack(BothWays):
    is_turned_back = False


class Softmax(Tagger):
    dim = -1

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).softmax(self.dim)


class LogSoftmax(Tagger):
    dim = -1

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).log_softmax(self.dim)


class SoftmaxOverSteps(Softmax):
    dim = 1


class LogSoftmaxOverSteps(LogSoftmax):
    dim = 1


@pytest.mark.parametrize("model", [Tagger, BothWays, Softmax, LogSoftmax])
def test_a_right_model_has_no_note(model: type[nn.Module]) -> None:
    assert measure_readout(model()).notes == ()


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (DetachedTagger, "the input at positions 0 to 3 changes the prediction at step 4, but no"),
        (DetachedWords, "the input at positions 0 to 3 changes the prediction at step 4, but no"),
        (DetachedClassifier, "the input at positions 0 to 3 changes the prediction, but no"),
        (NotTurnedBack, "step 0 depends on positions before and after positions 1 to 3, but on"),
    ],
)
def test_remarks_on_the_map_are_noted(model: type[nn.Module], expected: str) -> None:
    (note,) = measure_readout(model()).notes
    assert expected in note


@pytest.mark.parametrize("model", [SoftmaxOverSteps, LogSoftmaxOverSteps])
def test_a_softmax_over_the_steps_is_noted(model: type[nn.Module]) -> None:
    (note,) = measure_readout(model()).notes
    assert "add to one over the steps, not over the classes" in note


class Words(nn.Module):
    """A language model: it predicts the next of 30 words."""

    def __init__(self, *, bidirectional: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 4)
        self.lstm = nn.LSTM(4, 5, batch_first=True, bidirectional=bidirectional)
        self.fc = nn.Linear(10 if bidirectional else 5, 30)

    def forward(self, x: Tensor) -> Tensor:
        prediction: Tensor = self.fc(self.lstm(self.embedding(x))[0])
        return prediction


def test_a_model_that_sees_the_next_word_has_a_note() -> None:
    assert measure_readout(Words()).notes == ()
    (note,) = measure_readout(Words(bidirectional=True)).notes
    assert "if the model is to predict the next token, it sees it" in note


class Forecaster(nn.Module):
    """An encoder and a decoder, which starts from zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.LSTM(3, 5, batch_first=True)
        self.decoder = nn.LSTM(3, 5, batch_first=True)
        self.fc = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        self.encoder(x)
        prediction: Tensor = self.fc(self.decoder(x[:, -1:])[0][:, -1])
        return prediction


def test_a_layer_of_which_nothing_is_used_is_named() -> None:
    (advice, *_) = list_advice(measure_readout(Forecaster()))
    assert "Nothing that encoder returns is used." in advice.problem
    assert "self.encoder(x)" in advice.remedy

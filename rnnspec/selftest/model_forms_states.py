"""Correct models that take states, sizes or inputs of other layouts, in forms that people use.

Each takes the number of its outputs, so that no number of outputs is mistaken for a size.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from rnnspec.selftest.model_forms import IDS, UNITS, WIDTH, Classifier


class StateAfter(Classifier):
    """The state comes after the input; the new state is returned beside the scores."""

    def forward(self, tokens: Tensor, hidden: Tensor) -> Any:  # type: ignore[override]
        output, hidden = self.encoder(self.words(tokens), hidden)
        return self.scores(output), hidden


class StateBefore(StateAfter):
    """The state comes before the input, and before the scores."""

    def forward(self, h: Tensor | None, tokens: Tensor) -> Any:  # type: ignore[override]
        output, h = self.encoder(self.words(tokens), h)
        return h, self.scores(output)


class StateOfItsOwn(StateAfter):
    """The caller gets the initial state, which is not zero, from a method of the model."""

    def init_hidden(self, batch_size: int) -> Tensor:
        return torch.full((1, batch_size, UNITS), 0.1)

    def forward(self, tokens: Tensor, hidden: Tensor) -> Any:  # type: ignore[override]
        return super().forward(tokens, hidden + 0.0)


class StatePair(Classifier):
    """The two states of an LSTM, as a single argument."""

    kind: ClassVar[Any] = nn.LSTM

    def forward(self, tokens: Tensor, state: tuple[Tensor, Tensor]) -> Any:  # type: ignore[override]
        hidden, cell = state
        output, state = self.encoder(self.words(tokens), (hidden, cell))
        return self.scores(output[:, -1]), state


class StatesApart(Classifier):
    """The two states of an LSTM, as two arguments."""

    kind: ClassVar[Any] = nn.LSTM

    def forward(self, tokens: Tensor, h0: Tensor, c0: Tensor) -> Any:  # type: ignore[override]
        output, (hidden, cell) = self.encoder(self.words(tokens), (h0, c0))
        return self.scores(output[:, -1]), hidden, cell


class BatchSizeAtTheCall(Classifier):
    """The batch size, an argument of the call, is used to create the initial state."""

    def forward(self, tokens: Tensor, batch_size: int) -> Any:  # type: ignore[override]
        embedded = self.words(tokens)
        state = embedded.new_zeros(1, batch_size, UNITS)
        return self.scores(self.encoder(embedded, state)[1][-1])


class BatchSizeAtConstruction(Classifier):
    """The batch size, an argument of the constructor, is used to create the initial state."""

    def __init__(self, batch_size: int, outputs: int = 4) -> None:
        super().__init__(outputs)
        self.batch_size = batch_size

    def forward(self, tokens: Tensor) -> Any:
        embedded = self.words(tokens)
        state = embedded.new_zeros(1, self.batch_size, UNITS)
        return self.scores(self.encoder(embedded, state)[1][-1])


class StepsFirst(Classifier):
    """Token ids (L, N) to scores (N, K)."""

    settings: ClassVar[dict[str, Any]] = {}


class LanguageModel(StepsFirst):
    """Token ids (L, N) to scores (L, N, K) and the state."""

    def forward(self, tokens: Tensor, hidden: Tensor) -> Any:  # type: ignore[override]
        output, hidden = self.encoder(self.words(tokens), hidden)
        return self.scores(output), hidden


class LanguageModelFlattened(LanguageModel):
    """Token ids (L, N) to scores (L * N, K) and the state."""

    def forward(self, tokens: Tensor, hidden: Tensor) -> Any:  # type: ignore[override]
        scores, hidden = super().forward(tokens, hidden)
        return scores.view(-1, self.outputs), hidden


class StepsFirstWithLengths(StepsFirst):
    """Token ids (L, N) and the lengths, as a packed batch."""

    def forward(self, tokens: Tensor, lengths: Tensor) -> Any:  # type: ignore[override]
        packed = pack_padded_sequence(self.words(tokens), lengths, enforce_sorted=False)
        return self.scores(self.encoder(packed)[1][-1])


class OneSentence(StepsFirst):
    """The token ids (L,) of a sentence to scores (L, K)."""

    def forward(self, sentence: Tensor) -> Any:
        embedded = self.words(sentence).view(len(sentence), 1, -1)
        return self.scores(self.encoder(embedded)[0].view(len(sentence), -1)).log_softmax(1)


class OneSequence(StepsFirst):
    """The features (L, F) of a sequence to scores (K,)."""

    def __init__(self, outputs: int = 4) -> None:
        super().__init__(outputs)
        del self.words

    def forward(self, sequence: Tensor) -> Any:
        if sequence.dim() != 2:
            raise ValueError("one sequence, please")
        return self.scores(self.encoder(sequence)[1][-1])


class Forecaster(nn.Module):
    """A number at each step, (N, L), to a forecast (N, K)."""

    def __init__(self, outputs: int = 4) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1, UNITS, num_layers=2, batch_first=True)
        self.head = nn.Linear(UNITS, outputs)

    def forward(self, series: Tensor) -> Any:
        output, _ = self.lstm(series.unsqueeze(-1))
        return self.head(output[:, -1])


class ForecasterOfFeatures(nn.Module):
    """Features (N, L, F) to forecasts (N, K, F) of several later steps."""

    def __init__(self, outputs: int = 4) -> None:
        super().__init__()
        self.outputs = outputs
        self.gru = nn.GRU(3, UNITS, batch_first=True)
        self.head = nn.Linear(UNITS, 3 * outputs)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.gru(x)[1][-1]).view(-1, self.outputs, 3)


class ConvolutionBefore(nn.Module):
    """Features (N, F, L), with a convolution over time before the layer."""

    def __init__(self, outputs: int = 4) -> None:
        super().__init__()
        self.smooth = nn.Conv1d(5, WIDTH, kernel_size=3, padding=1)
        self.rnn = nn.RNN(WIDTH, UNITS, batch_first=True)
        self.head = nn.Linear(UNITS, outputs)

    def forward(self, x: Tensor) -> Any:
        features = self.smooth(x).relu().transpose(1, 2)
        return self.head(self.rnn(features)[1][-1])


class ResetByTheCaller(Classifier):
    """The state is kept in the model, and the caller resets it before each batch."""

    def init_hidden(self, batch_size: int) -> None:
        self.hidden = next(self.parameters()).new_zeros(1, batch_size, UNITS)

    def forward(self, tokens: Tensor) -> Any:
        output, hidden = self.encoder(self.words(tokens), self.hidden)
        self.hidden = hidden.detach()
        return self.scores(output[:, -1])


class CellLoopClassifier(nn.Module):
    """A loop over a cell, with the state as an argument."""

    def __init__(self, outputs: int = 4) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(WIDTH, UNITS)
        self.words = nn.Embedding(IDS, WIDTH)
        self.scores = nn.Linear(UNITS, outputs)

    def forward(self, tokens: Tensor, hx: Tensor, cx: Tensor) -> Any:
        for step in self.words(tokens).unbind(1):
            hx, cx = self.cell(step, (hx, cx))
        return self.scores(hx)

"""Correct models that make several predictions in a call, such as a prediction for each task."""

from __future__ import annotations

import torch
from torch import Tensor, nn

VOCABULARY, EMBEDDING, HIDDEN = 15, 5, 6
INTENTS, SLOTS = 3, 8


class IntentAndSlots(nn.Module):
    """The intent of a sentence from both final states, and a slot for every word."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, EMBEDDING)
        self.rnn = nn.LSTM(EMBEDDING, HIDDEN, batch_first=True, bidirectional=True)
        self.slots = nn.Linear(2 * HIDDEN, SLOTS)
        self.intent = nn.Linear(2 * HIDDEN, INTENTS)

    def forward(self, tokens: Tensor) -> dict[str, Tensor]:
        output, (h_n, _) = self.rnn(self.embedding(tokens))
        return {"slots": self.slots(output), "intent": self.intent(self.read(output, h_n))}

    def read(self, output: Tensor, h_n: Tensor) -> Tensor:
        """Return the features of the intent."""
        return torch.cat([h_n[-2], h_n[-1]], dim=-1)


class MeanAndVariance(nn.Module):
    """The two parameters of a normal distribution, and the final state."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, EMBEDDING)
        self.rnn = nn.GRU(EMBEDDING, HIDDEN, batch_first=True)
        self.mean = nn.Linear(HIDDEN, 4)
        self.logarithm = nn.Linear(HIDDEN, 4)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        output, h_n = self.rnn(self.embedding(tokens))
        return self.mean(h_n[-1]), self.logarithm(self.read(output, h_n)), h_n

    def read(self, output: Tensor, h_n: Tensor) -> Tensor:
        """Return the features of the variance."""
        return h_n[-1]


class BothNeighbours(nn.Module):
    """Two language models in one: the forward half predicts the next word, the backward half the
    previous word.
    """

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, EMBEDDING)
        self.rnn = nn.LSTM(EMBEDDING, HIDDEN, 2, batch_first=True, bidirectional=True)
        self.next = nn.Linear(HIDDEN, VOCABULARY)
        self.previous = nn.Linear(HIDDEN, VOCABULARY)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        output, _ = self.rnn(self.embedding(tokens))
        return self.next(output[..., :HIDDEN]), self.previous(output[..., HIDDEN:])


class ProbeOfTheState(IntentAndSlots):
    """A second prediction is made from the final states without training them."""

    def read(self, output: Tensor, h_n: Tensor) -> Tensor:
        return super().read(output, h_n).detach()


class FromTwoLayers(nn.Module):
    """A coarse label from the state of the lower layer, and a fine label from the upper layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, EMBEDDING)
        self.rnn = nn.GRU(EMBEDDING, HIDDEN, 2, batch_first=True)
        self.coarse = nn.Linear(HIDDEN, 3)
        self.fine = nn.Linear(HIDDEN, 9)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        _, h_n = self.rnn(self.embedding(tokens))
        return self.coarse(h_n[0]), self.fine(h_n[1])

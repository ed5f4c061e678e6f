"""A small model of parts that can be exchanged one at a time: embedding, recurrent layer, read-out, linear layer."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

VOCABULARY = 12
EMBEDDING = 5
HIDDEN = 6
OUTPUTS = 2

Layer = type[nn.RNN] | type[nn.GRU] | type[nn.LSTM]


class LastStep(nn.Module):
    """Token ids (N, L) to one prediction a sequence (N, OUTPUTS), from the output of a recurrent layer at the last step.

    The class attributes say what the layer is; each method is one part of the forward pass.
    """

    readout: ClassVar[str] = "last"
    batch_first: ClassVar[bool] = True
    layer: ClassVar[Layer] = nn.RNN
    options: ClassVar[dict[str, Any]] = {}
    padding: ClassVar[int | None] = None
    width: ClassVar[int] = HIDDEN

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, EMBEDDING, padding_idx=self.padding)
        self.rnn = self.layer(EMBEDDING, HIDDEN, **{"batch_first": True, **self.options})
        self.fc = nn.Linear(self.width, OUTPUTS)

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids (N, L) to predictions."""
        output, states = self.recur(self.embed(tokens))
        return self.predict(self.read(output, states))

    def embed(self, tokens: Tensor) -> Tensor:
        """Token ids (N, L) to vectors (N, L, EMBEDDING)."""
        embedded: Tensor = self.embedding(tokens)
        return embedded

    def recur(self, embedded: Tensor) -> tuple[Tensor, Tensor]:
        """The layer's output and states."""
        output, states = self.rnn(embedded)
        return output, states

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        """What the prediction is made from: (N, width)."""
        return output[:, -1]

    def predict(self, features: Tensor) -> Tensor:
        """Features to predictions."""
        prediction: Tensor = self.fc(features)
        return prediction


class EveryStep(LastStep):
    """Token ids (N, L) to a prediction at every step (N, L, OUTPUTS)."""

    readout: ClassVar[str] = "every"

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        """The whole output (N, L, width)."""
        return output


class Padded(LastStep):
    """As LastStep, of sequences that are filled up with id 0."""

    padding: ClassVar[int | None] = 0

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids (N, L), 0 after the end of each, to predictions."""
        output, states = self.recur(self.embed(tokens))
        return self.predict(self.read_until(output, states, self.lengths(tokens)))

    def lengths(self, tokens: Tensor) -> Tensor:
        """How many ids of each sequence are not padding; at least one."""
        return (tokens != 0).sum(1).clamp(min=1)

    def read_until(self, output: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        """The output at each sequence's own last step: (N, width)."""
        return output[torch.arange(output.size(0), device=output.device), lengths - 1]

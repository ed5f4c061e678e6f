"""A small model whose parts can be replaced one at a time.

The parts are the embedding, the recurrent layer, the read-out and the linear layer.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

VOCABULARY = 12
EMBEDDING = 5
HIDDEN = 6
OUTPUTS = 2

RecurrentClass = type[nn.RNN] | type[nn.GRU] | type[nn.LSTM]


class LastStep(nn.Module):
    """A prediction per sequence, from the output at the last step.

    Token ids (N, L) give predictions (N, OUTPUTS). The class attributes describe the recurrent
    layer; a subclass can set them in its class statement. Each method is a part of the forward
    pass. `given` are the options of a check.
    """

    given: ClassVar[dict[str, Any]] = {}
    layer: ClassVar[RecurrentClass] = nn.RNN
    options: ClassVar[dict[str, Any]] = {}
    padding: ClassVar[int | None] = None
    width: ClassVar[int] = HIDDEN

    def __init_subclass__(
        cls,
        layer: RecurrentClass | None = None,
        options: dict[str, Any] | None = None,
        width: int | None = None,
    ) -> None:
        """Set the class attributes that are passed."""
        super().__init_subclass__()
        for name, value in (("layer", layer), ("options", options), ("width", width)):
            if value is not None:
                setattr(cls, name, value)

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, EMBEDDING, padding_idx=self.padding)
        self.rnn = self.layer(EMBEDDING, HIDDEN, **{"batch_first": True, **self.options})
        self.fc = nn.Linear(self.width, OUTPUTS)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return predictions for token ids (N, L)."""
        output, states = self.recur(self.embed(tokens))
        return self.predict(self.read(output, states))

    def embed(self, tokens: Tensor) -> Tensor:
        """Embed token ids (N, L) as vectors (N, L, EMBEDDING)."""
        embedded: Tensor = self.embedding(tokens)
        return embedded

    def recur(self, embedded: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output and the states of the recurrent layer."""
        output, states = self.rnn(embedded)
        return output, states

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        """Return the features (N, width) from which the prediction is made."""
        return output[:, -1]

    def predict(self, features: Tensor) -> Tensor:
        """Return predictions for features."""
        prediction: Tensor = self.fc(features)
        return prediction


class EveryStep(LastStep):
    """A prediction at every step: token ids (N, L) give predictions (N, L, OUTPUTS)."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        """Return the whole output (N, L, width)."""
        return output


class Padded(LastStep):
    """`LastStep` for sequences that are padded with id 0."""

    padding: ClassVar[int | None] = 0

    def forward(self, tokens: Tensor) -> Tensor:
        """Return predictions for token ids (N, L), which are 0 after the end of each sequence."""
        output, states = self.recur(self.embed(tokens))
        return self.predict(self.read_until(output, states, self.lengths(tokens)))

    def lengths(self, tokens: Tensor) -> Tensor:
        """Return the number of ids in each sequence that are not padding, at least 1."""
        return (tokens != 0).sum(1).clamp(min=1)

    def read_until(self, output: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        """Return the output at the last step of each sequence, with shape (N, width)."""
        return output[torch.arange(output.size(0), device=output.device), lengths - 1]

"""Correct models with architectures that people use in practice.

Among them are residual stacks, attention, cells as decoders, and two directions built by hand.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnspec.selftest.model_plain import EMBEDDING, HIDDEN, OUTPUTS, EveryStep, LastStep, Padded


class LanguageModelWithStates(nn.Module):
    """A prediction at every step, with dropout throughout; it also returns the states."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, EMBEDDING)
        self.dropout = nn.Dropout(0.2)
        self.rnn = nn.LSTM(EMBEDDING, HIDDEN, 2, dropout=0.2, batch_first=True)
        self.fc = nn.Linear(HIDDEN, 20)

    def forward(
        self, tokens: Tensor, states: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        output, states = self.rnn(self.dropout(self.embedding(tokens)), states)
        return self.fc(self.dropout(output)), states


class PackedMaximum(
    Padded, layer=nn.LSTM, options={"bidirectional": True, "num_layers": 2}, width=2 * HIDDEN
):
    """The maximum over the steps of a packed bidirectional LSTM, with -inf as padding."""

    def forward(self, tokens: Tensor) -> Tensor:
        packed = pack_padded_sequence(
            self.embed(tokens), self.lengths(tokens).cpu(), batch_first=True, enforce_sorted=False
        )
        output, _ = pad_packed_sequence(
            self.rnn(packed)[0], batch_first=True, padding_value=float("-inf")
        )
        return self.predict(output.amax(1))


class LinearBefore(nn.Module):
    """A linear layer before the recurrent layer, and two linear layers after it."""

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Linear(3, 8)
        self.rnn = nn.GRU(8, 16, batch_first=True)
        self.head = nn.Sequential(
            nn.LayerNorm(16), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, OUTPUTS)
        )

    def forward(self, features: Tensor) -> Tensor:
        _, states = self.rnn(self.into(features).relu())
        prediction: Tensor = self.head(states[-1])
        return prediction


class LastTokenBeside(LastStep, width=HIDDEN + EMBEDDING):
    """The output at the last step, concatenated with the embedding of the last token."""

    def forward(self, tokens: Tensor) -> Tensor:
        embedded = self.embed(tokens)
        output, _ = self.recur(embedded)
        return self.predict(torch.cat([output[:, -1], embedded[:, -1]], dim=-1)).log_softmax(-1)


class SelfAttention(LastStep, layer=nn.LSTM, options={"bidirectional": True}, width=2 * HIDDEN):
    """The mean of self-attention over the steps of a bidirectional LSTM.

    Position embeddings are added to the tokens.
    """

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Embedding(100, EMBEDDING)
        self.attention = nn.MultiheadAttention(2 * HIDDEN, 2, batch_first=True)

    def embed(self, tokens: Tensor) -> Tensor:
        places: Tensor = self.places(torch.arange(tokens.size(1), device=tokens.device))
        return super().embed(tokens) + places

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        attended: Tensor = self.attention(output, output, output)[0]
        return attended.mean(1)


class DecodedByCell(LastStep, layer=nn.GRU):
    """The final state, passed through two steps of a GRU cell before the prediction."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.GRUCell(HIDDEN, HIDDEN)

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        first: Tensor = self.decoder(states[-1], states[-1])
        second: Tensor = self.decoder(first, first)
        return second


class TwoByHand(EveryStep, width=2 * HIDDEN):
    """Two unidirectional layers, one of which reads the sequence in reverse.

    Every step therefore depends on earlier and on later steps.
    """

    def __init__(self) -> None:
        super().__init__()
        self.backwards = nn.RNN(EMBEDDING, HIDDEN, batch_first=True)

    def recur(self, embedded: Tensor) -> tuple[Tensor, Tensor]:
        forward, states = self.rnn(embedded)
        backward, _ = self.backwards(embedded.flip(1))
        return torch.cat([forward, backward.flip(1)], dim=-1), states


class Residual(nn.Module):
    """Three GRU layers, each added to its own input with a gate that starts at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, HIDDEN)
        self.layers = nn.ModuleList([nn.GRU(HIDDEN, HIDDEN, batch_first=True) for _ in range(3)])
        self.gates = nn.Parameter(torch.zeros(3))
        self.fc = nn.Linear(HIDDEN, OUTPUTS)

    def forward(self, tokens: Tensor) -> Tensor:
        running: Tensor = self.embedding(tokens)
        for gate, layer in zip(self.gates, self.layers, strict=True):
            running = running + gate * layer(running)[0]
        prediction: Tensor = self.fc(running.mean(1))
        return prediction


class ZeroHead(LastStep):
    """A linear layer that is initialised to zero, so that every prediction starts at zero."""

    def __init__(self) -> None:
        super().__init__()
        nn.init.zeros_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)


class CellState(LastStep, layer=nn.LSTM):
    """The final cell state of an LSTM in place of its hidden state."""

    def read(self, output: Tensor, states: Any) -> Tensor:
        cell: Tensor = states[1][-1]
        return cell


class EveryState(
    LastStep, layer=nn.GRU, options={"bidirectional": True, "num_layers": 3}, width=6 * HIDDEN
):
    """The final states of all layers and directions of a GRU, moved to batch-first order."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return states.transpose(0, 1).flatten(1)


class Normalised(LastStep):
    """Batch normalisation before the linear layer, which mixes samples in training by design."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(HIDDEN)

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        normalised: Tensor = self.norm(super().read(output, states))
        return normalised

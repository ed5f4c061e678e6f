"""Correct models of different architectures; no rule may report a violation for any of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from rnnspec.selftest.model_plain import (
    EMBEDDING,
    HIDDEN,
    OUTPUTS,
    VOCABULARY,
    EveryStep,
    LastStep,
    Padded,
)

BOTH = {"bidirectional": True}
DEEP = {"num_layers": 2}


class FinalStates(LastStep, options={**BOTH, **DEEP}, width=2 * HIDDEN):
    """The final states of both directions of the top layer of a bidirectional stack."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return torch.cat([states[-2], states[-1]], dim=-1)


class FinalStatesGRU(FinalStates, layer=nn.GRU):
    """`FinalStates` with a GRU."""


class FinalStatesLSTM(FinalStates, layer=nn.LSTM):
    """`FinalStates` with an LSTM, whose states are the pair (h_n, c_n)."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return super().read(output, states[0])


class BothEnds(LastStep, options=BOTH, width=2 * HIDDEN):
    """The output's forward half at the last step, and its backward half at step 0."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return torch.cat([output[:, -1, :HIDDEN], output[:, 0, HIDDEN:]], dim=-1)


class StatesTransposed(LastStep, options=BOTH, width=2 * HIDDEN):
    """All states of a bidirectional layer, moved to batch-first order before concatenation."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return states.transpose(0, 1).flatten(1)


class Packed(Padded, layer=nn.GRU, options=BOTH, width=2 * HIDDEN):
    """The final states of both directions of a bidirectional GRU on a packed sequence.

    The lengths are derived from the padding.
    """

    def forward(self, tokens: Tensor) -> Tensor:
        lengths = self.lengths(tokens).cpu()
        packed = pack_padded_sequence(
            self.embed(tokens), lengths, batch_first=True, enforce_sorted=False
        )
        _, states = self.rnn(packed)
        return self.predict(torch.cat([states[-2], states[-1]], dim=-1))


class OwnLastStep(Padded):
    """The output at the last step of each padded sequence."""


class MaskedMean(Padded):
    """The mean of the outputs over the steps that are not padding."""

    def read_until(self, output: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        steps = torch.arange(output.size(1), device=output.device)
        kept = (steps < lengths.unsqueeze(1)).unsqueeze(-1)
        return (output * kept).sum(1) / lengths.unsqueeze(1)


class MaskedAttention(Padded):
    """Attention over the steps that are not padding."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Linear(HIDDEN, 1)

    def read_until(self, output: Tensor, states: Tensor, lengths: Tensor) -> Tensor:
        steps = torch.arange(output.size(1), device=output.device)
        scores = (
            self.score(output).squeeze(-1).masked_fill(steps >= lengths.unsqueeze(1), float("-inf"))
        )
        weighted: Tensor = scores.softmax(1).unsqueeze(-1) * output
        return weighted.sum(1)


class MaximumOverSteps(LastStep, layer=nn.LSTM, options=BOTH, width=2 * HIDDEN):
    """The maximum of each feature over the steps of a bidirectional LSTM."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return output.amax(1)


class Attention(LastStep, layer=nn.GRU, options=BOTH, width=2 * HIDDEN):
    """Attention over the steps of a bidirectional GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Linear(2 * HIDDEN, 1)

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        weights: Tensor = self.score(output).softmax(1)
        return (weights * output).sum(1)


class WithDropout(LastStep, options={**DEEP, "dropout": 0.5}):
    """Dropout between the layers and before the prediction, active only in training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        dropped: Tensor = self.dropout(super().read(output, states))
        return dropped


class DeadUnits(LastStep):
    """A relu layer before the prediction; the bias of half of its units keeps them at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(HIDDEN, HIDDEN)
        with torch.no_grad():
            self.hidden.bias[::2] = -50.0

    def predict(self, features: Tensor) -> Tensor:
        return super().predict(self.hidden(features).relu())


class ReluLayer(LastStep, options={**DEEP, "nonlinearity": "relu"}):
    """A stack of recurrent layers with relu, followed by LayerNorm within each sample."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(HIDDEN)

    def predict(self, features: Tensor) -> Tensor:
        return super().predict(self.norm(features))


class BothEveryStep(EveryStep, options={**BOTH, **DEEP}, width=2 * HIDDEN):
    """A prediction at every step of a bidirectional stack."""


class Tied(EveryStep):
    """A language model that predicts an id at every step.

    Its output layer is the embedding matrix.
    """

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(HIDDEN, EMBEDDING)

    def predict(self, features: Tensor) -> Tensor:
        return super().predict(features) @ self.embedding.weight.T


class LearnedState(LastStep):
    """A learned initial state, the same for every sample."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.randn(1, 1, HIDDEN))

    def recur(self, embedded: Tensor) -> tuple[Tensor, Tensor]:
        output, states = self.rnn(
            embedded, self.start.expand(-1, embedded.size(0), -1).contiguous()
        )
        return output, states


class BothReadouts(LastStep):
    """A prediction per sequence or, with `all_steps`, a prediction at every step."""

    all_steps = False

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return output if self.all_steps else output[:, -1]


class SequenceFirst(LastStep, options={"batch_first": False}):
    """A prediction per sequence, for token ids (L, N)."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return output[-1]


class Cells(nn.Module):
    """A loop over an LSTM cell in place of a recurrent layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, EMBEDDING)
        self.cell = nn.LSTMCell(EMBEDDING, HIDDEN)
        self.fc = nn.Linear(HIDDEN, OUTPUTS)

    def forward(self, tokens: Tensor) -> Tensor:
        states = None
        for embedded in self.embedding(tokens).unbind(1):
            states = self.cell(embedded, states)
        assert states is not None
        prediction: Tensor = self.fc(states[0])
        return prediction


class FromFeatures(nn.Module):
    """Features (N, L, 4) in place of token ids, read by two successive GRU layers."""

    def __init__(self) -> None:
        super().__init__()
        self.lower = nn.GRU(4, HIDDEN, batch_first=True, bidirectional=True)
        self.upper = nn.GRU(2 * HIDDEN, HIDDEN, batch_first=True)
        self.fc = nn.Linear(HIDDEN, OUTPUTS)

    def forward(self, features: Tensor) -> Tensor:
        output, _ = self.lower(features)
        _, states = self.upper(output)
        prediction: Tensor = self.fc(states[-1])
        return prediction

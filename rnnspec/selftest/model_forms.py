"""Correct models in forms that people use: arguments, layouts and predictions.

Each takes the number of its outputs, so that no number of outputs is mistaken for a size.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

IDS, WIDTH, UNITS = 13, 6, 8


class Classifier(nn.Module):
    """Token ids (N, L) to scores (N, K), from the final state of a GRU."""

    kind: ClassVar[Any] = nn.GRU
    settings: ClassVar[dict[str, Any]] = {"batch_first": True}
    units: ClassVar[int] = UNITS

    def __init__(self, outputs: int = 4) -> None:
        super().__init__()
        self.outputs = outputs
        self.words = nn.Embedding(IDS, WIDTH)
        self.encoder = self.kind(WIDTH, UNITS, **self.settings)
        self.scores = nn.Linear(self.units, outputs)

    def forward(self, tokens: Tensor) -> Any:
        return self.scores(self.encoder(self.words(tokens))[1][-1])


class OneNumber(Classifier):
    """Predictions (N,): a number for each sequence."""

    def forward(self, tokens: Tensor) -> Any:
        return super().forward(tokens)[:, 0] + super().forward(tokens)[:, 1:].sum(1)


class NumberAtEveryStep(Classifier):
    """Predictions (N, L): a number at each step."""

    def forward(self, tokens: Tensor) -> Any:
        return self.scores(self.encoder(self.words(tokens))[0]).sum(-1)


class Labels(Classifier):
    """Predictions (N, L, K): scores at each step, of both directions."""

    settings: ClassVar[dict[str, Any]] = {"batch_first": True, "bidirectional": True}
    units: ClassVar[int] = 2 * UNITS

    def forward(self, tokens: Tensor) -> Any:
        return self.scores(self.encoder(self.words(tokens))[0]).log_softmax(-1)


class LabelsFlattened(Labels):
    """Predictions (N * L, K), for a loss over all steps."""

    def forward(self, tokens: Tensor) -> Any:
        return super().forward(tokens).reshape(-1, self.outputs)


class LabelsBeforeSteps(Labels):
    """Predictions (N, K, L), the layout of nn.CrossEntropyLoss."""

    def forward(self, tokens: Tensor) -> Any:
        return super().forward(tokens).transpose(1, 2)


class StepsBeforeSamples(Labels):
    """Predictions (L, N, K) for token ids (N, L), the layout of nn.CTCLoss."""

    def forward(self, tokens: Tensor) -> Any:
        return super().forward(tokens).transpose(0, 1)


class WithLengths(Classifier):
    """A packed batch, in any order of its lengths."""

    def forward(self, tokens: Tensor, lengths: Tensor) -> Any:  # type: ignore[override]
        packed = pack_padded_sequence(
            self.words(tokens), lengths, batch_first=True, enforce_sorted=False
        )
        return self.scores(self.encoder(packed)[1][-1])


class WithSortedLengths(Classifier):
    """A packed batch, which has to be sorted by length."""

    def forward(self, text: Tensor, text_lengths: Tensor) -> Any:  # type: ignore[override]
        packed = pack_padded_sequence(self.words(text), text_lengths, batch_first=True)
        return self.scores(self.encoder(packed)[1][-1])


class LengthsFirst(WithLengths):
    """The lengths come before the input."""

    def forward(self, seq_lens: Tensor, tokens: Tensor) -> Any:  # type: ignore[override]
        return super().forward(tokens, seq_lens)


class LengthsIfGiven(WithLengths):
    """Lengths that may be left out; without them every sequence has all steps."""

    def forward(self, tokens: Tensor, input_lengths: Tensor | None = None) -> Any:
        if input_lengths is None:
            input_lengths = torch.full((tokens.size(0),), tokens.size(1))
        return super().forward(tokens, input_lengths)


class PairOfInputs(WithLengths):
    """One argument, which is the pair of token ids and lengths."""

    def forward(self, batch: tuple[Tensor, Tensor]) -> Any:  # type: ignore[override]
        tokens, lengths = batch
        return super().forward(tokens, lengths)


class LabelsOfLengths(Labels):
    """Scores at each step of a packed batch that is padded again, and the lengths."""

    def forward(self, tokens: Tensor, seq_lengths: Tensor) -> Any:  # type: ignore[override]
        packed = pack_padded_sequence(
            self.words(tokens), seq_lengths, batch_first=True, enforce_sorted=False
        )
        output, lengths = pad_packed_sequence(self.encoder(packed)[0], batch_first=True)
        return self.scores(output), lengths


class LabelsPacked(LabelsOfLengths):
    """Scores at each step, which stay packed."""

    def forward(self, tokens: Tensor, lengths: Tensor) -> Any:  # type: ignore[override]
        packed = pack_padded_sequence(
            self.words(tokens), lengths, batch_first=True, enforce_sorted=False
        )
        output = self.encoder(packed)[0]
        return PackedSequence(
            self.scores(output.data),
            output.batch_sizes,
            output.sorted_indices,
            output.unsorted_indices,
        )


class InDictionary(Classifier):
    """The scores are in a dictionary, behind the states."""

    def forward(self, tokens: Tensor) -> Any:
        output, states = self.encoder(self.words(tokens))
        return {"states": states, "last": output[:, -1], "logits": self.scores(states[-1])}


class InTuple(Classifier):
    """The scores come behind the states and before the weights of an attention."""

    def __init__(self, outputs: int = 4) -> None:
        super().__init__(outputs)
        self.weigh = nn.Linear(UNITS, 1)

    def forward(self, tokens: Tensor) -> Any:
        output, states = self.encoder(self.words(tokens))
        weights = self.weigh(output).softmax(1)
        return states, self.scores((weights * output).sum(1)), weights


class StateStacked(Classifier):
    """Scores of shape (1, N, K), made from h_n without removing its first dimension."""

    def forward(self, tokens: Tensor) -> Any:
        return self.scores(self.encoder(self.words(tokens))[1])

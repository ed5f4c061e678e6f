"""How to read a recurrent layer: pairs of a wrong model and a right one, from the page in docs.

Each is built without arguments. The last words of a wrong model's docstring name the rule that it
breaks: `rnnspec check-model examples/patterns.py:TwoDirectionsWrong`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

IDS, WIDTH, UNITS, CLASSES = 50, 8, 16, 3


class Words(nn.Module):
    """An embedding and a linear layer, and between them whatever a model makes of the words."""

    def __init__(self, features: int = UNITS) -> None:
        super().__init__()
        self.words = nn.Embedding(IDS, WIDTH)
        self.scores = nn.Linear(features, CLASSES)


class OneDirectionWrong(Words):
    """The layer expects the steps first, and is given the batch first: readout.samples."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(WIDTH, UNITS)

    def forward(self, ids: Tensor) -> Any:
        output, _ = self.rnn(self.words(ids))
        return self.scores(output[:, -1])


class OneDirectionRight(Words):
    """The batch comes first, and the output at the last step is read."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(WIDTH, UNITS, batch_first=True)

    def forward(self, ids: Tensor) -> Any:
        output, _ = self.rnn(self.words(ids))
        return self.scores(output[:, -1])


class TwoDirectionsWrong(Words):
    """The backward half of the last step has read one word: readout.complete."""

    def __init__(self) -> None:
        super().__init__(2 * UNITS)
        self.rnn = nn.GRU(WIDTH, UNITS, batch_first=True, bidirectional=True)

    def forward(self, ids: Tensor) -> Any:
        output, _ = self.rnn(self.words(ids))
        return self.scores(output[:, -1])


class TwoDirectionsRight(Words):
    """Each direction is read where it ends: the last two entries of h_n."""

    def __init__(self) -> None:
        super().__init__(2 * UNITS)
        self.rnn = nn.GRU(WIDTH, UNITS, batch_first=True, bidirectional=True)

    def forward(self, ids: Tensor) -> Any:
        _, h_n = self.rnn(self.words(ids))
        return self.scores(torch.cat([h_n[-2], h_n[-1]], dim=-1))


class StackWrong(Words):
    """The first entry of h_n belongs to the lowest layer: readout.complete."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(WIDTH, UNITS, num_layers=2, batch_first=True)

    def forward(self, ids: Tensor) -> Any:
        _, (h_n, _) = self.rnn(self.words(ids))
        return self.scores(h_n[0])


class StackRight(Words):
    """The last entry of h_n belongs to the top layer."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(WIDTH, UNITS, num_layers=2, batch_first=True)

    def forward(self, ids: Tensor) -> Any:
        _, (h_n, _) = self.rnn(self.words(ids))
        return self.scores(h_n[-1])


class AllStatesWrong(Words):
    """h_n starts with layers and directions, not with the batch: readout.samples."""

    def __init__(self) -> None:
        super().__init__(4 * UNITS)
        self.rnn = nn.GRU(WIDTH, UNITS, num_layers=2, batch_first=True, bidirectional=True)

    def forward(self, ids: Tensor) -> Any:
        _, h_n = self.rnn(self.words(ids))
        return self.scores(h_n.view(ids.size(0), -1))


class AllStatesRight(Words):
    """The batch is moved to the front before the states of a sample are joined."""

    def __init__(self) -> None:
        super().__init__(4 * UNITS)
        self.rnn = nn.GRU(WIDTH, UNITS, num_layers=2, batch_first=True, bidirectional=True)

    def forward(self, ids: Tensor) -> Any:
        _, h_n = self.rnn(self.words(ids))
        return self.scores(h_n.transpose(0, 1).flatten(1))


class PackedWrong(Words):
    """The final state has read the padding: readout.padding."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(WIDTH, UNITS, batch_first=True)

    def forward(self, ids: Tensor, lengths: Tensor) -> Any:
        _, h_n = self.rnn(self.words(ids))
        return self.scores(h_n[-1])


class PackedRight(Words):
    """In a packed batch, each final state is that of the sequence's own end."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(WIDTH, UNITS, batch_first=True)

    def forward(self, ids: Tensor, lengths: Tensor) -> Any:
        packed = pack_padded_sequence(
            self.words(ids), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        _, h_n = self.rnn(packed)
        return self.scores(h_n[-1])


class AttentionWrong(Words):
    """The softmax gives weight to padded steps: readout.padding."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(WIDTH, UNITS, batch_first=True)
        self.weigh = nn.Linear(UNITS, 1)

    def forward(self, ids: Tensor, lengths: Tensor) -> Any:
        output, _ = self.rnn(self.words(ids))
        weights = self.weigh(output).softmax(dim=1)
        return self.scores((weights * output).sum(1))


class AttentionRight(Words):
    """Padded steps get -inf before the softmax, so their weight is zero."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(WIDTH, UNITS, batch_first=True)
        self.weigh = nn.Linear(UNITS, 1)

    def forward(self, ids: Tensor, lengths: Tensor) -> Any:
        output, _ = self.rnn(self.words(ids))
        steps = torch.arange(output.size(1), device=output.device)
        is_padding = steps >= lengths.to(output.device)[:, None]
        scores = self.weigh(output).masked_fill(is_padding[..., None], float("-inf"))
        return self.scores((scores.softmax(dim=1) * output).sum(1))


class MeanWrong(Words):
    """The mean runs over padded steps too: readout.padding."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(WIDTH, UNITS, batch_first=True)

    def forward(self, ids: Tensor, lengths: Tensor) -> Any:
        output, _ = self.rnn(self.words(ids))
        return self.scores(output.mean(dim=1))


class MeanRight(Words):
    """The sum over the real steps is divided by their number."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(WIDTH, UNITS, batch_first=True)

    def forward(self, ids: Tensor, lengths: Tensor) -> Any:
        output, _ = self.rnn(self.words(ids))
        lengths = lengths.to(output.device)[:, None]
        is_real = torch.arange(output.size(1), device=output.device) < lengths
        return self.scores((output * is_real[..., None]).sum(dim=1) / lengths)


class TaggerWrong(Words):
    """The backward direction starts in the padding: readout.padding."""

    def __init__(self) -> None:
        super().__init__(2 * UNITS)
        self.rnn = nn.LSTM(WIDTH, UNITS, batch_first=True, bidirectional=True)

    def forward(self, ids: Tensor, lengths: Tensor) -> Any:
        output, _ = self.rnn(self.words(ids))
        return self.scores(output)


class TaggerRight(Words):
    """The batch is packed for the layer, and padded again for the scores at each step."""

    def __init__(self) -> None:
        super().__init__(2 * UNITS)
        self.rnn = nn.LSTM(WIDTH, UNITS, batch_first=True, bidirectional=True)

    def forward(self, ids: Tensor, lengths: Tensor) -> Any:
        packed = pack_padded_sequence(
            self.words(ids), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        output, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
        return self.scores(output)


class LanguageModelWrong(Words):
    """The model keeps the state itself, so a text starts where another ended: model.repeatable."""

    state: Tensor | None = None

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(WIDTH, UNITS, batch_first=True)

    def forward(self, ids: Tensor) -> Any:
        state = self.state
        if state is not None and state.size(1) != ids.size(0):
            state = None
        output, self.state = self.rnn(self.words(ids), state)
        return self.scores(output)


class LanguageModelRight(Words):
    """The caller passes the state, keeps it as long as the text goes on, and detaches it."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(WIDTH, UNITS, batch_first=True)

    def forward(self, ids: Tensor, state: Tensor | None = None) -> Any:
        output, state = self.rnn(self.words(ids), state)
        return self.scores(output), state


class TranslatorWrong(Words):
    """The decoder starts from states of two sentences, viewed as one: readout.samples."""

    def __init__(self) -> None:
        super().__init__(2 * UNITS)
        self.encoder = nn.GRU(WIDTH, UNITS, batch_first=True, bidirectional=True)
        self.decoder = nn.GRU(WIDTH, 2 * UNITS, batch_first=True)
        self.start = nn.Parameter(torch.zeros(WIDTH))

    def forward(self, ids: Tensor) -> Any:
        _, h_n = self.encoder(self.words(ids))
        start = self.start.expand(ids.size(0), 4, -1)
        output, _ = self.decoder(start, h_n.view(1, ids.size(0), -1))
        return self.scores(output)


class TranslatorRight(Words):
    """The decoder starts from both directions of its own sentence."""

    def __init__(self) -> None:
        super().__init__(2 * UNITS)
        self.encoder = nn.GRU(WIDTH, UNITS, batch_first=True, bidirectional=True)
        self.decoder = nn.GRU(WIDTH, 2 * UNITS, batch_first=True)
        self.start = nn.Parameter(torch.zeros(WIDTH))

    def forward(self, ids: Tensor) -> Any:
        _, h_n = self.encoder(self.words(ids))
        start = self.start.expand(ids.size(0), 4, -1)
        output, _ = self.decoder(start, torch.cat([h_n[-2], h_n[-1]], dim=-1)[None])
        return self.scores(output)

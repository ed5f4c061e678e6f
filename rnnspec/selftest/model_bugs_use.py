"""Models of LSTM and GRU layers with a planted bug in time, dtypes, modes, calls or parameters."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rnnspec.selftest.labels import seen_by
from rnnspec.selftest.model_plain import EMBEDDING, HIDDEN, OUTPUTS, EveryStep, LastStep

BOTH = {"bidirectional": True}
DEEP = {"num_layers": 2}


@seen_by("model.causal")
class NextStep(EveryStep, layer=nn.LSTM):
    """The predictions of an LSTM are made a step too early."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return torch.cat([output[:, 1:], output[:, -1:]], dim=1)


@seen_by("model.state-dtype")
class FloatStatesLSTM(LastStep, layer=nn.LSTM):
    """Both zero states are created in the default dtype."""

    def recur(self, embedded: Tensor) -> Any:
        zeros = torch.zeros(1, embedded.size(0), HIDDEN, device=embedded.device)
        return self.rnn(embedded, (zeros, zeros))


@seen_by("model.state-device")
class DefaultDeviceGRU(LastStep, layer=nn.GRU):
    """The zero state of a GRU is created on the default device."""

    def recur(self, embedded: Tensor) -> Any:
        zeros = torch.zeros(1, embedded.size(0), HIDDEN, dtype=embedded.dtype)
        return self.rnn(embedded, zeros)


@seen_by("model.any-device")
class StateOnFirstDevice(LastStep, layer=nn.LSTM):
    """The zero states are created on the device that the constructor used."""

    def __init__(self) -> None:
        super().__init__()
        self.device = next(self.parameters()).device

    def recur(self, embedded: Tensor) -> Any:
        zeros = torch.zeros(1, embedded.size(0), HIDDEN, dtype=embedded.dtype).to(self.device)
        return self.rnn(embedded, (zeros, zeros))


@seen_by("model.float64")
class ThroughHalf(LastStep, layer=nn.LSTM):
    """The features are converted to float16 and back."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return super().read(output, states).half().to(output.dtype)


@seen_by("model.gradients-reach")
class DataOfTheState(LastStep, layer=nn.GRU):
    """The state is read as `.data`, so that nothing before it learns."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return states[-1].data


@seen_by("model.gradients-reach")
class RebuiltTensor(LastStep, layer=nn.LSTM):
    """The features are copied into a new tensor, number by number."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return torch.tensor(output[:, -1].tolist()).to(output)


@seen_by("model.train-eval")
class OtherBranchInTraining(LastStep, layer=nn.GRU):
    """In training mode, the mean is read in place of the last step."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return output.mean(1) if self.training else output[:, -1]


@seen_by("model.repeatable")
class DropoutOnEmbedding(LastStep, layer=nn.LSTM):
    """Dropout on the embedding is active in eval mode too."""

    def embed(self, tokens: Tensor) -> Tensor:
        return nn.functional.dropout(super().embed(tokens), 0.3, training=True)


@seen_by("model.repeatable")
class PairCarried(LastStep, layer=nn.LSTM):
    """Both states of an LSTM are kept for the next call."""

    pair: tuple[Tensor, Tensor] | None = None

    def recur(self, embedded: Tensor) -> Any:
        fits = self.pair is not None and self.pair[0].size(1) == embedded.size(0)
        given = tuple(each.to(embedded) for each in self.pair or ()) if fits else None
        output, pair = self.rnn(embedded, given)
        self.pair = (pair[0].detach(), pair[1].detach())
        return output, pair


@seen_by("model.repeatable")
class MemoryBuffer(LastStep, layer=nn.GRU):
    """A buffer keeps the mean state of the last batch, from which the next starts."""

    memory: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("memory", torch.zeros(1, 1, HIDDEN))

    def recur(self, embedded: Tensor) -> Any:
        start = self.memory.expand(-1, embedded.size(0), -1).contiguous()
        output, states = self.rnn(embedded, start)
        self.memory = states.detach().mean(1, keepdim=True)
        return output, states


@seen_by("model.state-dict")
class HeadsInDictionary(LastStep, layer=nn.GRU):
    """The linear layer is kept in a plain dictionary, so that the state_dict lacks it."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = {"scores": self.fc}
        del self.fc

    def predict(self, features: Tensor) -> Tensor:
        scores: Tensor = self.heads["scores"].to(features)(features)
        return scores


@seen_by("readout.parameters")
class SpareLayer(LastStep, layer=nn.LSTM):
    """A second LSTM is built and never called."""

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.LSTM(HIDDEN, HIDDEN, batch_first=True)


@seen_by("readout.parameters")
class BiasLeftOut(LastStep, layer=nn.GRU):
    """The weight of the linear layer is used without its bias."""

    def predict(self, features: Tensor) -> Tensor:
        return features @ self.fc.weight.T


@seen_by("readout.parameters")
class FrozenSpare(LastStep):
    """A frozen linear layer is never used."""

    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(HIDDEN, OUTPUTS).requires_grad_(False)


@seen_by("readout.parameters")
class VectorsNotLoaded(LastStep):
    """Pretrained vectors are assigned to an attribute that an embedding does not have."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding.weights = torch.randn(self.embedding.weight.shape)


@seen_by("model.readouts-agree")
class DoubledAtLast(LastStep, layer=nn.GRU):
    """With `all_steps`, the predictions lack a scale of the last-step read-out."""

    all_steps = False

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return output if self.all_steps else 2 * output[:, -1]


@seen_by("model.batch-of-one")
class SqueezedState(LastStep, layer=nn.GRU):
    """`h_n.squeeze()` also removes the batch axis of a batch of one."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return states.squeeze()


@seen_by("model.length-of-one")
class DividedBySteps(LastStep, layer=nn.LSTM):
    """The sum over the steps is divided by their number minus 1, which can be zero."""

    def read(self, output: Tensor, states: Tensor) -> Tensor:
        return output.sum(1) / (output.size(1) - 1)


@seen_by("model.lengths")
class TableOfNine(LastStep, layer=nn.LSTM):
    """A learned vector is added at each of nine steps, and there is none for later steps."""

    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.randn(1, 9, EMBEDDING))

    def embed(self, tokens: Tensor) -> Tensor:
        return super().embed(tokens) + self.places[:, : tokens.size(1)]


@seen_by("model.batch-sizes")
class PairOfTheFirstCall(LastStep, layer=nn.LSTM):
    """Both zero states are made in the first call, with its batch size."""

    zeros: Tensor | None = None

    def recur(self, embedded: Tensor) -> Any:
        if self.zeros is None:
            self.zeros = embedded.new_zeros(1, embedded.size(0), HIDDEN)
        return self.rnn(embedded, (self.zeros, self.zeros))


@seen_by("model.vocabulary")
class UnknownIdsMasked(LastStep, layer=nn.GRU):
    """Ids outside the vocabulary silently become id 1."""

    def embed(self, tokens: Tensor) -> Tensor:
        is_known = (tokens >= 0) & (tokens < self.embedding.num_embeddings)
        return super().embed(torch.where(is_known, tokens, torch.ones_like(tokens)))

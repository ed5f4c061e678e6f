"""Models that are built, called, copied, converted or trained in unusual ways."""

from __future__ import annotations

import copy
import itertools
import threading
from collections import namedtuple
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.checkpoint import checkpoint

MODELS: dict[str, Any] = {}
"""All models by name."""

BREAKS = {
    "CarriesDetachedStates": ("model.repeatable",),
    "CarriesStates": ("model.repeatable",),
    "CallsWithoutGradients": ("model.gradients-reach",),
    "CallsInInferenceMode": ("model.gradients-reach",),
    "PredictsInInferenceMode": ("model.gradients-reach",),
    "HasNumbersAsParameters": ("readout.parameters",),
    "ReturnsLossInTraining": ("model.train-eval",),
    "RaisesInTraining": ("model.train-eval",),
    "RoundsToHalf": ("model.float64",),
    "CentresInputInPlace": ("model.input-kept",),
    "DividesInputInPlace": ("model.input-kept",),
    "PoolsBeforeBothDirections": ("readout.complete",),
    "TransposesInputInPlace": ("model.input-kept",),
    "GoesBackInTraining": ("model.samples-in-training",),
}
"""The rules that a model breaks rightly."""

Result = namedtuple("Result", ["logits", "states"])


@dataclass
class Output:
    logits: Tensor
    states: Any


class Plain(nn.Module):
    kind: ClassVar[Any] = nn.LSTM

    def __init__(self) -> None:
        super().__init__()
        self.emb = nn.Embedding(20, 8)
        self.lstm: Any = self.kind(8, 10, batch_first=True)
        self.fc: Any = nn.Linear(10, 3)

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        MODELS[cls.__name__] = cls

    def read(self, x: Tensor) -> Any:
        return self.lstm(self.emb(x))[0][:, -1]

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.read(x))


class KeepsStates(Plain):
    def forward(self, x: Tensor) -> Any:
        out, self.hidden = self.lstm(self.emb(x))
        return self.fc(out[:, -1])


class Carrying(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.hidden: Any = None

    def choose(self, x: Tensor) -> Any:
        fits = self.hidden is not None and self.hidden[0].size(1) == x.size(0)
        return self.hidden if fits else None


del MODELS["Carrying"]


class CarriesDetachedStates(Carrying):
    def forward(self, x: Tensor) -> Any:
        out, states = self.lstm(self.emb(x), self.choose(x))
        self.hidden = tuple(each.detach() for each in states)
        return self.fc(out[:, -1])


class CarriesStates(Carrying):
    def forward(self, x: Tensor) -> Any:
        out, self.hidden = self.lstm(self.emb(x), self.choose(x))
        return self.fc(out[:, -1])


class CarriesWithGradients(Carrying):
    def forward(self, x: Tensor) -> Any:
        is_on = torch.is_grad_enabled()
        out, states = self.lstm(self.emb(x), self.choose(x) if is_on else None)
        self.hidden = states if is_on else self.hidden
        return self.fc(out[:, -1])


class CarriesInTraining(Carrying):
    def forward(self, x: Tensor) -> Any:
        out, states = self.lstm(self.emb(x), self.choose(x) if self.training else None)
        self.hidden = states if self.training else self.hidden
        return self.fc(out[:, -1])


class Checkpointed(Plain):
    def read(self, x: Tensor) -> Any:
        return checkpoint(lambda e: self.lstm(e)[0], self.emb(x), use_reentrant=True)[:, -1]


class CheckpointedHead(Plain):
    def forward(self, x: Tensor) -> Any:
        return checkpoint(self.fc, self.read(x), use_reentrant=True)


class CheckpointedWithHooks(Plain):
    def read(self, x: Tensor) -> Any:
        return checkpoint(lambda e: self.lstm(e)[0], self.emb(x), use_reentrant=False)[:, -1]


class CallsWithoutGradients(Plain):
    def read(self, x: Tensor) -> Any:
        with torch.no_grad():
            return super().read(x)


class CallsInInferenceMode(Plain):
    def read(self, x: Tensor) -> Any:
        with torch.inference_mode():
            self.kept = super().read(x)
        return self.kept.clone()


class PredictsInInferenceMode(Plain):
    @torch.inference_mode()
    def forward(self, x: Tensor) -> Any:
        self.kept = super().forward(x)
        return self.kept


class Keywords(Plain):
    def forward(self, x: Tensor) -> Any:
        state = torch.zeros(1, x.size(0), 10).to(self.fc.weight)
        out, _ = self.lstm(hx=(state, state), input=self.emb(input=x))
        return self.fc(input=out[:, -1])


class HasLazyHead(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.LazyLinear(3)


class HasLazyNorm(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LazyBatchNorm1d()

    def read(self, x: Tensor) -> Any:
        return self.norm(super().read(x))


class MadeInCalls(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.fc = None

    def forward(self, x: Tensor) -> Any:
        features = self.read(x)
        if self.fc is None:
            self.fc = nn.Linear(features.shape[-1], 3).to(features)
        return self.fc(features)


class DropsWeights(Plain):
    def __init__(self) -> None:
        super().__init__()
        raw = self.lstm.weight_hh_l0
        del self.lstm._parameters["weight_hh_l0"]
        self.lstm.register_parameter("weight_hh_l0_raw", nn.Parameter(raw.data))

    def read(self, x: Tensor) -> Any:
        dropped = functional.dropout(self.lstm.weight_hh_l0_raw, 0.5, self.training)
        self.lstm.weight_hh_l0 = dropped * 1
        return super().read(x)


class NormalisesWeights(Plain):
    def __init__(self) -> None:
        super().__init__()
        nn.utils.weight_norm(self.lstm, "weight_hh_l0")
        nn.utils.spectral_norm(self.fc)


class ParametrizesWeights(Plain):
    def __init__(self) -> None:
        super().__init__()
        nn.utils.parametrizations.weight_norm(self.lstm, "weight_hh_l0")
        nn.utils.parametrizations.spectral_norm(self.fc)


class TargetsInTraining(Plain):
    def forward(self, x: Tensor, targets: Any = None) -> Any:
        prediction = super().forward(x)
        if self.training:
            return {"loss": functional.cross_entropy(prediction, targets)}
        return prediction


class ReturnsLossInTraining(Plain):
    def forward(self, x: Tensor) -> Any:
        prediction = super().forward(x)
        return {"loss": "none"} if self.training else prediction


class RaisesInTraining(Plain):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x) * (self.nothing if self.training else 1)


class ReturnsNothing(Plain):
    """Its own methods for modes and dtypes return nothing."""

    def train(self, mode: bool = True) -> Any:
        super().train(mode)

    def to(self, *arguments: Any, **keywords: Any) -> Any:
        super().to(*arguments, **keywords)

    def double(self) -> Any:
        super().double()


class HasNumbersAsParameters(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.step = nn.Parameter(torch.tensor(0), requires_grad=False)
        self.flag = nn.Parameter(torch.tensor(True), requires_grad=False)


class NeedsPositiveWeights(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.sigma = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Any:
        prediction = super().forward(x)
        torch.distributions.Normal(prediction, self.sigma, validate_args=True)
        return prediction * self.sigma


class ChecksItsPrediction(Plain):
    def forward(self, x: Tensor) -> Any:
        return torch.distributions.Categorical(logits=super().forward(x)).logits


class HasPropertyThatRaises(Plain):
    is_fitted = False

    @property
    def result(self) -> Any:
        raise RuntimeError("fit it first")


class HasFunction(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.function = torch.tanh

    def forward(self, x: Tensor) -> Any:
        return self.function(super().forward(x))


class HooksInClosure(Plain):
    def __init__(self) -> None:
        super().__init__()
        seen: dict[str, Any] = {}
        self.seen = seen

        def hook(module: Any, arguments: Any, result: Any) -> None:
            seen["out"] = result[0]

        self.lstm.register_forward_hook(hook)

    def read(self, x: Tensor) -> Any:
        self.lstm(self.emb(x))
        return self.seen["out"][:, -1]


class HooksOneCall(Plain):
    def forward(self, x: Tensor) -> Any:
        seen: list[Any] = []
        handle = self.lstm.register_forward_hook(lambda m, i, result: seen.append(result))
        prediction = super().forward(x)
        handle.remove()
        return prediction + 0 * seen[0][0].sum(dim=(1, 2)).unsqueeze(1)


class HeadInClosure(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.head = lambda features: self.fc(features)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.read(x))


class HeadInPartial(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.head = partial(functional.linear, weight=self.fc.weight, bias=self.fc.bias)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.read(x))


class HoldsWhatCannotBeCopied(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()
        self.names = itertools.cycle("ab")
        self.numbers = (number for number in range(9))


class StepsThroughCells(Plain):
    def __init__(self) -> None:
        super().__init__()
        del self.lstm
        self.cell = nn.LSTMCell(8, 10)

    def read(self, x: Tensor) -> Any:
        embedded = self.emb(x)
        h = c = embedded.new_zeros(x.size(0), 10)
        self.states = []
        for step in embedded.unbind(1):
            h, c = self.cell(step, (h, c))
            self.states.append((h, c))
        return self.states[-1][0]


class FillsInPlace(Plain):
    def __init__(self) -> None:
        super().__init__()
        del self.lstm
        self.cell = nn.GRUCell(8, 10)

    def read(self, x: Tensor) -> Any:
        embedded = self.emb(x)
        h = embedded.new_zeros(x.size(0), 10)
        out = embedded.new_zeros(x.size(0), x.size(1), 10)
        for step in range(x.size(1)):
            h = self.cell(embedded[:, step], h)
            out[:, step] = h
        return out


class KeepsPacked(Plain):
    def read(self, x: Tensor) -> Any:
        lengths = torch.full((x.size(0),), x.size(1))
        self.packed = pack_padded_sequence(self.emb(x), lengths, batch_first=True)
        self.out, (h, _) = self.lstm(self.packed)
        self.padded, _ = pad_packed_sequence(self.out, batch_first=True)
        self.padded *= 1
        return h[-1]


class ReturnsNamedTuple(Plain):
    def forward(self, x: Tensor) -> Any:
        out, states = self.lstm(self.emb(x))
        return Result(self.fc(out[:, -1]), states)


class ReturnsDataclass(Plain):
    def forward(self, x: Tensor) -> Any:
        out, states = self.lstm(self.emb(x))
        return Output(self.fc(out[:, -1]), states)


class ReturnsStates(Plain):
    def forward(self, x: Tensor, hidden: Any = None) -> Any:
        out, hidden = self.lstm(self.emb(x), hidden)
        return self.fc(out), hidden


class DifferentiatesInCalls(Plain):
    def forward(self, x: Tensor) -> Any:
        with torch.enable_grad():
            embedded = self.emb(x).detach().requires_grad_()
            self.fc(self.lstm(embedded)[0][:, -1]).sum().backward(retain_graph=True)
            self.saliency = embedded.grad
        return super().forward(x)


class GoesBackInTraining(Plain):
    def forward(self, x: Tensor) -> Any:
        prediction = super().forward(x)
        if prediction.requires_grad and self.training:
            prediction.square().mean().backward()
        return prediction


class LimitsNorms(Plain):
    def forward(self, x: Tensor) -> Any:
        with torch.no_grad():
            self.fc.weight.div_(self.fc.weight.norm().clamp(min=1e3) / 1e3)
        self.fc.weight.data = self.fc.weight.data.clone()
        return super().forward(x)


class HasScriptedHead(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.jit.script(nn.Linear(10, 3))


class IsParallel(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.DataParallel(self.lstm)


class MapsItsHead(Plain):
    def forward(self, x: Tensor) -> Any:
        return torch.vmap(self.fc)(self.read(x))


class CallsItsHeadAsFunction(Plain):
    def forward(self, x: Tensor) -> Any:
        parameters = dict(self.fc.named_parameters())
        return torch.func.functional_call(self.fc, parameters, (self.read(x),))


class FollowsItsWeights(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.__dict__["teacher"] = copy.deepcopy(self.fc)
        self.means = [each.detach().clone() for each in self.parameters()]

    def forward(self, x: Tensor) -> Any:
        with torch.no_grad():
            for mean, parameter in zip(self.means, self.parameters(), strict=True):
                mean.mul_(0.9).add_(parameter.to(mean), alpha=0.1)
        return super().forward(x)


class HasBufferOfStates(Plain):
    h: Any
    calls: Any

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("h", torch.zeros(1, 1, 10))
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def read(self, x: Tensor) -> Any:
        self.calls += 1
        _, (self.h, _) = self.lstm(self.emb(x))
        return self.h[-1]


class SetsAStep(Plain):
    def read(self, x: Tensor) -> Any:
        out, _ = self.lstm(self.emb(x))
        out[:, 0] *= 2
        return out.mean(1)


class RoundsToHalf(Plain):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x).half().float()


class Features(Plain):
    def __init__(self) -> None:
        super().__init__()
        del self.emb

    def read(self, x: Tensor) -> Any:
        return self.lstm(x)[0][:, -1]


class CentresInputInPlace(Features):
    def read(self, x: Tensor) -> Any:
        x -= x.mean(1, keepdim=True)
        return super().read(x)


def divide_in_place(tensor: Tensor) -> Tensor:
    """Divide a tensor by its norm, in a way of which no gradient can be computed."""
    tensor /= tensor.norm(dim=-1, keepdim=True) + 1
    return tensor


class DividesInputInPlace(Features):
    def read(self, x: Tensor) -> Any:
        return super().read(divide_in_place(x))


class DividesFrozenWordsInPlace(Plain):
    def read(self, x: Tensor) -> Any:
        self.emb.weight.requires_grad_(False)
        return self.lstm(divide_in_place(self.emb(x)))[0][:, -1]


class DividesFrozenOutputInPlace(Plain):
    def read(self, x: Tensor) -> Any:
        for each in (self.emb, self.lstm):
            each.requires_grad_(False)
        return divide_in_place(self.lstm(self.emb(x))[0])[:, -1]


class PoolsBeforeLayer(Features):
    """Its layer has one step for every four of the input."""

    def read(self, x: Tensor) -> Any:
        pooled = functional.avg_pool1d(x.transpose(1, 2), 4, ceil_mode=True)
        return super().read(pooled.transpose(1, 2))


class PoolsBeforeBothDirections(PoolsBeforeLayer):
    """Reads one step of the backward direction."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 5, batch_first=True, bidirectional=True)


class TransposesInputInPlace(Features):
    def read(self, x: Tensor) -> Any:
        x.transpose_(0, 1)
        return super().read(x.transpose(0, 1))


class GoesThroughNumPy(Features):
    def read(self, x: Tensor) -> Any:
        return super().read(torch.from_numpy(x.numpy() * 2).to(x))


class AsksForGradients(Features):
    def read(self, x: Tensor) -> Any:
        return super().read(x.requires_grad_())


class ChecksItsInput(Features):
    def read(self, x: Tensor) -> Any:
        assert x.abs().max() < 20, "out of range"
        return super().read(x)


class LayerOfNamedTuples(nn.LSTM):
    def forward(self, x: Any, states: Any = None) -> Any:
        out, (h, c) = super().forward(x, states)
        return Result(out, [h, c])


class LayerOfOutputs(nn.LSTM):
    def forward(self, x: Any, states: Any = None) -> Any:
        return super().forward(x, states)[0]


class HasLayerOfNamedTuples(Plain):
    kind: ClassVar[Any] = LayerOfNamedTuples

    def read(self, x: Tensor) -> Any:
        result = self.lstm(self.emb(x))
        return result.logits[:, -1] + 0 * result.states[0][-1]


class HasLayerOfOutputs(Plain):
    kind: ClassVar[Any] = LayerOfOutputs

    def read(self, x: Tensor) -> Any:
        return self.lstm(self.emb(x))[:, -1]


class HasListOfSizes(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.hidden_size, self.weight_hh, self.input_size = [10, 10], None, "8"

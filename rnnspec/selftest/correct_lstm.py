"""Correct LSTMs that compute their cell in another way than the reference layer.

No rule may report a violation for any of them.
"""

# ruff: noqa: D102  (the class docstring says what its methods do differently)

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rnnspec.plain.lstm import GATES, PlainLSTM


class SubclassOfLSTM(nn.LSTM):
    """A subclass of `torch.nn.LSTM` that changes nothing."""


class MemoryByAddcmul(PlainLSTM):
    """The cell state is computed by one fused `torch.addcmul`, i g first."""

    def renew(self, c: Tensor, i: Tensor, f: Tensor, g: Tensor, o: Tensor) -> Tensor:
        return torch.addcmul(i * g, f, c)


class GatesBySigmoidOfTanh(PlainLSTM):
    """A gate is `(1 + tanh(x / 2)) / 2`."""

    def gate(self, x: Tensor) -> Tensor:
        return 0.5 * torch.tanh(0.5 * x) + 0.5


class GatesByExponential(PlainLSTM):
    """A gate is `1 / (1 + exp(-x))`; exp may overflow to infinity, which gives 0."""

    def gate(self, x: Tensor) -> Tensor:
        if not torch.is_grad_enabled() or not x.requires_grad:
            return 1 / (1 + torch.exp(-x))
        return super().gate(x)


class LSTMGatesOneByOne(PlainLSTM):
    """Every gate has a product of its own, and sums over units run from the last to the first."""

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        read = torch.split(x, self.hidden_size, dim=1)
        parts = torch.split(weight, self.hidden_size, dim=1)
        hidden = self.show(h).flip(1)
        gates = self.open_gates(
            *(hidden @ part.flip(0) + each for part, each in zip(parts, read, strict=True))
        )
        c = self.renew(self.recall(h), *gates)
        return torch.cat([self.project_state(self.expose(c, gates[3]), layer), c], dim=1)


class LSTMGatesFused(PlainLSTM):
    """All gates come from one product of [x, h] with their joined weights."""

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        self.__dict__["cell"] = layer, direction
        return data

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        place = self.__dict__["cell"]
        joined = torch.cat([self.input_weight(*place), weight.t()], dim=1)
        sums = torch.cat([x, self.show(h)], dim=1) @ joined.t() + sum(self.biases(*place))
        gates = self.open_gates(*sums.chunk(GATES, dim=1))
        c = self.renew(self.recall(h), *gates)
        return torch.cat([self.project_state(self.expose(c, gates[3]), layer), c], dim=1)


class TorchLSTMCell(PlainLSTM):
    """Each step calls the function behind `torch.nn.LSTMCell`."""

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        self.__dict__["cell"] = [
            self.parameter(kind, layer, direction) for kind in self.parameter_kinds()
        ]
        return data

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        if self.output_size != self.hidden_size:
            return self._step_with_projection(x, h, weight, layer)
        parameters = self.__dict__["cell"]
        hidden, c = torch.lstm_cell(x, [self.show(h), self.recall(h)], *parameters)
        return torch.cat([hidden, c], dim=1)

    def _step_with_projection(self, x: Tensor, h: Tensor, weight: Tensor, layer: int) -> Tensor:
        read = super().project(x, layer, self.__dict__["direction"])
        return super().step(read, h, weight, layer, 0)


class Remember(torch.autograd.Function):
    """The states of an LSTM from the sums of its gates, with derivatives written by hand."""

    @staticmethod
    def forward(ctx: Any, i: Tensor, f: Tensor, g: Tensor, o: Tensor, c: Tensor):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(i, f, g, o, c)
        new = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(new), new

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        i, f, g, o, c = ctx.saved_tensors
        i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
        d_h, d_new = gradients
        shown = torch.tanh(f * c + i * g)
        d_new = d_new + d_h * o * (1 - shown * shown)
        d_i, d_f = d_new * g * i * (1 - i), d_new * c * f * (1 - f)
        d_g, d_o = d_new * i * (1 - g * g), d_h * shown * o * (1 - o)
        return d_i, d_f, d_g, d_o, d_new * f


class LSTMWithHandWrittenBackward(PlainLSTM):
    """The derivatives of each step are written by hand."""

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        sums = torch.addmm(x, self.show(h), weight).chunk(GATES, dim=1)
        hidden, c = Remember.apply(*sums, self.recall(h))
        return torch.cat([self.project_state(hidden, layer), c], dim=1)

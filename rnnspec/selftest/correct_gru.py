"""Correct GRUs that compute their cell in another way than the reference layer.

No rule may report a violation for any of them.
"""

# ruff: noqa: D102  (the class docstring says what its methods do differently)

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rnnspec.plain.gru import GATES, PlainGRU


class SubclassOfGRU(nn.GRU):
    """A subclass of `torch.nn.GRU` that changes nothing."""


class MixedByDifference(PlainGRU):
    """The new state is `n + z (h - n)`, with one product fewer."""

    def mix(self, new: Tensor, update: Tensor, h: Tensor) -> Tensor:
        return new + update * (h - new)


class MixedByLerp(PlainGRU):
    """The new state is computed by `torch.lerp`."""

    def mix(self, new: Tensor, update: Tensor, h: Tensor) -> Tensor:
        return torch.lerp(new, h, update)


class SigmoidByTanh(PlainGRU):
    """A gate is `(1 + tanh(x / 2)) / 2`."""

    def gate(self, x: Tensor) -> Tensor:
        return 0.5 * torch.tanh(0.5 * x) + 0.5


class SigmoidByExponential(PlainGRU):
    """A gate is `1 / (1 + exp(-x))`; exp may overflow to infinity, which gives 0."""

    def gate(self, x: Tensor) -> Tensor:
        if not torch.is_grad_enabled() or not x.requires_grad:
            return 1 / (1 + torch.exp(-x))
        return super().gate(x)


class GatesOneByOne(PlainGRU):
    """Every gate has a product of its own, and sums over units run from the last to the first."""

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        read = torch.split(x, self.hidden_size, dim=1)
        parts = torch.split(weight, self.hidden_size, dim=1)
        reset, update, inside = (h.flip(1) @ part.flip(0) for part in parts)
        inside = inside + read[3] if len(read) > GATES else inside
        gates = self.gate(read[0] + reset), self.gate(update + read[1])
        return self.mix(self.activation(inside * gates[0] + read[2]), gates[1], h)


class GatesFused(PlainGRU):
    """The reset and the update gate come from one product of [x, h] with their joined weights."""

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        self.__dict__["cell"] = layer, direction
        return data

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        place, size = self.__dict__["cell"], 2 * self.hidden_size
        reading, biases = self.input_weight(*place), self.biases(*place)
        joined = torch.cat([reading[:size], weight.t()[:size]], dim=1)
        sums = torch.cat([x, h], dim=1) @ joined.t() + sum(bias[:size] for bias in biases)
        reset, update = self.gate(sums).chunk(2, dim=1)
        new, inside = x @ reading[size:].t(), h @ weight[:, size:]
        if biases:
            new, inside = new + biases[0][size:], inside + biases[1][size:]
        return self.mix(self.activation(new + reset * inside), update, h)


class TorchGRUCell(PlainGRU):
    """Each step calls the function behind `torch.nn.GRUCell`."""

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        self.__dict__["cell"] = [
            self.parameter(kind, layer, direction) for kind in self.parameter_kinds()
        ]
        return data

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        new: Tensor = torch.gru_cell(x, h, *self.__dict__["cell"])
        return new


class Mix(torch.autograd.Function):
    """The new state of a GRU from the arguments of its gates, with derivatives written by hand."""

    @staticmethod
    def forward(ctx: Any, reset: Tensor, update: Tensor, read: Tensor, inside: Tensor, h: Tensor):  # type: ignore[no-untyped-def]
        r, z = torch.sigmoid(reset), torch.sigmoid(update)
        n = torch.tanh(read + r * inside)
        ctx.save_for_backward(reset, update, read, inside, h)
        return (1 - z) * n + z * h

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        reset, update, read, inside, h = ctx.saved_tensors
        r, z = torch.sigmoid(reset), torch.sigmoid(update)
        n = torch.tanh(read + r * inside)
        d_n = gradients[0] * (1 - z) * (1 - n * n)
        d_z = gradients[0] * (h - n) * z * (1 - z)
        return d_n * inside * r * (1 - r), d_z, d_n, d_n * r, gradients[0] * z


class GRUWithHandWrittenBackward(PlainGRU):
    """The derivatives of each step are written by hand."""

    def step(self, x: Tensor, h: Tensor, weight: Tensor, layer: int, t: int) -> Tensor:
        read = torch.split(x, self.hidden_size, dim=1)
        carried = torch.split(h @ weight, self.hidden_size, dim=1)
        inside = carried[2] + read[3] if len(read) > GATES else carried[2]
        new: Tensor = Mix.apply(read[0] + carried[0], read[1] + carried[1], read[2], inside, h)
        return new

"""Correct GRUs and LSTMs that compute their cell differently from the reference layer.

No rule may report a violation for any of them.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from rnnspec.plain.call import Here
from rnnspec.plain.gated import PlainGRU, PlainLSTM
from rnnspec.reference.steps import SumsByName
from rnnspec.reference.values import States, change_values
from rnnspec.selftest.bugs.planted import use_in_gates
from rnnspec.selftest.correct import StepByStep, Weights, add_to, sum_fused

GRU_GATES, LSTM_GATES = ("reset", "update"), ("input", "forget", "output")
"""The gates that use a sigmoid."""


def compute_sigmoid_by_tanh(total: Tensor) -> Tensor:
    """Return a sigmoid, computed using tanh."""
    return 0.5 * torch.tanh(0.5 * total) + 0.5


def compute_sigmoid_by_exponential(total: Tensor) -> Tensor:
    """Return a sigmoid; without a graph, it is computed using exp, which may overflow."""
    if not torch.is_grad_enabled() or not total.requires_grad:
        return 1 / (1 + torch.exp(-total))
    return torch.sigmoid(total)


class SubclassOfGRU(nn.GRU):
    """A subclass of `torch.nn.GRU` that changes nothing."""


class MixedByDifference(PlainGRU):
    """The new state is `n + z (h - n)`, which saves a product."""

    changes = change_values({"h": lambda h, n, z, before: n + z * (before["h"] - n)})


class MixedByLerp(PlainGRU):
    """The new state is computed by `torch.lerp`, which takes tensors of one dtype only."""

    departs_from: ClassVar[tuple[str, ...]] = ("modes.autocast",)
    changes = change_values({"h": lambda h, n, z, before: torch.lerp(n, before["h"], z)})


class MixedByTwoSigmoids(PlainGRU):
    """The weight `1 - z` of the new state is a sigmoid of its own, of the negative sum."""

    changes = change_values(
        {
            "h": lambda h, n, sums, before: (
                torch.sigmoid(-sums["update"]) * n + torch.sigmoid(sums["update"]) * before["h"]
            )
        }
    )


class SigmoidByTanh(PlainGRU):
    """A gate is `(1 + tanh(x / 2)) / 2`."""

    changes = change_values(use_in_gates(compute_sigmoid_by_tanh, *GRU_GATES))


class SigmoidByExponential(PlainGRU):
    """A gate is `1 / (1 + exp(-x))`; exp may overflow to infinity, which gives 0."""

    changes = change_values(use_in_gates(compute_sigmoid_by_exponential, *GRU_GATES))


class GatesOneByOne(PlainGRU):
    """Every gate has its own product, and sums over units run from the last to the first."""

    def multiply(self, rows: Tensor, weight: Tensor, added: Tensor | None = None) -> Tensor:
        return add_to(added, multiply_one_by_one(rows, weight, self.hidden_size))


def multiply_one_by_one(rows: Tensor, weight: Tensor, units: int) -> Tensor:
    """Return a product that is computed gate by gate, from the last column to the first."""
    parts = weight.flip(0).split(units, dim=1)
    return torch.cat([rows.flip(-1) @ part for part in parts], dim=-1)


class GatesFused(StepByStep, PlainGRU):
    """The reset and the update gate come from one product of [x, h] with their joined weights."""

    def take_step(self, x: Tensor, state: Tensor, weights: Weights) -> Tensor:
        split = 2 * self.hidden_size
        gates = sum_fused(x, state, {kind: rows[:split] for kind, rows in weights.items()})
        reset, update = torch.sigmoid(gates).chunk(2, dim=1)
        rest = {kind: rows[split:] for kind, rows in weights.items()}
        new = linear(x, rest["weight_ih"], rest.get("bias_ih"))
        inside = linear(state, rest["weight_hh"], rest.get("bias_hh"))
        return (1 - update) * torch.tanh(new + reset * inside) + update * state


class TorchGRUCell(StepByStep, PlainGRU):
    """Each step calls the function behind `torch.nn.GRUCell`."""

    def take_step(self, x: Tensor, state: Tensor, weights: Weights) -> Tensor:
        new: Tensor = torch.gru_cell(x, state, *weights.values())
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

    changes = change_values({"h": lambda h, sums, before: Mix.apply(*sums.values(), before["h"])})


class SubclassOfLSTM(nn.LSTM):
    """A subclass of `torch.nn.LSTM` that changes nothing."""


class MemoryByAddcmul(PlainLSTM):
    """The cell state is computed by a fused `torch.addcmul`, i g first."""

    changes = change_values({"c": lambda c, i, f, g, before: torch.addcmul(i * g, f, before["c"])})


class GatesBySigmoidOfTanh(PlainLSTM):
    """A gate is `(1 + tanh(x / 2)) / 2`."""

    changes = change_values(use_in_gates(compute_sigmoid_by_tanh, *LSTM_GATES))


class GatesByExponential(PlainLSTM):
    """A gate is `1 / (1 + exp(-x))`; exp may overflow to infinity, which gives 0."""

    changes = change_values(use_in_gates(compute_sigmoid_by_exponential, *LSTM_GATES))


class LSTMGatesOneByOne(PlainLSTM):
    """Every gate has its own product, and sums over units run from the last to the first."""

    def multiply(self, rows: Tensor, weight: Tensor, added: Tensor | None = None) -> Tensor:
        return add_to(added, multiply_one_by_one(rows, weight, self.hidden_size))


class LSTMGatesFused(StepByStep, PlainLSTM):  # type: ignore[misc]
    """All gates come from one product of [x, h] with their joined weights."""

    def take_step(self, x: Tensor, state: Tensor, weights: Weights) -> Tensor:
        h, c = self.split_pair(state)
        i, f, g, o = sum_fused(x, h, weights).chunk(4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        projected = h @ weights["weight_hr"].t() if "weight_hr" in weights else h
        return torch.cat([projected, c], dim=1)


class TorchLSTMCell(LSTMGatesFused):
    """Each step calls the function behind `torch.nn.LSTMCell`, which cannot project its state."""

    def take_step(self, x: Tensor, state: Tensor, weights: Weights) -> Tensor:
        if "weight_hr" in weights:
            return super().take_step(x, state, weights)
        return torch.cat(torch.lstm_cell(x, self.split_pair(state), *weights.values()), dim=1)


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


def remember(c: Tensor, sums: SumsByName, before: States, spot: Here) -> Tensor:
    """Return the cell state, and keep the hidden state for `show`."""
    new: Tensor
    spot.memo["h"], new = Remember.apply(*sums.values(), before["c"])
    return new


def show(h: Tensor, spot: Here) -> Tensor:
    """Return the hidden state that belongs to the cell state."""
    kept: Tensor = spot.memo.pop("h")
    return kept


class LSTMWithHandWrittenBackward(PlainLSTM):
    """The derivatives of each step are written by hand."""

    changes = change_values({"c": remember, "h": show})

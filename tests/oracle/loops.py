"""GRUs and LSTMs as loops of single operations of torch, each of which rounds to the dtype.

The gates are computed one by one, so their gradients are added one by one too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

States = tuple[Tensor, ...]


class _Loop(torch.nn.RNNBase):
    """Runs the steps of every layer and direction; a subclass computes one step."""

    title = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(self.title, *args, **kwargs)

    def step(self, name: str, read: Tensor, states: States) -> States:
        raise NotImplementedError

    def forward(self, values: Any, hx: Any) -> tuple[Tensor, Any]:
        lengths = None
        if isinstance(values, PackedSequence):
            values, lengths = pad_packed_sequence(values)
        first: States = hx if isinstance(hx, tuple) else (hx,)
        steps = torch.arange(len(values))[:, None, None]
        alive = steps < (len(values) if lengths is None else lengths[:, None])
        finals: list[States] = []
        for layer in range(self.num_layers):
            halves = []
            for suffix in ("", "_reverse")[: 1 + self.bidirectional]:
                states = tuple(state[len(finals)] for state in first)
                found: dict[int, Tensor] = {}
                for t in reversed(range(len(values))) if suffix else range(len(values)):
                    fresh = self.step(f"l{layer}{suffix}", values[t], states)
                    pairs = zip(fresh, states, strict=True)
                    states = tuple(torch.where(alive[t], *pair) for pair in pairs)
                    found[t] = torch.where(alive[t], fresh[0], torch.zeros_like(fresh[0]))
                finals.append(states)
                halves.append(torch.stack([found[t] for t in range(len(values))]))
            values = torch.cat(halves, dim=-1)
        last = tuple(torch.stack(each) for each in zip(*finals, strict=True))
        return values, last if len(last) > 1 else last[0]

    def add_products(self, name: str, part: str, gate: int, values: Tensor) -> Tensor:
        rows = slice(gate * self.hidden_size, (gate + 1) * self.hidden_size)
        product: Tensor = values @ getattr(self, f"weight_{part}_{name}")[rows].t()
        if self.bias:
            product = product + getattr(self, f"bias_{part}_{name}")[rows]
        return product

    def add_both(self, name: str, gate: int, read: Tensor, state: Tensor) -> Tensor:
        given = self.add_products(name, "ih", gate, read)
        return given + self.add_products(name, "hh", gate, state)

    def sigmoid(self, sums: Tensor) -> Tensor:
        return torch.sigmoid(sums)


class LoopedGRU(_Loop):
    """A GRU as nn.GRU's page writes it."""

    title = "GRU"

    def step(self, name: str, read: Tensor, states: States) -> States:
        (state,) = states
        r = self.sigmoid(self.add_both(name, 0, read, state))
        z = self.sigmoid(self.add_both(name, 1, read, state))
        kept = self.add_products(name, "hh", 2, state)
        n = torch.tanh(self.add_products(name, "ih", 2, read) + r * kept)
        return (self.mix(z, n, state),)

    def mix(self, z: Tensor, n: Tensor, state: Tensor) -> Tensor:
        return (1.0 - z) * n + z * state


class LerpedGRU(LoopedGRU):
    """Starts from the state before the step, and computes the sigmoid from tanh."""

    def sigmoid(self, sums: Tensor) -> Tensor:
        return 0.5 * (1.0 + torch.tanh(0.5 * sums))

    def mix(self, z: Tensor, n: Tensor, state: Tensor) -> Tensor:
        return state + (1.0 - z) * (n - state)


class LoopedLSTM(_Loop):
    """An LSTM as nn.LSTM's page writes it."""

    title = "LSTM"

    def step(self, name: str, read: Tensor, states: States) -> States:
        state, memory = states
        sums = [self.add_both(name, gate, read, state) for gate in range(4)]
        i, f, o = (self.sigmoid(sums[gate]) for gate in (0, 1, 3))
        memory = f * memory + i * torch.tanh(sums[2])
        shown = o * torch.tanh(memory)
        if self.proj_size:
            shown = shown @ getattr(self, f"weight_hr_{name}").t()
        return shown, memory


class TanhLSTM(LoopedLSTM):
    """Computes the sigmoid from tanh."""

    def sigmoid(self, sums: Tensor) -> Tensor:
        return 0.5 * (1.0 + torch.tanh(0.5 * sums))


LOOPS: dict[type[torch.nn.RNNBase], str] = {
    LoopedGRU: "gru",
    LerpedGRU: "gru",
    LoopedLSTM: "lstm",
    TanhLSTM: "lstm",
}
"""The kind of each layer."""

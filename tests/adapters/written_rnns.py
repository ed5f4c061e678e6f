"""Correct RNNs as people write them, with names and forms that differ from the documentation."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


class FusedLinear(nn.Module):
    """One linear layer reads the input next to the state."""

    def __init__(self, in_dim: int, hid_dim: int) -> None:
        super().__init__()
        self.hid_dim = hid_dim
        self.gate = nn.Linear(in_dim + hid_dim, hid_dim)

    def forward(self, inputs: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
        state = inputs.new_zeros(inputs.shape[1], self.hid_dim) if hidden is None else hidden
        seen = []
        for step in inputs:
            state = torch.tanh(self.gate(torch.cat([step, state], dim=1)))
            seen.append(state)
        return torch.stack(seen), state


class StateFirst(nn.Module):
    """The state comes first in the concatenation and in the returned tuple."""

    def __init__(self, in_dim: int, hid_dim: int) -> None:
        super().__init__()
        self.hid_dim = hid_dim
        self.both = nn.Linear(in_dim + hid_dim, hid_dim)

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        state = x.new_zeros(len(x), self.hid_dim) if state is None else state
        seen = []
        for t in range(x.shape[1]):
            state = self.both(torch.cat([state, x[:, t]], dim=1)).tanh()
            seen.append(state)
        return state, torch.stack(seen, dim=1)


class TransposedKernels(nn.Module):
    """Kernels are stored as (inputs, units), with one bias."""

    def __init__(self, n_in: int, units: int) -> None:
        super().__init__()
        scale = 1 / math.sqrt(units)
        self.kernel = nn.Parameter(torch.empty(n_in, units).uniform_(-scale, scale))
        self.recurrent_kernel = nn.Parameter(torch.empty(units, units).uniform_(-scale, scale))
        self.bias = nn.Parameter(torch.zeros(units))

    def forward(self, sequence: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if state is None:
            state = sequence.new_zeros(sequence.size(0), self.bias.numel())
        projected = sequence @ self.kernel + self.bias
        outputs = []
        for step in projected.unbind(1):
            state = torch.tanh(step + state @ self.recurrent_kernel)
            outputs.append(state)
        return torch.stack(outputs, 1), state


class ReluLoop(nn.Module):
    """Always relu, without biases, time first, with the state in the documented shape."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.U = nn.Parameter(torch.randn(hidden_size, input_size) / 3)
        self.W = nn.Parameter(torch.randn(hidden_size, hidden_size) / 3)

    def forward(self, x: Tensor, h_0: Tensor | None = None) -> tuple[Tensor, Tensor]:
        h = x.new_zeros(x.size(1), self.W.size(0)) if h_0 is None else h_0[0]
        out = []
        for step in x:
            h = (step @ self.U.t() + h @ self.W.t()).relu()
            out.append(h)
        return torch.stack(out), h[None]


class CellInLoop(nn.Module):
    """torch's cell in a loop; the outputs of the steps come as a list."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.cell = nn.RNNCell(input_size, hidden_size)

    def forward(self, x: Tensor, hx: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        states = []
        for step in x:
            hx = self.cell(step, hx)
            states.append(hx)
        assert hx is not None
        return states, hx


class StateRequired(nn.Module):
    """A call must be given a state."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.wx = nn.Linear(input_size, hidden_size, bias=False)
        self.wh = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        out = []
        for t in range(x.size(1)):
            h = torch.tanh(self.wx(x[:, t, :]) + self.wh(h))
            out.append(h)
        return torch.stack(out, dim=1), h


class OutputOnly(nn.Module):
    """Takes no state and returns none."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.a = nn.Linear(features, hidden)
        self.b = nn.Linear(hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.size(0), self.hidden)
        out = []
        for t in range(x.size(1)):
            h = torch.tanh(self.a(x[:, t]) + self.b(h))
            out.append(h)
        return torch.stack(out, dim=1)


class BatchFirstState(nn.Module):
    """The state has the batch in front too."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.inp = nn.Linear(input_size, hidden_size)
        self.rec = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor, h0: Tensor | None = None) -> tuple[Tensor, Tensor]:
        h = x.new_zeros(len(x), self.rec.in_features) if h0 is None else h0[:, 0]
        out = []
        for t in range(x.size(1)):
            h = torch.tanh(self.inp(x[:, t]) + self.rec(h))
            out.append(h)
        return torch.stack(out, dim=1), h[:, None]


class Dictionary(nn.Module):
    """Returns a dictionary, and takes the state by keyword after a mask that is ignored."""

    def __init__(self, d_in: int, d_hidden: int) -> None:
        super().__init__()
        self.W_x = nn.Linear(d_in, d_hidden)
        self.W_h = nn.Linear(d_hidden, d_hidden)

    def forward(
        self, x: Tensor, mask: None = None, state: Tensor | None = None
    ) -> dict[str, Tensor]:
        h = x.new_zeros(x.size(1), self.W_h.in_features) if state is None else state
        out = []
        for step in x:
            h = torch.tanh(self.W_x(step) + self.W_h(h))
            out.append(h)
        return {"sequence": torch.stack(out), "last": h}


class DeepList(nn.Module):
    """Any number of layers and directions, with a list of states and both biases in one."""

    def __init__(
        self, n_inputs: int, n_hidden: int, n_layers: int = 1, bidir: bool = False
    ) -> None:
        super().__init__()
        self.ways = 2 if bidir else 1
        self.read = nn.ModuleList()
        self.carry = nn.ModuleList()
        for layer in range(n_layers):
            width = self.ways * n_hidden if layer else n_inputs
            for _ in range(self.ways):
                self.read.append(nn.Linear(width, n_hidden))
                self.carry.append(nn.Linear(n_hidden, n_hidden, bias=False))

    def forward(self, x: Tensor, states: Any = None) -> tuple[Tensor, list[Tensor]]:
        finals: list[Tensor] = []
        for first in range(0, len(self.read), self.ways):
            found = []
            for way in range(self.ways):
                read, carry = self.read[first + way], self.carry[first + way]
                weight = carry.weight
                assert isinstance(weight, Tensor)
                h = x.new_zeros(x.size(1), len(weight)) if states is None else states[first + way]
                steps = x.flip(0) if way else x
                seen = []
                for step in steps:
                    h = torch.tanh(read(step) + carry(h))
                    seen.append(h)
                finals.append(h)
                found.append(torch.stack(seen[::-1] if way else seen))
            x = torch.cat(found, dim=-1)
        return x, finals


class DeepByDirection(nn.Module):
    """Any number of layers and directions: all cells of one direction, then those of the other."""

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bidirectional: bool = False
    ) -> None:
        super().__init__()
        self.ways, self.num_layers = 2 if bidirectional else 1, num_layers
        sizes = [input_size, *[self.ways * hidden_size] * (num_layers - 1)]
        self.cells = nn.ModuleList(nn.RNNCell(n, hidden_size) for n in sizes * self.ways)

    def forward(self, x: Tensor) -> Tensor:
        for layer in range(self.num_layers):
            found = []
            for way in range(self.ways):
                cell = self.cells[way * self.num_layers + layer]
                h, seen = None, []
                for step in x.flip(0) if way else x:
                    h = cell(step) if h is None else cell(step, h)
                    seen.append(h)
                found.append(torch.stack(seen[::-1] if way else seen))
            x = torch.cat(found, dim=-1)
        return x


RNNS: tuple[type[nn.Module], ...] = (
    FusedLinear,
    StateFirst,
    TransposedKernels,
    ReluLoop,
    CellInLoop,
    StateRequired,
    OutputOnly,
    BatchFirstState,
    Dictionary,
    DeepList,
    DeepByDirection,
)

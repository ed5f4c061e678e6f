"""Layers as people write them that always have two layers or two directions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class TwoWays(nn.Module):
    """Two directions of two linear layers each, batch first, without a state."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.fwd_x = nn.Linear(input_size, hidden_size)
        self.fwd_h = nn.Linear(hidden_size, hidden_size)
        self.bwd_x = nn.Linear(input_size, hidden_size)
        self.bwd_h = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        steps = range(x.size(1))
        there = self.run(x, self.fwd_x, self.fwd_h, steps)
        back = self.run(x, self.bwd_x, self.bwd_h, reversed(steps))
        return torch.cat([torch.stack([each[t] for t in steps], 1) for each in (there, back)], -1)

    def run(
        self, x: Tensor, read: nn.Linear, carry: nn.Linear, steps: Iterable[int]
    ) -> dict[int, Tensor]:
        h = x.new_zeros(x.size(0), self.hidden_size)
        found = {}
        for t in steps:
            found[t] = h = torch.tanh(read(x[:, t]) + carry(h))
        return found


class TwoCells(nn.Module):
    """An LSTM of two directions, with the documented states."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.there = nn.LSTMCell(input_size, hidden_size)
        self.back = nn.LSTMCell(input_size, hidden_size)

    def forward(
        self, x: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        zeros = x.new_zeros(2, x.size(1), self.hidden_size)
        h_0, c_0 = (zeros, zeros) if state is None else state
        outputs, ends = [], []
        for way, cell in enumerate((self.there, self.back)):
            pair, found = (h_0[way], c_0[way]), []
            for step in x.flip(0) if way else x:
                pair = cell(step, pair)
                found.append(pair[0])
            outputs.append(torch.stack(found[::-1] if way else found))
            ends.append(pair)
        h_n, c_n = (torch.stack(each) for each in zip(*ends, strict=True))
        return torch.cat(outputs, -1), (h_n, c_n)


class TwoLayers(nn.Module):
    """A GRU of two layers, batch first, with a list of states."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.cells = nn.ModuleList(nn.GRUCell(n, hidden_size) for n in (input_size, hidden_size))

    def forward(self, x: Tensor, states: list[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        zeros = x.new_zeros(x.size(0), self.hidden_size)
        ends, outputs = list(states or [zeros, zeros]), []
        for t in range(x.size(1)):
            below = x[:, t]
            for layer, cell in enumerate(self.cells):
                ends[layer] = below = cell(below, ends[layer])
            outputs.append(below)
        return torch.stack(outputs, 1), ends


class TwoLayersPairs(nn.Module):
    """An LSTM of two layers, time first, with a pair of states for each layer."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.cells = nn.ModuleList(nn.LSTMCell(n, hidden_size) for n in (input_size, hidden_size))

    def forward(
        self, x: Tensor, states: list[tuple[Tensor, Tensor]] | None = None
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        zeros = x.new_zeros(x.size(1), self.hidden_size)
        ends, outputs = list(states or [(zeros, zeros)] * 2), []
        for below in x:
            for layer, cell in enumerate(self.cells):
                ends[layer] = cell(below, ends[layer])
                below = ends[layer][0]
            outputs.append(below)
        return torch.stack(outputs), ends


class TwoLayersListed(TwoLayersPairs):
    """The same with a list of hidden states and a list of cell states."""

    def forward(self, x: Tensor, hs: Any = None, cs: Any = None) -> Any:
        output, ends = super().forward(x, hs and list(zip(hs, cs, strict=True)))
        return output, *map(list, zip(*ends, strict=True))


class TwoLayersNested(TwoLayersPairs):
    """The same with a pair of both lists."""

    def forward(self, x: Tensor, state: Any = None) -> Any:
        output, ends = super().forward(x, state and list(zip(*state, strict=True)))
        return output, tuple(map(list, zip(*ends, strict=True)))


class TwoLayersOutput(nn.Module):
    """Two layers with transposed kernels and one bias each, which return their output only."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.w1 = nn.Parameter(torch.rand(input_size, hidden_size))
        self.u1 = nn.Parameter(torch.rand(hidden_size, hidden_size))
        self.b1 = nn.Parameter(torch.rand(hidden_size))
        self.w2 = nn.Parameter(torch.rand(hidden_size, hidden_size))
        self.u2 = nn.Parameter(torch.rand(hidden_size, hidden_size))
        self.b2 = nn.Parameter(torch.rand(hidden_size))

    def forward(self, x: Tensor) -> Tensor:
        first = second = x.new_zeros(x.size(0), len(self.b1))
        outputs = []
        for t in range(x.size(1)):
            first = torch.tanh(x[:, t] @ self.w1 + first @ self.u1 + self.b1)
            second = torch.tanh(first @ self.w2 + second @ self.u2 + self.b2)
            outputs.append(second)
        return torch.stack(outputs, 1)


class DeepTwoWays(nn.Module):
    """A GRU of any number of layers that always has two directions."""

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        sizes = [input_size] + [2 * hidden_size] * (num_layers - 1)
        self.fwd = nn.ModuleList(nn.GRUCell(n, hidden_size) for n in sizes)
        self.bwd = nn.ModuleList(nn.GRUCell(n, hidden_size) for n in sizes)

    def forward(self, x: Tensor, h_0: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if h_0 is None:
            h_0 = x.new_zeros(2 * len(self.fwd), x.size(1), self.hidden_size)
        ends: list[Tensor] = []
        for pair in zip(self.fwd, self.bwd, strict=True):
            outputs = []
            for way, cell in enumerate(pair):
                h, found = h_0[len(ends)], []
                for step in x.flip(0) if way else x:
                    h = cell(step, h)
                    found.append(h)
                ends.append(h)
                outputs.append(torch.stack(found[::-1] if way else found))
            x = torch.cat(outputs, -1)
        return x, torch.stack(ends)


class LayersOfTorch(nn.Module):
    """Two bidirectional LSTMs of torch, one above the other."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.first = nn.LSTM(input_size, hidden_size, batch_first=True, bidirectional=True)
        self.second = nn.LSTM(2 * hidden_size, hidden_size, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        below, _ = self.first(x)
        output: Tensor = self.second(below)[0]
        return output


class StateInFrontOfLayers(nn.Module):
    """Two layers of torch, with states that have the batch in front of the layers."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.rnn = nn.RNN(input_size, hidden_size, 2, batch_first=True)

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        output, h_n = self.rnn(x, None if h is None else h.transpose(0, 1).contiguous())
        return output, h_n.transpose(0, 1)


STACKS: tuple[type[nn.Module], ...] = (
    TwoWays,
    TwoCells,
    TwoLayers,
    TwoLayersPairs,
    TwoLayersListed,
    TwoLayersNested,
    TwoLayersOutput,
    DeepTwoWays,
    LayersOfTorch,
    StateInFrontOfLayers,
)

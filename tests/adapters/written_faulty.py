"""Layers in forms of their own with one fault each, which an adapter must not hide."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tests.adapters.half_done import MyRNN
from tests.adapters.written_gated import GateLinears, Pair, PlainLstm
from tests.adapters.written_rnns import DeepList


class StateIgnored(MyRNN):
    """Takes a state and starts from zeros."""

    def forward(self, x: Tensor, h: Tensor | None = None) -> Pair:
        return super().forward(x, None if h is None else torch.zeros_like(h))


class FirstState(MyRNN):
    """Returns the state after the first step."""

    def forward(self, x: Tensor, h: Tensor | None = None) -> Pair:
        output, _ = super().forward(x, h)
        return output, output[:, 0].clone()


class Mixed(MyRNN):
    """Carries the state of the next sample on."""

    def forward(self, x: Tensor, h: Tensor | None = None) -> Pair:
        h = x.new_zeros(x.size(0), self.hidden_size) if h is None else h
        outs = []
        for t in range(x.size(1)):
            h = torch.tanh(self.i2h(x[:, t]) + self.h2h(h.roll(1, 0) if t else h))
            outs.append(h)
        return torch.stack(outs, 1), h


class SinglePrecision(MyRNN):
    """Computes in float32, whatever its dtype is."""

    def forward(self, x: Tensor, h: Tensor | None = None) -> Pair:
        weights = [each.float() for each in self.parameters()]
        h = x.new_zeros(x.size(0), self.hidden_size) if h is None else h
        state, outs = h.float(), []
        for step in x.float().unbind(1):
            sums = step @ weights[0].T + weights[1] + state @ weights[2].T + weights[3]
            state = torch.tanh(sums)
            outs.append(state)
        return torch.stack(outs, 1).to(x.dtype), state.to(x.dtype)


class ResetBefore(GateLinears):
    """A GRU that resets the state before it is multiplied, instead of after."""

    def forward(self, x: Tensor, h: Tensor | None = None) -> Pair:
        h = x.new_zeros(x.size(0), self.hidden_size) if h is None else h
        out = []
        for step in x.unbind(1):
            r = torch.sigmoid(self.ir(step) + self.hr(h))
            z = torch.sigmoid(self.iz(step) + self.hz(h))
            n = torch.tanh(self.in_(step) + self.hn(r * h))
            h = (1 - z) * n + z * h
            out.append(h)
        return torch.stack(out, 1), h


class NoResetGradient(GateLinears):
    """A GRU whose reset gate passes no gradient."""

    def forward(self, x: Tensor, h: Tensor | None = None) -> Pair:
        h = x.new_zeros(x.size(0), self.hidden_size) if h is None else h
        out = []
        for step in x.unbind(1):
            r = torch.sigmoid(self.ir(step) + self.hr(h)).detach()
            z = torch.sigmoid(self.iz(step) + self.hz(h))
            n = torch.tanh(self.in_(step) + r * self.hn(h))
            h = (1 - z) * n + z * h
            out.append(h)
        return torch.stack(out, 1), h


class BackwardFirst(DeepList):
    """Puts the backward direction first in the output of the last layer."""

    def forward(self, x: Tensor, states: Any = None) -> tuple[Tensor, list[Tensor]]:
        output, finals = super().forward(x, states)
        return torch.cat(output.chunk(self.ways, -1)[::-1], -1), finals


class SharedStart(DeepList):
    """Starts every layer and direction from the state of the first."""

    def forward(self, x: Tensor, states: Any = None) -> tuple[Tensor, list[Tensor]]:
        first = None if states is None else [states[0]] * len(states)
        return super().forward(x, first)


class FinalsByDirection(DeepList):
    """Returns the final states of every forward direction before those of the backward ones."""

    def forward(self, x: Tensor, states: Any = None) -> tuple[Tensor, list[Tensor]]:
        output, finals = super().forward(x, states)
        return output, [each for way in range(self.ways) for each in finals[way :: self.ways]]


class CellIgnored(PlainLstm):
    """An LSTM that takes c_0 and starts from zeros."""

    def forward(self, x: Tensor, state: Pair | None = None) -> tuple[Tensor, Pair]:
        given = None if state is None else (state[0], torch.zeros_like(state[1]))
        return super().forward(x, given)


class CellForHidden(PlainLstm):
    """An LSTM that returns the hidden state in the place of the cell state."""

    def forward(self, x: Tensor, state: Pair | None = None) -> tuple[Tensor, Pair]:
        output, (h, _) = super().forward(x, state)
        return output, (h, h.clone())


class DetachedCell(PlainLstm):
    """An LSTM through whose cell state no gradient flows from step to step."""

    def forward(self, x: Tensor, state: Pair | None = None) -> tuple[Tensor, Pair]:
        outputs: list[Tensor] = []
        for step in x.unbind(1):
            if outputs and state is not None:
                state = state[0], state[1].detach()
            output, state = super().forward(step.unsqueeze(1), state)
            outputs.append(output)
        assert state is not None
        return torch.cat(outputs, 1), state


class SecondDetached(nn.Module):
    """Two layers that return their output only; no gradient reaches the first one."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.first = nn.LSTM(input_size, hidden_size)
        self.second = nn.LSTM(hidden_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.second(self.first(x)[0].detach())[0]
        return output


class StateOfSecondIgnored(nn.Module):
    """Two layers, of which the second does not get its initial state."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.first = nn.GRU(input_size, hidden_size)
        self.second = nn.GRU(hidden_size, hidden_size)

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        below, first = self.first(x, None if h is None else h[:1])
        output, second = self.second(below)
        return output, torch.cat([first, second])


class ForwardReadTwice(nn.Module):
    """Two layers of two directions, of which the second reads the forward half twice."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.units = hidden_size
        self.first = nn.RNN(input_size, hidden_size, bidirectional=True)
        self.second = nn.RNN(2 * hidden_size, hidden_size, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        half = self.first(x)[0][..., : self.units]
        output: Tensor = self.second(torch.cat([half, half], -1))[0]
        return output

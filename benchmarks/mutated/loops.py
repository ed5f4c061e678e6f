"""Subclasses of torch's layers and cells whose forward pass is a loop over layers and steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence


def step_rnn(total: Tensor, inside: Tensor, states: tuple[Tensor, ...], name: str) -> Tensor:
    """Return the hidden states of an RNN after a step."""
    return torch.tanh(total + inside) if name == "RNN_TANH" else torch.relu(total + inside)


def step_gru(total: Tensor, inside: Tensor, h: Tensor) -> Tensor:
    """Return the hidden states of a GRU after a step."""
    read_r, read_z, read_n = total.chunk(3, dim=1)
    inside_r, inside_z, inside_n = inside.chunk(3, dim=1)
    reset = torch.sigmoid(read_r + inside_r)
    update = torch.sigmoid(read_z + inside_z)
    new = torch.tanh(read_n + reset * inside_n)
    return (1 - update) * new + update * h


def step_lstm(total: Tensor, inside: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Return the hidden states and the cell states of an LSTM after a step."""
    i, f, g, o = (total + inside).chunk(4, dim=1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


class Loop(nn.RNNBase):
    """The loops over layers, directions and steps."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        if isinstance(input, PackedSequence):
            return self.run_packed(input, hx)
        if input.dim() not in (2, 3):
            raise ValueError(f"the input must have 2 or 3 dimensions, got {input.dim()}")
        is_batched = input.dim() == 3
        states = None if hx is None else self.as_tuple(hx)
        if states is not None and any(each.dim() != input.dim() for each in states):
            raise RuntimeError("a state must have as many dimensions as the input")
        x = input if is_batched else input.unsqueeze(1)
        if self.batch_first and is_batched:
            x = x.transpose(0, 1)
        if states is not None and not is_batched:
            states = tuple(each.unsqueeze(1) for each in states)
        steps, batch = x.shape[:2]
        self.check_call(x, states, batch)
        if steps == 0:
            raise RuntimeError("there must be at least one time step")
        output, final = self.run(x.reshape(steps * batch, x.size(2)), [batch] * steps, states)
        output = output.reshape(steps, batch, output.size(1))
        if not is_batched:
            output, final = output.squeeze(1), tuple(each.squeeze(1) for each in final)
        elif self.batch_first:
            output = output.transpose(0, 1)
        return output, self.as_result(final)

    def run_packed(self, input: PackedSequence, hx: Any) -> Any:
        data, batch_sizes, order, back = input
        sizes = batch_sizes.tolist()
        states = None if hx is None else self.as_tuple(hx)
        self.check_call(data, states, sizes[0])
        if states is not None and order is not None:
            states = tuple(each.index_select(1, order) for each in states)
        output, final = self.run(data, sizes, states)
        if back is not None:
            final = tuple(each.index_select(1, back) for each in final)
        return PackedSequence(output, batch_sizes, order, back), self.as_result(final)

    def check_call(self, x: Tensor, states: tuple[Tensor, ...] | None, batch: int) -> None:
        weight = self.weight_ih_l0
        is_autocast = torch.is_autocast_enabled("cpu")
        if x.dtype != weight.dtype and not is_autocast:
            raise ValueError(f"the input must be {weight.dtype}, got {x.dtype}")
        if x.size(-1) != self.input_size:
            raise RuntimeError(f"expected {self.input_size} features, got {x.size(-1)}")
        if states is None:
            return
        if len(states) != len(self.list_sizes()):
            raise RuntimeError("wrong number of states")
        rows = self.num_layers * (2 if self.bidirectional else 1)
        for state, size in zip(states, self.list_sizes(), strict=True):
            if state.shape != (rows, batch, size):
                raise RuntimeError(f"expected {(rows, batch, size)}, got {tuple(state.shape)}")
            if state.dtype != x.dtype and not is_autocast:
                raise RuntimeError(f"a state must be {x.dtype}, got {state.dtype}")

    def list_sizes(self) -> tuple[int, ...]:
        return (self.hidden_size,)

    def as_tuple(self, hx: Any) -> tuple[Tensor, ...]:
        return (hx,)

    def as_result(self, final: tuple[Tensor, ...]) -> Any:
        return final[0]

    def run(
        self, data: Tensor, sizes: list[int], states: tuple[Tensor, ...] | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        directions = 2 if self.bidirectional else 1
        if states is None:
            rows = self.num_layers * directions
            states = tuple(data.new_zeros(rows, sizes[0], size) for size in self.list_sizes())
        ended: list[tuple[Tensor, ...]] = []
        for layer in range(self.num_layers):
            if layer > 0 and self.training and self.dropout > 0:
                data = functional.dropout(data, self.dropout, training=True)
            halves = []
            for direction in range(directions):
                first = tuple(each[layer * directions + direction] for each in states)
                half, last = self.run_direction(data, sizes, first, layer, direction)
                halves.append(half)
                ended.append(last)
            data = torch.cat(halves, dim=1)
        return data, tuple(torch.stack(each) for each in zip(*ended, strict=True))

    def run_direction(
        self,
        data: Tensor,
        sizes: list[int],
        states: tuple[Tensor, ...],
        layer: int,
        direction: int,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        suffix = f"_l{layer}" + ("_reverse" if direction == 1 else "")
        bias_ih = getattr(self, f"bias_ih{suffix}") if self.bias else None
        bias_hh = getattr(self, f"bias_hh{suffix}") if self.bias else None
        weight_hh = getattr(self, f"weight_hh{suffix}")
        weight_hr = getattr(self, f"weight_hr{suffix}") if self.proj_size > 0 else None
        totals = list(
            functional.linear(data, getattr(self, f"weight_ih{suffix}"), bias_ih).split(sizes)
        )
        order = range(len(sizes))
        outputs = {}
        for t in reversed(order) if direction == 1 else order:
            count = sizes[t]
            now = tuple(each[:count] for each in states)
            inside = functional.linear(now[0], weight_hh, bias_hh)
            new = self.take_step(totals[t], inside, now)
            if weight_hr is not None:
                new = (functional.linear(new[0], weight_hr), *new[1:])
            outputs[t] = new[0]
            states = tuple(
                torch.cat([each, old[count:]]) for each, old in zip(new, states, strict=True)
            )
        return torch.cat([outputs[t] for t in order]), states

    def take_step(
        self, total: Tensor, inside: Tensor, states: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        return (step_rnn(total, inside, states, self.mode),)


class LoopRNN(Loop, nn.RNN):
    """An RNN that computes each step by itself."""


class LoopGRU(Loop, nn.GRU):
    """A GRU that computes each step by itself."""

    def take_step(
        self, total: Tensor, inside: Tensor, states: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        return (step_gru(total, inside, states[0]),)


class LoopLSTM(Loop, nn.LSTM):
    """An LSTM that computes each step by itself."""

    def list_sizes(self) -> tuple[int, ...]:
        return (self.proj_size or self.hidden_size, self.hidden_size)

    def as_tuple(self, hx: Any) -> tuple[Tensor, ...]:
        h, c = hx
        return (h, c)

    def as_result(self, final: tuple[Tensor, ...]) -> Any:
        return final

    def take_step(
        self, total: Tensor, inside: Tensor, states: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        return step_lstm(total, inside, states[1])


class LoopCell(nn.RNNCellBase):
    """The common base of the three cells."""

    def begin(self, input: Tensor, states: tuple[Tensor, ...] | None) -> tuple[Any, ...]:
        if input.dim() not in (1, 2):
            raise ValueError(f"the input must have 1 or 2 dimensions, got {input.dim()}")
        if states is not None and any(each.dim() not in (1, 2) for each in states):
            raise ValueError("a state must have 1 or 2 dimensions")
        if states is not None and any(each.dim() != input.dim() for each in states):
            raise RuntimeError("a state must have as many dimensions as the input")
        x = input if input.dim() == 2 else input.unsqueeze(0)
        if x.size(1) != self.input_size:
            raise RuntimeError(f"expected {self.input_size} features, got {x.size(1)}")
        if states is None:
            return x, x.new_zeros(x.size(0), self.hidden_size), None
        rows = tuple(each if input.dim() == 2 else each.unsqueeze(0) for each in states)
        for each in rows:
            if each.shape != (x.size(0), self.hidden_size):
                raise RuntimeError(f"a state has the wrong shape {tuple(each.shape)}")
        return x, rows[0], rows[-1]

    def sum_up(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return functional.linear(x, self.weight_ih, self.bias_ih), functional.linear(
            h, self.weight_hh, self.bias_hh
        )


class LoopRNNCell(LoopCell, nn.RNNCell):
    """A cell of an RNN."""

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        x, h, _ = self.begin(input, None if hx is None else (hx,))
        total, inside = self.sum_up(x, h)
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"unknown nonlinearity {self.nonlinearity}")
        new = torch.tanh(total + inside) if self.nonlinearity == "tanh" else (total + inside).relu()
        return new if input.dim() == 2 else new.squeeze(0)


class LoopGRUCell(LoopCell, nn.GRUCell):
    """A cell of a GRU."""

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        x, h, _ = self.begin(input, None if hx is None else (hx,))
        total, inside = self.sum_up(x, h)
        new = step_gru(total, inside, h)
        return new if input.dim() == 2 else new.squeeze(0)


class LoopLSTMCell(LoopCell, nn.LSTMCell):
    """A cell of an LSTM."""

    def forward(self, input: Tensor, hx: Any = None) -> tuple[Tensor, Tensor]:
        if hx is not None:
            h, c = hx
            hx = (h, c)
        x, h, c = self.begin(input, hx)
        total, inside = self.sum_up(x, h)
        h, c = step_lstm(total, inside, torch.zeros_like(h) if c is None else c)
        return (h, c) if input.dim() == 2 else (h.squeeze(0), c.squeeze(0))

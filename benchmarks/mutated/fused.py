"""Layers and cells that compute all gates of a step, and both directions, in one product.

A layer pads packed sequences, turns the input of the backward direction round, and steps through
both directions at once: the weights are stacked, and a mask keeps the states of ended sequences.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence


def step_gru(total: Tensor, inside: Tensor, states: list[Tensor]) -> list[Tensor]:
    """Return the state of a GRU after a step, from the sums of the input and of the state."""
    (h,) = states
    size = h.size(-1)
    gates = torch.sigmoid(total[..., : 2 * size] + inside[..., : 2 * size])
    new = torch.tanh(
        torch.addcmul(total[..., 2 * size :], gates[..., :size], inside[..., 2 * size :])
    )
    return [new + gates[..., size:] * (h - new)]


def step_lstm(total: Tensor, states: list[Tensor]) -> list[Tensor]:
    """Return the states of an LSTM after a step, from the sums of its gates."""
    size = states[1].size(-1)
    gates = torch.sigmoid(torch.cat([total[..., : 2 * size], total[..., 3 * size :]], dim=-1))
    i, f, o = gates.split(size, dim=-1)
    c = torch.addcmul(f * states[1], i, torch.tanh(total[..., 2 * size : 3 * size]))
    return [o * torch.tanh(c), c]


class Fused(nn.RNNBase):
    """The stack of layers; a subclass has the step."""

    def forward(self, input: Any, hx: Any = None) -> Any:
        states = self.split(hx)
        if isinstance(input, PackedSequence):
            sizes = input.batch_sizes.tolist()
            self.check_call(input.data, states, sizes[0])
            counts = [sum(row < size for size in sizes) for row in range(sizes[0])]
            lengths = torch.tensor(counts, device="cpu")
            sorted_only = PackedSequence(input.data, input.batch_sizes)
            x, _ = pad_packed_sequence(sorted_only)
            if input.sorted_indices is not None:
                states = [state[:, input.sorted_indices] for state in states]
            output, final = self.run(x, states, lengths.to(x.device))
            data = pack_padded_sequence(output, lengths).data
            if input.unsorted_indices is not None:
                final = [state[:, input.unsorted_indices] for state in final]
            return input._replace(data=data), self.join(final)
        if input.dim() not in (2, 3):
            raise ValueError(f"the input must have 2 or 3 dimensions, got {input.dim()}")
        if any(state.dim() != input.dim() for state in states):
            raise RuntimeError("a state must have as many dimensions as the input")
        if input.dim() == 2:
            input, states = input.unsqueeze(1), [state.unsqueeze(1) for state in states]
            output, final = self.run_padded(input, states)
            return output.squeeze(1), self.join([state.squeeze(1) for state in final])
        if self.batch_first:
            output, final = self.run_padded(input.transpose(0, 1), states)
            return output.transpose(0, 1), self.join(final)
        output, final = self.run_padded(input, states)
        return output, self.join(final)

    def run_padded(self, x: Tensor, states: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        if x.size(0) == 0:
            raise RuntimeError("there must be at least one time step")
        self.check_call(x, states, x.size(1))
        return self.run(x, states, None)

    def check_call(self, x: Tensor, states: list[Tensor], batch: int) -> None:
        is_autocast = torch.is_autocast_enabled("cpu")
        if x.dtype != self.weight_ih_l0.dtype and not is_autocast:
            raise ValueError(f"the input must be {self.weight_ih_l0.dtype}, got {x.dtype}")
        if x.size(-1) != self.input_size:
            raise RuntimeError(f"expected {self.input_size} features, got {x.size(-1)}")
        rows = self.num_layers * (1 + self.bidirectional)
        for state, size in zip(states, self.list_sizes(), strict=bool(states)):
            if state.shape != (rows, batch, size):
                raise RuntimeError(f"expected {(rows, batch, size)}, got {tuple(state.shape)}")
            if state.dtype != x.dtype and not is_autocast:
                raise RuntimeError(f"a state must be {x.dtype}, got {state.dtype}")

    def run(
        self, x: Tensor, states: list[Tensor], lengths: Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        directions = 1 + self.bidirectional
        steps, batch = x.shape[:2]
        if not states:
            rows = self.num_layers * directions
            states = [x.new_zeros(rows, batch, size) for size in self.list_sizes()]
        when = torch.arange(steps, device=x.device).unsqueeze(1)
        ends = torch.full((batch,), steps, device=x.device) if lengths is None else lengths
        alive = None if lengths is None else (when < ends).unsqueeze(2)
        back = torch.where(when < ends, ends - 1 - when, when)
        samples = torch.arange(batch, device=x.device)
        final = []
        for layer in range(self.num_layers):
            if layer > 0 and self.dropout > 0:
                x = functional.dropout(x, self.dropout, self.training)
            both = torch.stack([x, x[back, samples]][:directions])
            first = [state[layer * directions : (layer + 1) * directions] for state in states]
            both, last = self.run_layer(both, first, alive, layer)
            halves = [both[0], both[1][back, samples]] if self.bidirectional else [both[0]]
            x = torch.cat(halves, dim=2)
            final.append(last)
        return x, [torch.cat(each) for each in zip(*final, strict=True)]

    def stack(self, name: str, layer: int) -> Tensor:
        names = [f"{name}_l{layer}", f"{name}_l{layer}_reverse"][: 1 + self.bidirectional]
        return torch.stack([getattr(self, each) for each in names])

    def run_layer(
        self, x: Tensor, states: list[Tensor], alive: Tensor | None, layer: int
    ) -> tuple[Tensor, list[Tensor]]:
        """Run all directions of a layer; `x` has a row for each direction."""
        directions, steps, batch = x.shape[:3]
        flat = x.reshape(directions, steps * batch, x.size(3))
        totals = self.add_bias(flat @ self.stack("weight_ih", layer).mT, "bias_ih", layer)
        totals = totals.reshape(directions, steps, batch, totals.size(2))
        weight_hh = self.stack("weight_hh", layer).mT
        weight_hr = self.stack("weight_hr", layer).mT if self.proj_size > 0 else None
        outputs = []
        for t in range(steps):
            inside = self.add_bias(states[0] @ weight_hh, "bias_hh", layer)
            new = self.take_step(totals[:, t], inside, states)
            if weight_hr is not None:
                new[0] = new[0] @ weight_hr
            if alive is not None:
                new = [torch.where(alive[t], a, b) for a, b in zip(new, states, strict=True)]
            states = new
            outputs.append(states[0])
        return torch.stack(outputs, dim=1), states

    def add_bias(self, product: Tensor, name: str, layer: int) -> Tensor:
        return product + self.stack(name, layer).unsqueeze(1) if self.bias else product

    def list_sizes(self) -> list[int]:
        return [self.hidden_size]

    def split(self, hx: Any) -> list[Tensor]:
        return [] if hx is None else [hx]

    def join(self, states: list[Tensor]) -> Any:
        return states[0]

    def take_step(self, total: Tensor, inside: Tensor, states: list[Tensor]) -> list[Tensor]:
        raise AssertionError("each layer has its own step")


class FusedGRU(Fused, nn.GRU):
    """A GRU that steps through both directions at once."""

    def take_step(self, total: Tensor, inside: Tensor, states: list[Tensor]) -> list[Tensor]:
        return step_gru(total, inside, states)


class FusedLSTM(Fused, nn.LSTM):
    """An LSTM that steps through both directions at once."""

    def list_sizes(self) -> list[int]:
        return [self.proj_size or self.hidden_size, self.hidden_size]

    def split(self, hx: Any) -> list[Tensor]:
        if hx is None:
            return []
        h, c = hx
        return [h, c]

    def join(self, states: list[Tensor]) -> Any:
        return tuple(states)

    def take_step(self, total: Tensor, inside: Tensor, states: list[Tensor]) -> list[Tensor]:
        return step_lstm(total + inside, states)


class FusedLSTMCell(nn.LSTMCell):
    """An LSTM cell that multiplies the input and the state, side by side, with all weights."""

    def forward(self, input: Tensor, hx: Any = None) -> tuple[Tensor, Tensor]:
        if input.dim() not in (1, 2):
            raise ValueError(f"the input must have 1 or 2 dimensions, got {input.dim()}")
        if hx is None:
            h = c = input.new_zeros(*input.shape[:-1], self.hidden_size)
        else:
            h, c = hx
        if h.dim() not in (1, 2) or c.dim() not in (1, 2):
            raise ValueError("the states must have 1 or 2 dimensions")
        shape = (*input.shape[:-1], self.hidden_size)
        if input.size(-1) != self.input_size or h.shape != shape or c.shape != shape:
            raise RuntimeError("the input or a state has a wrong shape")
        both = torch.cat([input, h], dim=-1)
        weight = torch.cat([self.weight_ih, self.weight_hh], dim=1)
        bias = self.bias_ih + self.bias_hh if self.bias else None
        h, c = step_lstm(functional.linear(both, weight, bias), [h, c])
        return h, c

"""Layers and cells with parameters of their own, whose steps have hand-written derivatives.

All gates of a step come from one product. Packed sequences are padded, and a mask keeps the final
states of sequences that have ended.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence


class StepOfRNN(torch.autograd.Function):
    """A step of an RNN."""

    @staticmethod
    def forward(ctx: Any, total: Tensor, is_tanh: bool) -> Tensor:
        new = torch.tanh(total) if is_tanh else torch.relu(total)
        ctx.is_tanh = is_tanh
        ctx.save_for_backward(new)
        return new

    @staticmethod
    def backward(ctx: Any, d_new: Tensor) -> Any:
        (new,) = ctx.saved_tensors
        slope = 1 - new * new if ctx.is_tanh else (new > 0).to(new.dtype)
        return d_new * slope, None


class StepOfGRU(torch.autograd.Function):
    """A step of a GRU, from the sums of the input and of the state."""

    @staticmethod
    def forward(ctx: Any, total: Tensor, inside: Tensor, h: Tensor) -> Tensor:
        ctx.save_for_backward(total, inside, h)
        size = h.size(-1)
        gates = torch.sigmoid(total[..., : 2 * size] + inside[..., : 2 * size])
        r, z = gates[..., :size], gates[..., size:]
        n = torch.tanh(total[..., 2 * size :] + r * inside[..., 2 * size :])
        return n + z * (h - n)

    @staticmethod
    def backward(ctx: Any, d_new: Tensor) -> Any:
        total, inside, h = ctx.saved_tensors
        size = h.size(-1)
        gates = torch.sigmoid(total[..., : 2 * size] + inside[..., : 2 * size])
        r, z = gates[..., :size], gates[..., size:]
        read = inside[..., 2 * size :]
        n = torch.tanh(total[..., 2 * size :] + r * read)
        d_n = d_new * (1 - z) * (1 - n * n)
        d_z = d_new * (h - n) * z * (1 - z)
        d_r = d_n * read * r * (1 - r)
        d_total = torch.cat([d_r, d_z, d_n], dim=-1)
        d_inside = torch.cat([d_r, d_z, d_n * r], dim=-1)
        return d_total, d_inside, d_new * z


class StepOfLSTM(torch.autograd.Function):
    """A step of an LSTM, from the sums of its gates."""

    @staticmethod
    def forward(ctx: Any, total: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(total, c)
        i, f, g, o = total.chunk(4, dim=-1)
        new = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(new), new

    @staticmethod
    def backward(ctx: Any, d_h: Tensor, d_c: Tensor) -> Any:
        total, c = ctx.saved_tensors
        i, f, g, o = total.chunk(4, dim=-1)
        i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
        shown = torch.tanh(f * c + i * g)
        d_c = d_c + d_h * o * (1 - shown * shown)
        d_o = d_h * shown * o * (1 - o)
        d_i, d_f = d_c * g * i * (1 - i), d_c * c * f * (1 - f)
        return torch.cat([d_i, d_f, d_c * i * (1 - g * g), d_o], dim=-1), d_c * f


def multiply(x: Tensor, weight: Any, bias: Any) -> Tensor:
    """Return x W^T + b, for any number of leading dimensions."""
    product: Tensor = torch.matmul(x, weight.t())
    return product if bias is None else product + bias


def check_number(name: str, value: Any) -> None:
    """Raise TypeError unless a size is an integer, and ValueError unless it is positive."""
    if not isinstance(value, int):
        raise TypeError(f"{name} must be an int, got {type(value).__name__}")
    if value <= 0:
        raise ValueError(f"{name} must be greater than zero, got {value}")


def check_options(dropout: Any, **flags: Any) -> None:
    """Raise TypeError or ValueError if the arguments of a layer are invalid."""
    if dropout is None:
        raise TypeError("dropout must be a number")
    if isinstance(dropout, bool) or not isinstance(dropout, (int, float)):
        raise ValueError("dropout must be a number")
    if not 0 <= dropout <= 1:
        raise ValueError(f"dropout must be between 0 and 1, got {dropout}")
    for name, flag in flags.items():
        if not isinstance(flag, bool):
            raise TypeError(f"{name} must be a bool, got {type(flag).__name__}")


class Layer(nn.Module):
    """The arguments, the parameters and the loops of a layer."""

    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        check_options(dropout, bias=bias, batch_first=batch_first)
        check_number("input_size", input_size)
        check_number("hidden_size", hidden_size)
        check_number("num_layers", num_layers)
        if proj_size < 0:
            raise ValueError("proj_size must not be negative")
        if proj_size >= hidden_size:
            raise ValueError("proj_size must be smaller than hidden_size")
        if dropout > 0 and num_layers == 1:
            warnings.warn("dropout has no effect on a single layer", UserWarning, stacklevel=3)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        for layer in range(num_layers):
            for suffix in self.list_suffixes(layer):
                columns = input_size if layer == 0 else self.output_size * self.directions
                shapes: dict[str, tuple[int, ...]] = {
                    "weight_ih": (self.gates * hidden_size, columns),
                    "weight_hh": (self.gates * hidden_size, self.output_size),
                }
                if bias:
                    shapes["bias_ih"] = (self.gates * hidden_size,)
                    shapes["bias_hh"] = (self.gates * hidden_size,)
                if proj_size > 0:
                    shapes["weight_hr"] = (proj_size, hidden_size)
                for name, shape in shapes.items():
                    empty = torch.empty(shape, device=device, dtype=dtype)
                    self.register_parameter(name + suffix, nn.Parameter(empty))
        self.reset_parameters()

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def output_size(self) -> int:
        return self.proj_size if self.proj_size > 0 else self.hidden_size

    @property
    def all_weights(self) -> list[list[Tensor]]:
        names = [
            [name for name, _ in self.named_parameters() if name.endswith(suffix)]
            for layer in range(self.num_layers)
            for suffix in self.list_suffixes(layer)
        ]
        return [[getattr(self, name) for name in group] for group in names]

    def list_suffixes(self, layer: int) -> list[str]:
        return [f"_l{layer}", f"_l{layer}_reverse"][: self.directions]

    def reset_parameters(self) -> None:
        limit = 1.0 / math.sqrt(self.hidden_size)
        for weight in self.parameters():
            nn.init.uniform_(weight, -limit, limit)

    def flatten_parameters(self) -> None:
        return None

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        if self.proj_size != 0:
            text += f", proj_size={self.proj_size}"
        if self.num_layers != 1:
            text += f", num_layers={self.num_layers}"
        if self.bias is not True:
            text += f", bias={self.bias}"
        if self.batch_first is not False:
            text += f", batch_first={self.batch_first}"
        if self.dropout != 0:
            text += f", dropout={self.dropout}"
        if self.bidirectional is not False:
            text += f", bidirectional={self.bidirectional}"
        return text

    def forward(self, input: Any, hx: Any = None) -> Any:
        states = self.split(hx)
        if isinstance(input, PackedSequence):
            return self.run_packed(input, states)
        if input.dim() not in (2, 3):
            raise ValueError(f"the input must have 2 or 3 dimensions, got {input.dim()}")
        is_batched = input.dim() == 3
        if any(state.dim() != input.dim() for state in states):
            raise RuntimeError("a state must have as many dimensions as the input")
        x = input if is_batched else input.unsqueeze(1)
        if is_batched and self.batch_first:
            x = x.transpose(0, 1)
        if not is_batched:
            states = [state.unsqueeze(1) for state in states]
        if x.size(0) == 0:
            raise RuntimeError("there must be at least one time step")
        self.check(x, states, x.size(1))
        output, final = self.run(x, states, None)
        if not is_batched:
            output, final = output.squeeze(1), [state.squeeze(1) for state in final]
        elif self.batch_first:
            output = output.transpose(0, 1)
        return output, self.join(final)

    def run_packed(self, input: PackedSequence, states: list[Tensor]) -> Any:
        sizes = input.batch_sizes.tolist()
        self.check(input.data, states, sizes[0])
        if input.sorted_indices is not None:
            states = [state.index_select(1, input.sorted_indices) for state in states]
        rows = torch.arange(sizes[0], device=input.data.device)
        alive = rows < input.batch_sizes.to(rows.device).unsqueeze(1)
        padded = input.data.new_zeros(len(sizes), sizes[0], input.data.size(1))
        padded = padded.masked_scatter(alive.unsqueeze(2), input.data)
        output, final = self.run(padded, states, alive.unsqueeze(2))
        if input.unsorted_indices is not None:
            final = [state.index_select(1, input.unsorted_indices) for state in final]
        return input._replace(data=output[alive]), self.join(final)

    def check(self, x: Tensor, states: list[Tensor], batch: int) -> None:
        dtype = self.weight_ih_l0.dtype
        if x.dtype != dtype and not torch.is_autocast_enabled("cpu"):
            raise ValueError(f"the input must be {dtype}, got {x.dtype}")
        if x.size(-1) != self.input_size:
            raise RuntimeError(f"expected {self.input_size} features, got {x.size(-1)}")
        for state, size in zip(states, self.list_sizes(), strict=bool(states)):
            shape = (self.num_layers * self.directions, batch, size)
            if tuple(state.shape) != shape:
                raise RuntimeError(f"expected a state {shape}, got {tuple(state.shape)}")
            if state.dtype != x.dtype and not torch.is_autocast_enabled("cpu"):
                raise RuntimeError(f"a state must be {x.dtype}, got {state.dtype}")

    def list_sizes(self) -> list[int]:
        return [self.output_size]

    def split(self, hx: Any) -> list[Tensor]:
        return [] if hx is None else [hx]

    def join(self, states: list[Tensor]) -> Any:
        return states[0]

    def run(
        self, x: Tensor, states: list[Tensor], alive: Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        rows = self.num_layers * self.directions
        if not states:
            states = [x.new_zeros(rows, x.size(1), size) for size in self.list_sizes()]
        ended = []
        for layer in range(self.num_layers):
            if layer > 0 and self.training and self.dropout > 0:
                x = self.drop(x)
            halves = []
            for direction, suffix in enumerate(self.list_suffixes(layer)):
                first = [state[layer * self.directions + direction] for state in states]
                half, last = self.run_direction(x, first, alive, suffix, direction == 1)
                halves.append(half)
                ended.append(last)
            x = torch.cat(halves, dim=2)
        return x, [torch.stack([last[k] for last in ended]) for k in range(len(states))]

    def drop(self, x: Tensor) -> Tensor:
        if self.dropout == 1:
            return torch.zeros_like(x)
        kept = torch.rand_like(x, dtype=torch.float32) >= self.dropout
        return x * kept.to(x.dtype) / (1 - self.dropout)

    def run_direction(
        self,
        x: Tensor,
        states: list[Tensor],
        alive: Tensor | None,
        suffix: str,
        is_backward: bool,
    ) -> tuple[Tensor, list[Tensor]]:
        weights = {
            name: getattr(self, name + suffix, None)
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        }
        totals = multiply(x, weights["weight_ih"], weights["bias_ih"])
        outputs = []
        steps = range(x.size(0) - 1, -1, -1) if is_backward else range(x.size(0))
        for t in steps:
            inside = multiply(states[0], weights["weight_hh"], weights["bias_hh"])
            new = self.step(totals[t], inside, states)
            if weights["weight_hr"] is not None:
                new[0] = multiply(new[0], weights["weight_hr"], None)
            if alive is not None:
                new = [torch.where(alive[t], a, b) for a, b in zip(new, states, strict=True)]
            states = new
            outputs.append(new[0])
        if is_backward:
            outputs.reverse()
        return torch.stack(outputs), states

    def step(self, total: Tensor, inside: Tensor, states: list[Tensor]) -> list[Tensor]:
        return [StepOfRNN.apply(total + inside, self.nonlinearity == "tanh")]


class RNN(Layer):
    """An RNN."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"unknown nonlinearity {nonlinearity!r}")
        rest = (num_layers, bias, batch_first, dropout, bidirectional)
        super().__init__(input_size, hidden_size, *rest, device=device, dtype=dtype)
        self.nonlinearity = nonlinearity


class GRU(Layer):
    """A GRU."""

    gates = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        rest = (num_layers, bias, batch_first, dropout, bidirectional)
        super().__init__(input_size, hidden_size, *rest, device=device, dtype=dtype)

    def step(self, total: Tensor, inside: Tensor, states: list[Tensor]) -> list[Tensor]:
        return [StepOfGRU.apply(total, inside, states[0])]


class LSTM(Layer):
    """An LSTM."""

    gates = 4

    def list_sizes(self) -> list[int]:
        return [self.output_size, self.hidden_size]

    def split(self, hx: Any) -> list[Tensor]:
        if hx is None:
            return []
        h, c = hx
        return [h, c]

    def join(self, states: list[Tensor]) -> Any:
        return tuple(states)

    def step(self, total: Tensor, inside: Tensor, states: list[Tensor]) -> list[Tensor]:
        return list(StepOfLSTM.apply(total + inside, states[1]))


class Cell(nn.Module):
    """The arguments and the parameters of a cell."""

    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        rows = self.gates * hidden_size
        shapes: dict[str, tuple[int, ...]]
        shapes = {"weight_ih": (rows, input_size), "weight_hh": (rows, hidden_size)}
        shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        for name, shape in shapes.items():
            if name.startswith("bias") and not bias:
                self.register_parameter(name, None)
            else:
                empty = torch.empty(shape, device=device, dtype=dtype)
                self.register_parameter(name, nn.Parameter(empty))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        limit = 1.0 / math.sqrt(self.hidden_size)
        for weight in self.parameters():
            nn.init.uniform_(weight, -limit, limit)

    def extra_repr(self) -> str:
        text = f"{self.input_size}, {self.hidden_size}"
        if not self.bias:
            text += f", bias={self.bias}"
        return text

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        states = self.split(hx)
        if any(each.dim() not in (1, 2) for each in (input, *states)):
            raise ValueError("the input and the states must have 1 or 2 dimensions")
        if any(each.dim() != input.dim() for each in states):
            raise RuntimeError("a state must have as many dimensions as the input")
        if input.size(-1) != self.input_size:
            raise RuntimeError(f"expected {self.input_size} features, got {input.size(-1)}")
        shape = (*input.shape[:-1], self.hidden_size)
        if any(tuple(each.shape) != shape for each in states):
            raise RuntimeError(f"a state must have shape {shape}")
        states = states or [input.new_zeros(shape) for _ in range(self.count)]
        total = multiply(input, self.weight_ih, self.bias_ih)
        inside = multiply(states[0], self.weight_hh, self.bias_hh)
        return self.step(total, inside, states)

    count = 1

    def split(self, hx: Any) -> list[Tensor]:
        return [] if hx is None else [hx]

    def step(self, total: Tensor, inside: Tensor, states: list[Tensor]) -> Any:
        raise AssertionError("each cell has its own step")


class RNNCell(Cell):
    """A cell of an RNN."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity

    def extra_repr(self) -> str:
        text = super().extra_repr()
        return text + (f", nonlinearity={self.nonlinearity}" if self.nonlinearity != "tanh" else "")

    def step(self, total: Tensor, inside: Tensor, states: list[Tensor]) -> Any:
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"unknown nonlinearity {self.nonlinearity}")
        return StepOfRNN.apply(total + inside, self.nonlinearity == "tanh")


class GRUCell(Cell):
    """A cell of a GRU."""

    gates = 3

    def step(self, total: Tensor, inside: Tensor, states: list[Tensor]) -> Any:
        return StepOfGRU.apply(total, inside, states[0])


class LSTMCell(Cell):
    """A cell of an LSTM."""

    gates = 4
    count = 2

    def split(self, hx: Any) -> list[Tensor]:
        if hx is None:
            return []
        h, c = hx
        return [h, c]

    def step(self, total: Tensor, inside: Tensor, states: list[Tensor]) -> Any:
        return StepOfLSTM.apply(total + inside, states[1])

"""Layers in the manner of released libraries: names, orders and corners of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from tests.adapters.half_done import MyRNN


class StackOfCells(nn.Module):
    """A right stack of GRU cells; `corner` is the feature that a subclass gets wrong or refuses."""

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1) -> None:
        super().__init__()
        self.units = hidden_size
        self.cells = nn.ModuleList(
            nn.GRUCell(hidden_size if layer else input_size, hidden_size)
            for layer in range(num_layers)
        )

    def corner(self, x: Any, states: Tensor | None) -> Tensor:
        """Return the initial states."""
        if states is not None:
            return states
        zeros: Tensor = x.new_zeros(len(self.cells), x.size(1), self.units)
        return zeros

    def forward(self, x: Tensor, states: Tensor | None = None) -> tuple[Tensor, Tensor]:
        found, finals = self.corner(x, states), []
        for index, cell in enumerate(self.cells):
            h, seen = found[index], []
            for step in x:
                h = cell(step, h)
                seen.append(h)
            x = torch.stack(seen)
            finals.append(h)
        return x, torch.stack(finals)


class OneRowOfZeros(StackOfCells):
    """Makes zeros for one layer, so that a deeper stack without a state raises IndexError."""

    def corner(self, x: Any, states: Tensor | None) -> Tensor:
        return super().corner(x, states)[:1] if states is None else states


class WidthsOfOneLayer(StackOfCells):
    """Knows the widths of one layer, so that the constructor raises IndexError for more."""

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1) -> None:
        widths = [input_size]
        super().__init__(widths[num_layers - 1], hidden_size, num_layers)


class OneLayerOnly(StackOfCells):
    """Refuses several layers with a message."""

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1) -> None:
        if num_layers > 1:
            raise ValueError(f"only a single layer is supported, got {num_layers}")
        super().__init__(input_size, hidden_size)


class AssertsOneLayer(StackOfCells):
    """Asserts that it has one layer, without a word."""

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1) -> None:
        assert num_layers == 1
        super().__init__(input_size, hidden_size)


class NotTwoLayers(StackOfCells):
    """Refuses two layers, and takes three."""

    def corner(self, x: Any, states: Tensor | None) -> Tensor:
        if len(self.cells) == 2:
            raise NotImplementedError("two layers are fused, which is to come")
        return super().corner(x, states)


class StartsInFloat32(StackOfCells):
    """Makes zeros in the default dtype, so that other dtypes fail without a state."""

    def corner(self, x: Any, states: Tensor | None) -> Tensor:
        made = super().corner(x, states)
        return torch.zeros(made.shape) if states is None else made


class SaysThatItNeedsAState(StackOfCells):
    """Takes None by its signature, and raises because a state is required."""

    def corner(self, x: Any, states: Tensor | None) -> Tensor:
        if states is None:
            raise ValueError("an initial state is required")
        return states


class Single(StackOfCells):
    """Computes in float32 alone, and says so."""

    def corner(self, x: Any, states: Tensor | None) -> Tensor:
        if x.dtype is not torch.float32:
            raise TypeError(f"only float32 is supported, got {x.dtype}")
        return super().corner(x, states)


class NoDoubles(nn.Module):
    """Always starts from zeros in float32, so that it cannot compute in float64."""

    def __init__(self, n_in: int, n_hidden: int) -> None:
        super().__init__()
        self.inp, self.rec = nn.Linear(n_in, n_hidden), nn.Linear(n_hidden, n_hidden)

    def forward(self, x: Tensor) -> Tensor:
        h, seen = torch.zeros(x.size(1), self.rec.in_features), []
        for step in x:
            h = torch.tanh(self.inp(step) + self.rec(h))
            seen.append(h)
        return torch.stack(seen)


class PackedFails(StackOfCells):
    """Takes packed input, and loses its order on the way."""

    def forward(self, x: Any, states: Tensor | None = None) -> Any:
        if not isinstance(x, PackedSequence):
            return super().forward(x, states)
        _, lengths = pad_packed_sequence(x)
        return [x][int(lengths[0])]


class PackedRefused(StackOfCells):
    """Looks at packed input, and says that it takes none."""

    def forward(self, x: Any, states: Tensor | None = None) -> Any:
        if isinstance(x, PackedSequence):
            raise ValueError(f"packed sequences of {len(x.batch_sizes)} steps are not supported")
        return super().forward(x, states)


class NoBias(MyRNN):
    """Registers a bias that is None as a parameter."""

    def __init__(self, input_size: int, hidden_size: int, use_bias: bool = True) -> None:
        super().__init__(input_size, hidden_size)
        if not use_bias:
            self.h2h.register_buffer("bias", None)


class OwnActivation(MyRNN):
    """Takes a function where others take its name, behind an argument that is right."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        activation: Callable[[Tensor], Tensor] = torch.tanh,
    ) -> None:
        super().__init__(input_size, hidden_size)
        activation(torch.zeros(1))
        if not bias:
            self.i2h.bias = self.h2h.bias = None  # type: ignore[assignment]


class ForgetBias(nn.Module):
    """An LSTM of one kernel with the gates input, cell, forget, output, and c in front of h.

    It adds 1 to the forget gate, so that it remembers from the first.
    """

    def __init__(self, n_in: int, n_units: int, forget_bias: float = 1.0) -> None:
        super().__init__()
        self.n_units, self.forget_bias = n_units, forget_bias
        self.kernel = nn.Parameter(torch.randn(n_in + n_units, 4 * n_units) / 4)
        self.bias = nn.Parameter(torch.zeros(4 * n_units))

    def forward(self, x: Tensor, state: Any = None) -> Any:
        zeros, seen = x.new_zeros(x.size(0), self.n_units), []
        c, h = (zeros, zeros) if state is None else state
        for step in x.unbind(1):
            sums = torch.cat([step, h], 1) @ self.kernel + self.bias
            i, g, f, o = sums.chunk(4, 1)
            c = c * torch.sigmoid(f + self.forget_bias) + torch.sigmoid(i) * torch.tanh(g)
            h = torch.tanh(c) * torch.sigmoid(o)
            seen.append(h)
        return torch.stack(seen, 1), (c, h)


class ForgetBiasOutputOnly(ForgetBias):
    """Takes no state, so that the forget gate has nothing to forget until weights are there."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        output: Tensor = super().forward(x)[0]
        return output


class ForgetBiasNeeded(ForgetBias):
    """Must be given what it adds, and before both sizes."""

    def __init__(self, forget_bias: float, n_in: int, n_units: int) -> None:
        super().__init__(n_in, n_units, forget_bias)


class ForgetBiasCell(nn.Module):
    """One step of an LSTM that takes its states in one tuple, with a forget bias."""

    def __init__(self, n_in: int, n_units: int) -> None:
        super().__init__()
        self.inputs = nn.Linear(n_in, 4 * n_units)
        self.states = nn.Linear(n_units, 4 * n_units, bias=False)

    def forward(self, x: Tensor, hidden: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        h, c = hidden
        o, f, g, i = (self.inputs(x) + self.states(h)).chunk(4, 1)
        c = torch.sigmoid(f + 2.5) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class SlowUpdates(nn.Module):
    """A GRU whose update gate takes the new value and starts closed, and shifts the new value."""

    def __init__(self, n_in: int, n_units: int) -> None:
        super().__init__()
        self.w, self.u = nn.Linear(n_in, 3 * n_units), nn.Linear(n_units, 3 * n_units)

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        h, seen = x.new_zeros(x.size(0), self.u.in_features) if h is None else h, []
        for step in x.unbind(1):
            (xz, xn, xr), (hz, hn, hr) = self.w(step).chunk(3, 1), self.u(h).chunk(3, 1)
            z, r = torch.sigmoid(xz + hz - 1.0), torch.sigmoid(xr + hr)
            h = (1 - z) * h + z * torch.tanh(xn + 0.5 + r * hn)
            seen.append(h)
        return torch.stack(seen, 1), h


class ResetsBefore(nn.Module):
    """A GRU with transposed kernels of update, reset, new, that resets before the product."""

    def __init__(self, input_dim: int, units: int) -> None:
        super().__init__()
        self.units = units
        self.kernel = nn.Parameter(torch.randn(input_dim, 3 * units) / 4)
        self.recurrent_kernel = nn.Parameter(torch.randn(units, 3 * units) / 4)

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        h, seen = x.new_zeros(x.size(0), self.units) if state is None else state, []
        u_z, u_r, u_n = self.recurrent_kernel.chunk(3, 1)
        for step in x.unbind(1):
            x_z, x_r, x_n = (step @ self.kernel).chunk(3, 1)
            z, r = torch.sigmoid(x_z + h @ u_z), torch.sigmoid(x_r + h @ u_r)
            h = z * h + (1 - z) * torch.tanh(x_n + (r * h) @ u_n)
            seen.append(h)
        return torch.stack(seen, 1), h


class HardGates(nn.Module):
    """An LSTM with the gates output, cell, forget, input, and pieces of lines for sigmoids."""

    def __init__(self, n_in: int, n_units: int) -> None:
        super().__init__()
        self.n_units = n_units
        self.all = nn.Linear(n_in + n_units, 4 * n_units)

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(x.size(1), self.n_units)
        seen = []
        for step in x:
            sums = self.all(torch.cat([step, h], 1)).chunk(4, 1)
            o, f, i = (nn.functional.hardsigmoid(sums[index]) for index in (0, 2, 3))
            c = f * c + i * torch.tanh(sums[1])
            h = o * torch.tanh(c)
            seen.append(h)
        return torch.stack(seen)


class CoupledGates(nn.Module):
    """An LSTM with the gates cell, output, forget, input, whose input gate is 1 - f."""

    def __init__(self, n_in: int, n_units: int) -> None:
        super().__init__()
        self.n_units = n_units
        self.from_x = nn.Linear(n_in, 4 * n_units)
        self.from_h = nn.Linear(n_units, 4 * n_units, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(x.size(1), self.n_units)
        seen = []
        for step in x:
            g, o, f, _ = (self.from_x(step) + self.from_h(h)).chunk(4, 1)
            f = torch.sigmoid(f)
            c = f * c + (1 - f) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            seen.append(h)
        return torch.stack(seen)


class Typed(nn.Module):
    """Takes the name of a layer before both sizes."""

    def __init__(self, rnn_type: str, ninp: int, nhid: int, nlayers: int = 1) -> None:
        super().__init__()
        self.rnn = getattr(nn, rnn_type)(ninp, nhid, nlayers)

    def forward(self, x: Tensor, hidden: Any = None) -> Any:
        return self.rnn(x, hidden)


class LengthsNeeded(nn.Module):
    """A call needs the lengths of the sequences, by which it packs them."""

    def __init__(self, input_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.rnn = nn.GRU(input_dim, hidden_dim, batch_first=True)

    def forward(self, x: Tensor, seq_lengths: Tensor) -> Any:
        packed = pack_padded_sequence(x, seq_lengths, batch_first=True, enforce_sorted=False)
        output, last = self.rnn(packed)
        return pad_packed_sequence(output, batch_first=True)[0], last


class LengthsOffered(LengthsNeeded):
    """A call may be given lengths, in front of the state."""

    def forward(
        self, x: Tensor, lengths: Tensor | None = None, hidden: Tensor | None = None
    ) -> Any:
        return self.rnn(x, hidden) if lengths is None else super().forward(x, lengths)

"""Layers in the manner of released libraries: names, orders and corners of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from tests.adapters.half_done import MyRNN


class StackOfCells(nn.Module):
    """A right stack of GRU cells; `corner` is what a class below does wrong or refuses."""

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
    """Says that it has one layer."""

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
    """Takes None by its signature, and says that a state is required."""

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

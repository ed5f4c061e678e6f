"""Layers in other styles: with needed states, states in records, and other orders of directions."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

Pair = tuple[Tensor, Tensor]


class NeededState(nn.Module):
    """Needs a state (N, H), which further axes would be broadcast with."""

    def __init__(self, n_in: int, n_hidden: int) -> None:
        super().__init__()
        self.in_h = nn.Linear(n_in, n_hidden)
        self.h_h = nn.Linear(n_hidden, n_hidden, bias=False)

    def forward(self, inputs: Tensor, hidden: Tensor) -> Pair:
        outs = []
        for step in inputs:
            hidden = torch.tanh(self.in_h(step) + self.h_h(hidden))
            outs.append(hidden)
        return torch.stack(outs), hidden


class ListOfSteps(NeededState):
    """Returns its outputs as a list of steps; the state may be left out."""

    def forward(self, inputs: Tensor, H: Tensor | None = None) -> Any:
        first = inputs.new_zeros(inputs.shape[1], self.h_h.in_features) if H is None else H
        output, last = super().forward(inputs, first)
        return list(output), last


class SizesByKeyword(nn.Module):
    """Takes its sizes by keyword only, and another argument that is no state."""

    def __init__(self, *, d_in: int, units: int) -> None:
        super().__init__()
        self.cell = nn.RNNCell(d_in, units)

    def forward(self, x: Tensor, lengths: Tensor | None = None, h0: Tensor | None = None) -> Any:
        outs, h = [], h0
        for step in x.unbind(1):
            h = self.cell(step, h)
            outs.append(h)
        return torch.stack(outs, 1), h


class IgnoresMask(nn.Module):
    """Takes a mask, of which it makes nothing, and no state."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.rnn = nn.RNN(input_size, hidden_size)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Any:
        return self.rnn(x)


class Options(NamedTuple):
    n_embd: int
    n_hidden: int
    depth: int = 1


class SizesInARecord(nn.Module):
    """Takes one object with all arguments, whose type defines their names."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.rnn = nn.RNN(*options)

    def forward(self, x: Tensor, h: Tensor | None = None) -> Any:
        return self.rnn(x, h)


class SizesInSettings(nn.Module):
    """Takes one object with all arguments, which it alone knows the names of."""

    def __init__(self, cfg: Any) -> None:
        super().__init__()
        self.gru = nn.GRU(cfg["input_dim"], cfg.hidden_dim, bias=cfg.get("use_bias", True))
        self.scale = cfg.get("scale", 1.0) * getattr(cfg, "other_scale", 1.0)

    def forward(self, x: Tensor, h: Tensor | None = None) -> Any:
        return self.gru(x * self.scale, h)


class WritesIntoItsState(nn.Module):
    """Leaves the final state where the initial one was."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.rnn = nn.RNN(input_size, hidden_size)

    def forward(self, x: Tensor, h: Tensor | None = None) -> Any:
        output, last = self.rnn(x, None if h is None else h.clone())
        if h is not None:
            h.copy_(last)
        return output, last


class State(NamedTuple):
    hx: Tensor
    cx: Tensor


class Fused(nn.Module):
    """An LSTM of one linear layer, whose states have a form that others say."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.both = nn.Linear(input_size + hidden_size, 4 * hidden_size)
        self.size = hidden_size

    def run(self, x: Tensor, states: Any) -> Any:
        h, c = states or (x.new_zeros(x.size(1), self.size), x.new_zeros(x.size(1), self.size))
        outs = []
        for step in x:
            i, f, g, o = self.both(torch.cat([step, h], 1)).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            outs.append(h)
        return torch.stack(outs), h, c


class RecordOfStates(Fused):
    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        output, h, c = self.run(x, (state.hx, state.cx))
        return output, State(h, c)


class DictionaryOfStates(Fused):
    def forward(self, x: Tensor, state: dict[str, Tensor] | None = None) -> Any:
        output, h, c = self.run(x, None if state is None else (state["h"], state["c"]))
        return output, {"h": h, "c": c}


class StackOfStates(Fused):
    def forward(self, x: Tensor, hc: Tensor | None = None) -> Any:
        output, h, c = self.run(x, None if hc is None else tuple(hc))
        return output, torch.stack([h, c])


class Deep(nn.Module):
    """Layers and directions of cells, which says where a state stands and which half is first."""

    kind: Any = nn.RNNCell
    forward_half = 0

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bidirectional: bool = False
    ) -> None:
        super().__init__()
        self.layers, self.ways, self.size = num_layers, 1 + bidirectional, hidden_size
        widths = [input_size, *[self.ways * hidden_size] * (num_layers - 1)]
        self.fwd = nn.ModuleList(self.kind(width, hidden_size) for width in widths)
        backward = widths if bidirectional else []
        self.bwd = nn.ModuleList(self.kind(width, hidden_size) for width in backward)

    def place(self, layer: int, way: int) -> int:
        return layer * self.ways + way

    def forward(self, x: Tensor, h: Tensor | None = None) -> tuple[Tensor, Tensor]:
        rows = self.layers * self.ways
        h = x.new_zeros(rows, x.size(1), self.size) if h is None else h
        finals: list[Any] = [None] * rows
        for layer in range(self.layers):
            halves = []
            for way in range(self.ways):
                place = self.place(layer, way)
                state, out = h[place], []
                for step in x.flip(0) if way else x:
                    state = (self.bwd if way else self.fwd)[layer](step, state)
                    out.append(state)
                finals[place] = state
                halves.append(torch.stack(out).flip(0) if way else torch.stack(out))
            x = torch.cat(halves, -1)
        x = torch.cat(halves[::-1], -1) if self.forward_half else x
        return x, torch.stack(finals)


class StatesByDirection(Deep):
    def place(self, layer: int, way: int) -> int:
        return way * self.layers + layer


class AlwaysByDirection(StatesByDirection):
    """Has always two layers and two directions."""

    kind = nn.GRUCell

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size, 2, True)


class BackwardHalfFirst(Deep):
    forward_half = 1


class BackwardFirst(Deep):
    """Has the backward direction first in its output and in its states, and always two."""

    forward_half = 1

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size, 1, True)

    def place(self, layer: int, way: int) -> int:
        return super().place(layer, 1 - way)


class BackwardFirstOutput(BackwardFirst):
    """Returns no states, so that only the input shows which half is which."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x)[0]


STYLES = (
    *(NeededState, ListOfSteps, SizesByKeyword, IgnoresMask, RecordOfStates, DictionaryOfStates),
    *(StackOfStates, Deep, StatesByDirection, AlwaysByDirection, BackwardHalfFirst, BackwardFirst),
    *(BackwardFirstOutput, SizesInARecord, SizesInSettings),
)


class LearnedStart(NeededState):
    """Has a learned initial state, which is no part of the formula."""

    def __init__(self, n_in: int, n_hidden: int) -> None:
        super().__init__(n_in, n_hidden)
        self.start = nn.Parameter(torch.zeros(1, n_hidden))

    def forward(self, inputs: Tensor) -> Pair:  # type: ignore[override]
        return super().forward(inputs, self.start.expand(inputs.size(1), -1))


class UnusedHead(NeededState):
    """Has a linear layer that it does not use."""

    def __init__(self, n_in: int, n_hidden: int) -> None:
        super().__init__(n_in, n_hidden)
        self.head = nn.Linear(n_hidden, 2)


class Normalised(NeededState):
    def __init__(self, n_in: int, n_hidden: int) -> None:
        super().__init__(n_in, n_hidden)
        self.norm = nn.LayerNorm(n_hidden)

    def forward(self, inputs: Tensor, hidden: Tensor) -> Pair:
        outs = []
        for step in inputs:
            hidden = torch.tanh(self.norm(self.in_h(step) + self.h_h(hidden)))
            outs.append(hidden)
        return torch.stack(outs), hidden


class LastStateOnly(NeededState):
    def forward(self, inputs: Tensor) -> Tensor:  # type: ignore[override]
        first = inputs.new_zeros(inputs.size(1), self.h_h.in_features)
        return super().forward(inputs, first)[1]


class OneGate(nn.Module):
    """A unit with a gate that no documented layer has, and as many numbers as an RNN both ways."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.gate = nn.Linear(input_size + hidden_size, hidden_size)
        self.new = nn.Linear(input_size + hidden_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        h, outs = x.new_zeros(x.size(1), self.new.out_features), []
        for step in x:
            gate = torch.sigmoid(self.gate(torch.cat([step, h], 1)))
            h = (1 - gate) * h + gate * torch.tanh(self.new(torch.cat([step, gate * h], 1)))
            outs.append(h)
        return torch.stack(outs)

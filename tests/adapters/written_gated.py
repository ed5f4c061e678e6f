"""GRUs and LSTMs as people write them, each right, none in the documented form."""

from __future__ import annotations

import torch
from torch import Tensor, nn

Pair = tuple[Tensor, Tensor]


class GateLinears(nn.Module):
    """A GRU with six linear layers."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.ir, self.iz, self.in_ = (nn.Linear(input_size, hidden_size) for _ in range(3))
        self.hr, self.hz, self.hn = (nn.Linear(hidden_size, hidden_size) for _ in range(3))

    def forward(self, x: Tensor, h: Tensor | None = None) -> Pair:
        h = x.new_zeros(x.size(0), self.hidden_size) if h is None else h
        out = []
        for step in x.unbind(1):
            r = torch.sigmoid(self.ir(step) + self.hr(h))
            z = torch.sigmoid(self.iz(step) + self.hz(h))
            n = torch.tanh(self.in_(step) + r * self.hn(h))
            h = (1 - z) * n + z * h
            out.append(h)
        return torch.stack(out, 1), h


class UpdateFirst(nn.Module):
    """A GRU that stacks its gates as update, reset, new, in transposed kernels."""

    def __init__(self, input_dim: int, units: int) -> None:
        super().__init__()
        self.units = units
        self.kernel = nn.Parameter(torch.randn(input_dim, 3 * units) / 4)
        self.recurrent_kernel = nn.Parameter(torch.randn(units, 3 * units) / 4)
        self.bias = nn.Parameter(torch.randn(2, 3 * units) / 4)

    def forward(self, x: Tensor, state: Tensor | None = None) -> Pair:
        h = x.new_zeros(x.size(0), self.units) if state is None else state
        out = []
        for step in x.unbind(1):
            xz, xr, xn = (step @ self.kernel + self.bias[0]).chunk(3, 1)
            hz, hr, hn = (h @ self.recurrent_kernel + self.bias[1]).chunk(3, 1)
            z, r = torch.sigmoid(xz + hz), torch.sigmoid(xr + hr)
            n = torch.tanh(xn + r * hn)
            h = z * h + (1 - z) * n
            out.append(h)
        return torch.stack(out, 1), h


class OtherSense(nn.Module):
    """A GRU whose update gate keeps the new value, with the documented stacks."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.x2h = nn.Linear(input_size, 3 * hidden_size)
        self.h2h = nn.Linear(hidden_size, 3 * hidden_size)

    def forward(self, x: Tensor, hx: Tensor | None = None) -> Pair:
        h = x.new_zeros(x.size(1), self.h2h.in_features) if hx is None else hx[0]
        out = []
        for step in x:
            xr, xz, xn = self.x2h(step).chunk(3, -1)
            hr, hz, hn = self.h2h(h).chunk(3, -1)
            r, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
            h = h + z * (torch.tanh(xn + r * hn) - h)
            out.append(h)
        return torch.stack(out), h.unsqueeze(0)


class TwoAndOne(nn.Module):
    """A GRU with one kernel for both gates on the concatenation, and others for the new value."""

    def __init__(self, in_size: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.gates = nn.Linear(in_size + hidden, 2 * hidden)
        self.cand_x = nn.Linear(in_size, hidden)
        self.cand_h = nn.Linear(hidden, hidden)

    def forward(self, x: Tensor, h: Tensor | None = None) -> Pair:
        h = x.new_zeros(x.size(0), self.hidden) if h is None else h
        out = []
        for t in range(x.size(1)):
            joined = torch.cat([x[:, t], h], 1)
            z, r = torch.sigmoid(self.gates(joined)).chunk(2, 1)
            n = torch.tanh(self.cand_x(x[:, t]) + r * self.cand_h(h))
            h = (1 - z) * n + z * h
            out.append(h)
        return torch.stack(out, 1), h


class StackedGates(nn.Module):
    """A GRU with three-dimensional weights, one matrix for each gate."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(3, hidden_size, input_size) / 4)
        self.u = nn.Parameter(torch.randn(3, hidden_size, hidden_size) / 4)
        self.b = nn.Parameter(torch.randn(3, hidden_size) / 4)
        self.b_rec = nn.Parameter(torch.randn(3, hidden_size) / 4)

    def forward(self, x: Tensor, h: Tensor | None = None) -> Pair:
        h = x.new_zeros(x.size(0), self.b.size(1)) if h is None else h
        out = []
        for step in x.unbind(1):
            read = torch.einsum("ni,ghi->gnh", step, self.w) + self.b[:, None]
            kept = torch.einsum("nk,ghk->gnh", h, self.u) + self.b_rec[:, None]
            r, z = torch.sigmoid(read[0] + kept[0]), torch.sigmoid(read[1] + kept[1])
            n = torch.tanh(read[2] + r * kept[2])
            h = n - z * n + z * h
            out.append(h)
        return torch.stack(out, 1), h


class GruCells(nn.Module):
    """torch's GRU cells, one for each layer, with a list of states, time first."""

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.GRUCell(hidden_size if layer else input_size, hidden_size)
            for layer in range(num_layers)
        )

    def forward(self, x: Tensor, h: list[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        states: list[Tensor | None] = [None] * len(self.layers) if h is None else list(h)
        out = []
        for step in x:
            for index, cell in enumerate(self.layers):
                step = cell(step, states[index])
                states[index] = step
            out.append(step)
        return torch.stack(out), [each for each in states if each is not None]


class PlainLstm(nn.Module):
    """An LSTM with one linear layer for everything, gates as input, forget, output, cell."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.all = nn.Linear(input_size + hidden_size, 4 * hidden_size)

    def forward(self, x: Tensor, state: Pair | None = None) -> tuple[Tensor, Pair]:
        zeros = x.new_zeros(x.size(0), self.hidden_size)
        h, c = (zeros, zeros) if state is None else state
        out = []
        for step in x.unbind(1):
            i, f, o, g = self.all(torch.cat([step, h], 1)).chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            out.append(h)
        return torch.stack(out, 1), (h, c)


class EightLinears(nn.Module):
    """An LSTM with eight linear layers; both states are arguments and results of their own."""

    def __init__(self, n_in: int, n_hidden: int) -> None:
        super().__init__()
        self.n_hidden = n_hidden
        for gate in "ifgo":
            setattr(self, f"W{gate}", nn.Linear(n_in, n_hidden))
            setattr(self, f"U{gate}", nn.Linear(n_hidden, n_hidden, bias=False))

    def forward(
        self, x: Tensor, h: Tensor | None = None, c: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        h = x.new_zeros(x.size(0), self.n_hidden) if h is None else h
        c = torch.zeros_like(h) if c is None else c
        out = []
        for step in x.unbind(1):
            sums = {g: getattr(self, f"W{g}")(step) + getattr(self, f"U{g}")(h) for g in "ifgo"}
            kept = torch.sigmoid(sums["f"]) * c
            c = kept + torch.sigmoid(sums["i"]) * torch.tanh(sums["g"])
            h = torch.sigmoid(sums["o"]) * torch.tanh(c)
            out.append(h)
        return torch.stack(out, 1), h, c


class LstmCells(nn.Module):
    """torch's LSTM cells, with a list of pairs of states."""

    def __init__(self, input_size: int, hidden_size: int, depth: int = 1) -> None:
        super().__init__()
        sizes = [input_size] + [hidden_size] * (depth - 1)
        self.cells = nn.ModuleList(nn.LSTMCell(size, hidden_size) for size in sizes)

    def forward(self, x: Tensor, state: list[Pair] | None = None) -> tuple[Tensor, list[Pair]]:
        finals = []
        for index, cell in enumerate(self.cells):
            pair = None if state is None else state[index]
            out = []
            for step in x:
                pair = cell(step, pair)
                assert pair is not None
                out.append(pair[0])
            assert pair is not None
            finals.append(pair)
            x = torch.stack(out)
        return x, finals


class CellFirst(nn.Module):
    """An LSTM with transposed kernels and the cell gate first, that returns c first."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.out_features = out_features
        self.wx = nn.Parameter(torch.randn(in_features, 4 * out_features) / 4)
        self.wh = nn.Parameter(torch.randn(out_features, 4 * out_features) / 4)
        self.b = nn.Parameter(torch.randn(4 * out_features) / 4)

    def forward(self, x: Tensor, state: Pair | None = None) -> tuple[Tensor, Pair]:
        zeros = x.new_zeros(x.size(1), self.out_features)
        c, h = (zeros, zeros) if state is None else state
        out = []
        for step in x:
            g, i, f, o = (step @ self.wx + h @ self.wh + self.b).chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            out.append(h)
        return torch.stack(out), (c, h)


class Wrapped(nn.Module):
    """torch's GRU in a module that takes batches first and returns the state without its axis."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.inner = nn.GRU(input_size, hidden_size, batch_first=True)

    def forward(self, x: Tensor, h: Tensor | None = None) -> Pair:
        output, last = self.inner(x, None if h is None else h[None])
        return output, last[0]


GRUS: tuple[type[nn.Module], ...] = (
    GateLinears,
    UpdateFirst,
    OtherSense,
    TwoAndOne,
    StackedGates,
    GruCells,
    Wrapped,
)
LSTMS: tuple[type[nn.Module], ...] = (PlainLstm, EightLinears, LstmCells, CellFirst)

"""Modules that compute one step get an adapter with the loop around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import rnnspec.adapt as adapt
from rnnspec.errors import AdapterError
from rnnspec.inference.describe import format_found
from rnnspec.inference.infer import infer_adapter
from rnnspec.inference.inferred import Inferred, SearchOutcome
from rnnspec.subjects.target import resolve_target


class Elman(nn.Module):
    """A step of an RNN with one linear layer; subclasses define its call."""

    def __init__(self, n_in: int, n_units: int) -> None:
        super().__init__()
        self.both = nn.Linear(n_in + n_units, n_units)

    def step(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(self.both(torch.cat([x, h], -1)))


class InputFirst(Elman):
    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return self.step(x, h)


class CarryFirst(Elman):
    def forward(self, carry: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        new = self.step(x, carry)
        return new, new


class ListOfStates(Elman):
    def forward(self, inputs: Tensor, states: Any) -> Any:
        new = self.step(inputs, states[0])
        return new, [new]


class Optional(Elman):
    """Takes a whole sequence too, as if it were a batch, and then has no memory."""

    def forward(self, x: Tensor, state: Tensor | None = None) -> Tensor:
        start = x.new_zeros(*x.shape[:-1], self.both.out_features)
        return self.step(x, start if state is None else state)


class Gated(nn.Module):
    """A step of an LSTM in the order of torch; subclasses define its call."""

    def __init__(self, n_in: int, n_units: int) -> None:
        super().__init__()
        self.of_input = nn.Linear(n_in, 4 * n_units)
        self.of_state = nn.Linear(n_units, 4 * n_units, bias=False)

    def step(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        i, f, g, o = (self.of_input(x) + self.of_state(h)).chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c


class TwoStates(Gated):
    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        return self.step(x, h, c)


class CellFirst(Gated):
    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> Any:
        h, c = self.step(x, state[1], state[0])
        return h, (c, h)


class Memory(NamedTuple):
    shown: Tensor
    kept: Tensor


class NamedStates(Gated):
    def forward(self, x: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        h, c = self.step(x, memory.shown, memory.kept)
        return h, Memory(h, c)


class OneRecord(Gated):
    def forward(self, x: Tensor, memory: Memory) -> Memory:
        return Memory(*self.step(x, memory.shown, memory.kept))


class CarryOfTwoFirst(Gated):
    def forward(self, carry: tuple[Tensor, Tensor], x: Tensor) -> Any:
        h, c = self.step(x, carry[1], carry[0])
        return (c, h), h


def infer(cell: Callable[..., nn.Module]) -> Inferred:
    return infer_adapter(resolve_target(cell))


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    ("cell", "kind", "call", "returns"),
    [
        (InputFirst, "rnn", "x, h", "h"),
        (CarryFirst, "rnn", "h, x", "h, _"),
        (ListOfStates, "rnn", "x, (h,)", "_, (h,)"),
        (Optional, "rnn", "x, h", "h"),
        (nn.GRUCell, "gru", "x, h", "h"),
        (TwoStates, "lstm", "x, h, c", "h, c"),
        (CellFirst, "lstm", "x, (c, h)", "_, (c, h)"),
        (NamedStates, "lstm", "x, record(shown=h, kept=c)", "_, record(shown=h, kept=c)"),
        (OneRecord, "lstm", "x, record(shown=h, kept=c)", "record(shown=h, kept=c)"),
        (CarryOfTwoFirst, "lstm", "(c, h), x", "(c, h), _"),
    ],
)
def test_how_a_step_is_called_is_found(cell: Any, kind: str, call: str, returns: str) -> None:
    found = infer(cell)
    assert found.outcome is SearchOutcome.FOUND
    assert not found.deviations
    declaration = found.declaration
    assert (declaration.kind, declaration.call, declaration.returns) == (kind, call, returns)
    assert not any(name.startswith("cell.") for name in (*declaration.weights, *found.matched))


def test_the_inferred_declaration_is_written_as_source() -> None:
    found = infer(CarryFirst)
    text = format_found(found)
    assert "a step of a layer like nn.RNN" in text
    source = found.declaration.write_call("CarryFirst")
    assert source.startswith("adapt.cell(\n    CarryFirst,\n")
    made = eval(source, {"adapt": adapt, "CarryFirst": CarryFirst})
    layer, own = made(3, 5), nn.RNN(3, 5)
    own.load_state_dict(layer.state_dict())
    x = torch.rand(4, 2, 3)
    torch.testing.assert_close(layer(x), own(x))


class OneTensor(Gated):
    def forward(self, x: Tensor, both: Tensor) -> Tensor:
        return torch.cat(self.step(x, *both.chunk(2, -1)), -1)


class SizesByName(InputFirst):
    def __init__(self, *, units: int, input_dim: int) -> None:
        super().__init__(input_dim, units)


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (OneTensor, "no adapter was found"),
        (SizesByName, r"it computes one step, called as \(x, h\[0\]\)"),
    ],
)
def test_a_step_that_cannot_be_declared_is_refused(cell: Any, said: str) -> None:
    with pytest.raises(AdapterError, match=said):
        infer(cell)

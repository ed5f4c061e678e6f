"""The base class of all planted bugs, and functions that help to write them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rnnspec.contract.kinds import LSTM, RNN, Kind
from rnnspec.plain.call import Here
from rnnspec.plain.catalogue import PLAIN_KINDS
from rnnspec.plain.layer import Plain
from rnnspec.reference.loop import BIASES, WEIGHTS
from rnnspec.reference.values import Changes, Functions, Holds, States, change_values, has_value
from rnnspec.selftest.labels import seen_by

UNNAMED = "unnamed"
"""The name of a planted bug until its module is complete."""
PARAMETERS = (*WEIGHTS, *BIASES)
"""The values of a layer and direction that are its parameters."""


class Planted(Plain):
    """The plain layer with a bug.

    Describe the bug in the docstring of your subclass. Its label names the rules that see it and
    the public report that it re-creates, if any.
    """

    row: ClassVar[Row | None] = None
    """The row from which the class is made, or None if it overrides methods."""

    narrow: ClassVar[bool] = False
    """Whether the bug shows only under special conditions.

    These are: several arguments together, a second call, one mode, one dtype, some sizes, or
    gradients only.
    """

    ungated: ClassVar[bool] = False
    """Whether the bug can only be planted in a layer without gates, such as a bug of relu."""

    beyond_cells: ClassVar[bool] = False
    """Whether the bug shows only in several steps, layers or directions, in packed input, or in the
    output, none of which cells have.
    """

    single_state: ClassVar[bool] = False
    """Whether the bug depends on the memory of the given state; an LSTM joins two states in new
    memory.
    """

    equal_biases: ClassVar[bool] = False
    """Whether the bug needs both biases to be added in the same place, which a GRU does not do."""

    packed_checks: ClassVar[bool] = False
    """Whether the bug concerns shapes in a call with packed input, which nn.LSTM does not check."""

    def __init_subclass__(cls, **named: Any) -> None:
        """Clear the row of a base class, because a class made from a row may have further bugs."""
        super().__init_subclass__(**named)
        cls.row = vars(cls).get("row")


@dataclass(frozen=True)
class Row:
    """A bug that changes named values of the loop (`reference/values.py`), for any kind with them.

    text     a description of the bug, in one sentence
    rules    the ids of the rules that see it, separated by spaces; the first must detect it
    changes  the functions that change named values
    report   the public report that it re-creates, if there is one
    flags    the flags of `Planted` that are set
    """

    text: str
    rules: str
    changes: Changes
    report: str
    flags: Mapping[str, bool]

    def concerns(self, kind: Kind) -> bool:
        """Return whether a kind of layer or cell computes a value that the bug changes."""
        return any(has_value(kind, name) for name in self.changes.functions)

    def plant(self, name: str, kind: Kind, module: str) -> type[nn.Module]:
        """Return the layer or cell of a kind with the bug, as a class of a module."""
        plain = PLAIN_KINDS[kind.name]
        attributes = {"row": self, "changes": self.changes}
        place = {"__module__": module, "__doc__": self.text}
        bug = type(name, (*plain.outside, Planted, plain.joined), {**place, **attributes})
        return seen_by(self.rules, report=self.report, **self.flags)(bug)


@dataclass(frozen=True)
class Planter:
    """Plants bugs that change named values, for a module and its kind of layer.

    Assign each bug to the name of its class, and call `name_classes` at the end of your module.
    """

    module: str
    kind: Kind = RNN

    def __call__(
        self,
        text: str,
        rules: str,
        functions: Functions,
        *,
        report: str = "",
        where: Holds | None = None,
        **flags: bool,
    ) -> type[nn.Module]:
        """Return a planted bug.

        `rules` has the ids of rules, separated by spaces. The first parameter of each of your
        functions receives the value, and the others receive values and names that are known there.
        If you pass `where`, the value is changed only at places for which it is true. Raises
        ValueError if a value or flag does not exist.
        """
        changes = change_values(functions)
        changes = changes if where is None else changes.require(where)
        row = Row(text, rules, changes, report, flags)
        return row.plant(UNNAMED, self.kind, self.module)

    def name_classes(self, module: Mapping[str, object]) -> None:
        """Name each planted bug after its variable in a module, so that it can be pickled."""
        for name, bug in module.items():
            if isinstance(bug, type) and bug.__name__ == UNNAMED:
                bug.__name__ = bug.__qualname__ = name


def replace_gradient(value: Tensor, carrier: Tensor) -> Tensor:
    """Return a tensor with the value of `value` and the gradient of `carrier`.

    There is no gradient at elements of `carrier` that are not finite.
    """
    nothing = carrier - carrier.detach()
    return value.detach() + torch.where(nothing.isfinite(), nothing, 0.0)


def hook_gradient(tensor: Tensor, change: Callable[[Tensor], Tensor]) -> None:
    """Pass the gradient that reaches a tensor through `change`."""
    tensor.register_hook(change)


def change_rows(
    number: int, gates: int, change: Callable[[Tensor], Tensor]
) -> Callable[[Tensor], Tensor]:
    """Return a function that changes the rows of a gate."""

    def change_gate(rows: Tensor) -> Tensor:
        blocks = [*rows.chunk(gates)]
        blocks[number] = change(blocks[number])
        return torch.cat(blocks)

    return change_gate


def take_rows(*gates: int) -> Callable[[Tensor], Tensor]:
    """Return a function that gives each gate the rows of the gate with a number."""

    def take(rows: Tensor) -> Tensor:
        blocks = rows.chunk(len(gates))
        return torch.cat([blocks[gate] for gate in gates])

    return take


def use_in_gates(function: Callable[[Tensor], Tensor], *gates: str) -> Functions:
    """Return changes that compute gates by another function of their sums."""
    return {f"gate.{gate}": lambda value, total: function(total) for gate in gates}


def use_for_tanh(function: Callable[[Tensor], Tensor]) -> Functions:
    """Return changes that use another function in place of tanh for gates and cell states.

    In an RNN, it is also used in place of relu.
    """
    return {
        **use_in_gates(function, "hidden", "new", "cell"),
        "shown": lambda shown, c: function(c),
    }


def change_tanh(function: Callable[..., Tensor]) -> Functions:
    """Return changes to the results of tanh, or of relu in an RNN."""
    return dict.fromkeys(("gate.hidden", "gate.new", "gate.cell", "shown"), function)


def change_states(name: str, function: Callable[..., Tensor]) -> Functions:
    """Return changes to each of the states with a name, such as the initial states."""
    return {f"{name}.{letter}": function for letter in LSTM.states}


def turn_nan_to_zero(value: Tensor) -> Tensor:
    """Return a tensor with NaN replaced by zeros."""
    return torch.where(value.isnan(), torch.zeros_like(value), value)


def start_from(choose_row: Callable[[Here], int]) -> Functions:
    """Return changes that start from other rows of the initial states."""

    def choose(first: States, initial: States, spot: Here) -> States:
        return {letter: rows[choose_row(spot)] for letter, rows in initial.items()}

    return {"first": choose}


def use_parameters_of(place: Callable[[Here], tuple[int, int]], *kinds: str) -> Functions:
    """Return changes that compute with parameters of another layer or direction."""

    def find(kind: str) -> Callable[[Tensor, Here], Tensor]:
        return lambda rows, spot: spot.call.layer.parameter(kind, *place(spot))

    return {kind: find(kind) for kind in kinds}


def zero_after(count: int, values: Tensor, dim: int = -1) -> Tensor:
    """Return values with zeros after the first `count` along an axis."""
    first, rest = values.tensor_split([count], dim)
    return torch.cat([first, torch.zeros_like(rest)], dim)


def number_rows(spot: Here) -> Tensor:
    """Return the number of each row of steps and samples, from 1, as (T, N, 1)."""
    alive = spot.call.alive
    return alive.flatten().cumsum(0).view_as(alive)


def is_relu(spot: Here) -> bool:
    """Return whether a layer computes relu."""
    return spot.call.nonlinearity == "relu"


def is_tanh(spot: Here) -> bool:
    """Return whether a layer computes tanh, as all layers with gates do."""
    return spot.call.nonlinearity == "tanh"

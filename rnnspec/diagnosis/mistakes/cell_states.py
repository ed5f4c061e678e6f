"""Mistakes with the cell state of an LSTM: how it starts, is carried on and is returned."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from rnnspec.cases.case import Case
from rnnspec.cases.states import split_states
from rnnspec.diagnosis.mistakes.hypothesis import Build, Hypothesis
from rnnspec.diagnosis.mistakes.places import (
    PLACES,
    Local,
    list_by_place,
)
from rnnspec.diagnosis.mistakes.reference import Reference, Refused
from rnnspec.diagnosis.mistakes.situations import has_cell_state, has_h_0, has_rows, is_unsorted


def has_c_0(case: Case) -> bool:
    """Return whether the call passes an initial cell state."""
    return has_cell_state(case.config.kind_data) and has_h_0(case)


def _has_equal_states(case: Case) -> bool:
    return has_cell_state(case.config.kind_data) and not case.config.proj_size


@dataclass
class StartIgnored(Local):
    """One of the two states is zero at the start; the other is the one that was passed."""

    letter: str = ""

    def first_state(self, initial: Tensor, layer: int, direction: int) -> Tensor:
        right = super().first_state(initial, layer, direction)
        if not self.is_wrong(layer, direction):
            return right
        return self.change_states(right, torch.zeros_like, self.letter)


@dataclass
class StartMisread(Reference):
    """The cell state at the start is that of another row."""

    find_row: Callable[[int, int, int, int], int] = lambda layer, direction, layers, directions: 0

    def first_state(self, initial: Tensor, layer: int, direction: int) -> Tensor:
        right = super().first_state(initial, layer, direction)
        row = self.find_row(layer, direction, self.given.layers, self.given.directions)
        return self.replace_states(right, initial[row], "c")


@dataclass
class PairExchanged(Reference):
    """The hidden and the cell state are exchanged, in what is taken or in what is returned."""

    taken: bool = False
    returned: bool = False

    def arrange_initial(self) -> Tensor:
        right = super().arrange_initial()
        if not self.taken:
            return right
        hidden, cell = split_states(self.given.case.config, right).values()
        if hidden.shape != cell.shape:
            raise Refused("the states do not fit the layer")
        return torch.cat([cell, hidden], dim=-1)

    def name_states(self, states: Tensor) -> dict[str, Tensor]:
        right = super().name_states(states)
        if not self.returned:
            return right
        return dict(zip(right, reversed(right.values()), strict=True))


@dataclass
class StartShared(Reference):
    """Both states start from one of those that were passed."""

    letter: str = ""

    def arrange_initial(self) -> Tensor:
        states = split_states(self.given.case.config, super().arrange_initial())
        if len({each.shape for each in states.values()}) > 1:
            raise Refused("the states do not fit the layer")
        return torch.cat([states[self.letter]] * len(states), dim=-1)


@dataclass
class OrderOfOne(Reference):
    """The cell states of packed sequences are in another order, or the hidden states alone are."""

    taken: bool = False
    returned: bool = False
    is_hidden: bool = False

    def arrange_initial(self) -> Tensor:
        right = super().arrange_initial()
        order = torch.argsort(self.given.sorted_order)
        return self._reorder(right, order) if self.taken else right

    def write_states(self, states: Tensor) -> Tensor:
        right = super().write_states(states)
        return self._reorder(right, self.given.sorted_order) if self.returned else right

    def _reorder(self, states: Tensor, order: Tensor) -> Tensor:
        letter = "h" if self.is_hidden else "c"
        return self.change_states(states, lambda state: state[:, order], letter)


@dataclass
class EndChanged(Reference):
    """The cell state that is returned is changed; it has the shape (D * num_layers, ..., H)."""

    change: Callable[[Reference, Tensor, Tensor], Tensor] = lambda layer, hidden, cell: cell

    def write_states(self, states: Tensor) -> Tensor:
        right = super().write_states(states)
        hidden, cell = split_states(self.given.case.config, right).values()
        return torch.cat([hidden, self.change(self, hidden, cell)], dim=-1)


@dataclass
class ReturnedTwice(Reference):
    """One of the final states is returned in place of both."""

    letter: str = ""

    def name_states(self, states: Tensor) -> dict[str, Tensor]:
        right = super().name_states(states)
        return dict.fromkeys(right, right[self.given.case.config.kind_data.name_final(self.letter)])


@dataclass
class CellShown(Reference):
    """The first units of the cell state are returned in place of the hidden state."""

    def write_states(self, states: Tensor) -> Tensor:
        right = super().write_states(states)
        _, cell = split_states(self.given.case.config, right).values()
        return torch.cat([cell[..., : self.given.hidden], cell], dim=-1)


@dataclass
class GatesReadCell(Reference):
    """The gates read the cell state in place of the hidden state."""

    def add(
        self, rest: Tensor, state: Tensor, weight: Tensor, layer: int, direction: int, step: int
    ) -> Tensor:
        return rest + state[..., self.given.hidden :] @ weight


def _can_be_exchanged(taken: bool, case: Case) -> bool:
    return has_cell_state(case.config.kind_data) and (has_h_0(case) or not taken)


def _can_be_unsorted(returned: bool, case: Case) -> bool:
    return (
        has_cell_state(case.config.kind_data) and is_unsorted(case) and (has_h_0(case) or returned)
    )


def _reverse_layers(layer: Reference, hidden: Tensor, cell: Tensor) -> Tensor:
    return cell.flip(0)


ROWS: tuple[tuple[str, Callable[[int, int, int, int], int]], ...] = (
    ("every layer starts from the first layer's row of c_0", lambda k, d, n, m: d),
    ("every layer starts from the last layer's row of c_0", lambda k, d, n, m: (n - 1) * m + d),
    ("both directions start from the forward row of c_0", lambda k, d, n, m: k * m),
    ("the directions exchange their rows of c_0", lambda k, d, n, m: k * m + m - 1 - d),
    ("c_0 lists its forward rows before its backward rows", lambda k, d, n, m: d * n + k),
    ("c_0 lists the last layer first", lambda k, d, n, m: (n - 1 - k) * m + d),
)

ENDS: tuple[tuple[str, str, Callable[[Reference, Tensor, Tensor], Tensor]], ...] = (
    ("c_n is tanh(c)", "return c itself as c_n", lambda layer, hidden, cell: torch.tanh(cell)),
    (
        "c_n is clipped to [-1, 1]",
        "return c itself as c_n",
        lambda layer, hidden, cell: cell.clamp(-1, 1),
    ),
    (
        "c_n holds the last layer's cell state for every layer",
        "return the final cell state of every layer",
        lambda layer, hidden, cell: torch.cat(
            [cell[-layer.given.directions :]] * layer.given.layers
        ),
    ),
    (
        "c_n lists its forward rows before its backward rows",
        "return row k * D + d of c_n for layer k and direction d",
        lambda layer, hidden, cell: torch.cat(
            [cell[each :: layer.given.directions] for each in range(layer.given.directions)]
        ),
    ),
    (
        "c_n lists the last layer first",
        "return the first layer's row first",
        _reverse_layers,
    ),
)

CELL_FOR_HIDDEN: tuple[tuple[str, Build], ...] = (
    ("", partial(ReturnedTwice, letter="c")),
    (", cut to proj_size units if there is a projection", CellShown),
)
OF_CELL_STATES = ("cell-state.packed", "packed.unsorted", "cell-state.final")
SORTED = "of unsorted packed sequences"
ORDERS: tuple[tuple[str, bool, bool, bool], ...] = (
    (f"c_0 {SORTED} is read in sorted order", True, False, False),
    (f"c_n {SORTED} is returned in sorted order", False, True, False),
    (f"c_0 and c_n {SORTED} are in sorted order", True, True, False),
    (f"h_0 {SORTED} is read in sorted order, unlike c_0", True, False, True),
    (f"h_n {SORTED} is returned in sorted order, unlike c_n", False, True, True),
    (f"h_0 and h_n {SORTED} are in sorted order, unlike c_0 and c_n", True, True, True),
)
"""What is in sorted order: whether states that are taken, or returned, and whether hidden ones."""
HYPOTHESES: tuple[Hypothesis, ...] = (
    *list_by_place(
        "c_0 is ignored",
        "start each layer and direction from its row of c_0",
        ("cell-state.initial", "states.initial-state-used"),
        StartIgnored,
        has_c_0,
        PLACES,
        family="c_0 ignored",
        letter="c",
    ),
    *list_by_place(
        "only h_0 is ignored",
        "start each layer and direction from its row of h_0",
        ("states.initial-state-used", "states.routing"),
        StartIgnored,
        has_c_0,
        PLACES,
        family="h_0 alone ignored",
        letter="h",
    ),
    *(
        Hypothesis(
            text,
            "start layer k and direction d from row k * D + d of c_0",
            ("cell-state.initial", "states.initial-state-used"),
            partial(StartMisread, find_row=row),
            lambda case: has_c_0(case) and has_rows(case),
            "rows of c_0",
        )
        for text, row in ROWS
    ),
    *(
        Hypothesis(
            text,
            remedy,
            ("cell-state.exchanged", "cell-state.final"),
            partial(PairExchanged, taken=taken, returned=returned),
            partial(_can_be_exchanged, taken),
        )
        for text, remedy, taken, returned in (
            ("the pair of states is read as (c_0, h_0)", "read (h_0, c_0)", True, False),
            ("the states are returned as (c_n, h_n)", "return output, (h_n, c_n)", False, True),
        )
    ),
    *(
        Hypothesis(
            f"the {state} state starts from {letter}_0 too",
            "start the hidden state from h_0 and the cell state from c_0",
            (rule, "states.initial-state-used"),
            partial(StartShared, letter=letter),
            has_c_0,
        )
        for letter, state, rule in (
            ("h", "cell", "cell-state.initial"),
            ("c", "hidden", "states.routing"),
        )
    ),
    Hypothesis(
        "h_n is returned in place of c_n",
        "return output, (h_n, c_n)",
        ("cell-state.exchanged", "cell-state.final"),
        partial(ReturnedTwice, letter="h"),
        of=has_cell_state,
    ),
    *(
        Hypothesis(
            f"c_n is returned in place of h_n{cut}",
            "return output, (h_n, c_n)",
            ("states.h-n-is-last-output", "cell-state.exchanged", "recurrence.h-n"),
            build,
            family="c_n for h_n",
            rank=rank,
            of=has_cell_state,
        )
        for rank, (cut, build) in enumerate(CELL_FOR_HIDDEN)
    ),
    *(
        Hypothesis(
            text,
            remedy,
            ("cell-state.final",),
            partial(EndChanged, change=change),
            family="c_n",
            of=has_cell_state,
        )
        for text, remedy, change in ENDS
    ),
    *(
        Hypothesis(
            text,
            "reorder all states by sorted_indices, and by unsorted_indices at the end",
            ("packed.unsorted", "packed.h-n") if is_hidden else OF_CELL_STATES,
            partial(OrderOfOne, taken=taken, returned=returned, is_hidden=is_hidden),
            partial(_can_be_unsorted, returned),
            f"order of one of two states, hidden: {is_hidden}",
            int(taken and returned),
        )
        for text, taken, returned, is_hidden in ORDERS
    ),
    Hypothesis(
        "the gates read the cell state in place of the hidden state",
        "multiply the hidden state by weight_hh",
        ("gates.alone", "recurrence.output"),
        GatesReadCell,
        _has_equal_states,
    ),
)

"""Mistakes with the cell state of an LSTM: how it starts, is renewed, is shown and is returned."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from rnnspec.cases.case import Case
from rnnspec.cases.states import split_states
from rnnspec.diagnosis.mistakes.hypothesis import Hypothesis
from rnnspec.diagnosis.mistakes.places import (
    EVERYWHERE,
    FIRST_LAYER,
    LAST_LAYER,
    PLACES,
    UPPER_LAYERS,
    Local,
    list_by_place,
)
from rnnspec.diagnosis.mistakes.reference import Reference
from rnnspec.diagnosis.mistakes.situations import has_h_0, has_rows

Change = Callable[[Tensor], Tensor]
Gates = tuple[Tensor, Tensor, Tensor, Tensor]
Formula = Callable[[Gates, Tensor], tuple[Tensor, Tensor]]
"""The new hidden and cell state, from the gates i, f, g and o and the cell state before."""
LAYERS = (EVERYWHERE, FIRST_LAYER, UPPER_LAYERS, LAST_LAYER)


def has_cell_state(case: Case) -> bool:
    """Return whether the layer has a cell state."""
    return bool(case.config.kind_data.memory_gate)


def _has_c_0(case: Case) -> bool:
    return has_cell_state(case) and has_h_0(case)


def _has_equal_states(case: Case) -> bool:
    return has_cell_state(case) and not case.config.proj_size


@dataclass
class StartChanged(Local):
    """The cell state at the start is changed."""

    change: Change = torch.zeros_like

    def first_state(self, initial: Tensor, layer: int, direction: int) -> Tensor:
        right = super().first_state(initial, layer, direction)
        if not self.is_wrong(layer, direction):
            return right
        size = self.given.hidden
        return torch.cat([right[..., :size], self.change(right[..., size:])], dim=-1)


@dataclass
class StartMisread(Reference):
    """The cell state at the start is that of another row."""

    find_row: Callable[[int, int, int, int], int] = lambda layer, direction, layers, directions: 0

    def first_state(self, initial: Tensor, layer: int, direction: int) -> Tensor:
        right = super().first_state(initial, layer, direction)
        given, size = self.given, self.given.hidden
        row = self.find_row(layer, direction, given.layers, given.directions)
        return torch.cat([right[..., :size], initial[row][..., size:]], dim=-1)


@dataclass
class PairExchanged(Reference):
    """The hidden and the cell state are exchanged, in what is taken or in what is returned."""

    taken: bool = False
    returned: bool = False

    def arrange_initial(self) -> Tensor:
        right = super().arrange_initial()
        return self._exchange(right) if self.taken else right

    def write_states(self, states: Tensor) -> Tensor:
        right = super().write_states(states)
        return self._exchange(right) if self.returned else right

    def _exchange(self, states: Tensor) -> Tensor:
        hidden, cell = split_states(self.given.case.config, states).values()
        return torch.cat([cell, hidden], dim=-1)


@dataclass
class EndChanged(Reference):
    """The cell state that is returned is changed; it has the shape (D * num_layers, ..., H)."""

    change: Callable[[Reference, Tensor, Tensor], Tensor] = lambda layer, hidden, cell: hidden

    def write_states(self, states: Tensor) -> Tensor:
        right = super().write_states(states)
        hidden, cell = split_states(self.given.case.config, right).values()
        return torch.cat([hidden, self.change(self, hidden, cell)], dim=-1)


@dataclass
class OtherFormula(Local):
    """The new states are computed by another formula."""

    formula: Formula = lambda gates, cell: (cell, cell)

    def update(self, total: Tensor, state: Tensor, layer: int) -> Tensor:
        if not self.is_wrong(layer, 0):
            return super().update(total, state, layer)
        i, f, g, o = self.change_sums(total.chunk(4, -1), layer)
        gates = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
        return torch.cat(self.formula(gates, state[..., self.given.hidden :]), dim=-1)


def _renew(gates: Gates, cell: Tensor) -> Tensor:
    i, f, g, _ = gates
    return f * cell + i * g


def _show(gates: Gates, new: Tensor) -> tuple[Tensor, Tensor]:
    return gates[3] * torch.tanh(new), new


def _clip(limit: float, gates: Gates, cell: Tensor) -> tuple[Tensor, Tensor]:
    return _show(gates, _renew(gates, cell).clamp(-limit, limit))


def _can_be_exchanged(taken: bool, case: Case) -> bool:
    return _has_equal_states(case) and (has_h_0(case) or not taken)


def _reverse_layers(layer: Reference, hidden: Tensor, cell: Tensor) -> Tensor:
    return cell.flip(0)


FORMULAS: tuple[tuple[str, str, Formula], ...] = (
    (
        "the hidden state is o * c, without tanh",
        "compute h = o * tanh(c)",
        lambda gates, cell: (gates[3] * _renew(gates, cell), _renew(gates, cell)),
    ),
    (
        "the hidden state is tanh(c), without the output gate",
        "compute h = o * tanh(c)",
        lambda gates, cell: (torch.tanh(_renew(gates, cell)), _renew(gates, cell)),
    ),
    (
        "the hidden state shows the cell state from before the step",
        "compute h = o * tanh(c) from the new cell state",
        lambda gates, cell: (gates[3] * torch.tanh(cell), _renew(gates, cell)),
    ),
    (
        "the output gate acts twice",
        "compute h = o * tanh(c)",
        lambda gates, cell: (
            gates[3] * gates[3] * torch.tanh(_renew(gates, cell)),
            _renew(gates, cell),
        ),
    ),
    (
        "the input gate is 1 minus the forget gate",
        "compute c = f * c + i * g",
        lambda gates, cell: _show(gates, gates[1] * cell + (1 - gates[1]) * gates[2]),
    ),
    (
        "the forget gate acts twice",
        "compute c = f * c + i * g",
        lambda gates, cell: _show(gates, gates[1] * gates[1] * cell + gates[0] * gates[2]),
    ),
    (
        "the cell state is not carried from step to step",
        "start each step from the cell state of the step before",
        lambda gates, cell: _show(gates, gates[0] * gates[2]),
    ),
    (
        "tanh is applied to the cell state that is carried on",
        "carry c = f * c + i * g on, and show tanh(c) in the hidden state only",
        lambda gates, cell: _show(gates, torch.tanh(_renew(gates, cell))),
    ),
    *(
        (
            f"the cell state is clipped to [-{limit}, {limit}]",
            "do not clip the cell state",
            partial(_clip, limit),
        )
        for limit in (1, 2, 3, 5, 10, 20, 50)
    ),
)

STARTS: tuple[tuple[str, Change], ...] = (
    ("is clipped to [-1, 1]", lambda cell: cell.clamp(-1, 1)),
    ("is negated", torch.neg),
    ("is doubled", lambda cell: cell * 2),
    ("passes through tanh before it is used", torch.tanh),
)

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
    ("c_n is zero", "return the final cell states", lambda layer, hidden, cell: cell * 0),
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

HYPOTHESES: tuple[Hypothesis, ...] = (
    *list_by_place(
        "c_0 is ignored",
        "start each layer and direction from its row of c_0",
        ("cell-state.initial", "states.initial-state-used"),
        StartChanged,
        _has_c_0,
        PLACES,
        family="c_0 ignored",
    ),
    *(
        Hypothesis(
            f"c_0 {text}",
            "use c_0 as it is passed",
            ("cell-state.initial", "states.initial-state-used", "recurrence.output"),
            partial(StartChanged, change=change),
            _has_c_0,
        )
        for text, change in STARTS
    ),
    *(
        Hypothesis(
            text,
            "start layer k and direction d from row k * D + d of c_0",
            ("cell-state.initial", "states.initial-state-used"),
            partial(StartMisread, find_row=row),
            lambda case: _has_c_0(case) and has_rows(case),
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
    Hypothesis(
        "h_n is returned in place of c_n",
        "return output, (h_n, c_n)",
        ("cell-state.exchanged", "cell-state.final"),
        EndChanged,
        _has_equal_states,
    ),
    *(
        Hypothesis(
            text,
            remedy,
            ("cell-state.final",),
            partial(EndChanged, change=change),
            has_cell_state,
            "c_n",
        )
        for text, remedy, change in ENDS
    ),
    *(
        hypothesis
        for text, remedy, formula in FORMULAS
        for hypothesis in list_by_place(
            text,
            remedy,
            ("gates.alone", "cell-state.final", "recurrence.output"),
            OtherFormula,
            has_cell_state,
            LAYERS,
            family=text,
            formula=formula,
        )
    ),
)

"""Mistakes with the cell state of an LSTM: its start, its equations and its return."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from rnnspec.cases.case import Case
from rnnspec.mistakes.hypothesis import About, Hypothesis
from rnnspec.mistakes.places import PLACES, list_by_place
from rnnspec.mistakes.situations import has_cell_state, has_h_0, has_rows, is_unsorted
from rnnspec.reference.loop import Refused
from rnnspec.reference.values import Functions, Spot, States, change_values


def _normalise(cell: Tensor) -> Tensor:
    return layer_norm(cell, cell.shape[-1:])


StateFunctions = dict[str, Callable[..., Tensor]]
FORMULAS: tuple[tuple[str, str, str, StateFunctions], ...] = (
    (
        "shown.without-tanh",
        "the hidden state is o * c, without tanh",
        "compute h = o * tanh(c)",
        {"shown": lambda shown, c: c},
    ),
    (
        "shown.older",
        "the hidden state shows $older_c",
        "compute h = o * tanh(c) from the new cell state",
        {"shown": lambda shown, before: torch.tanh(before["c"])},
    ),
    (
        "output-gate.twice",
        "the output gate acts twice",
        "compute h = o * tanh(c)",
        {"h": lambda h, o, shown: o * o * shown},
    ),
    (
        "input-gate.coupled-to-forget",
        "the input gate is 1 minus the forget gate",
        "compute c = f * c + i * g",
        {"c": lambda c, f, g, before: f * before["c"] + (1 - f) * g},
    ),
    (
        "forget-gate.twice",
        "the forget gate acts twice",
        "compute c = f * c + i * g",
        {"c": lambda c, i, f, g, before: f * f * before["c"] + i * g},
    ),
    (
        "shown.normalised",
        "the hidden state shows the cell state normalised, as by nn.LayerNorm",
        "compute h = o * tanh(c)",
        {"shown": lambda shown, c: torch.tanh(_normalise(c))},
    ),
)
"""Mistakes with the gates of a step, or with the part of the cell state that the hidden state
shows."""


def _clip(limit: float) -> StateFunctions:
    return {"c": lambda c: c.clamp(-limit, limit)}


OF_STATE: tuple[tuple[str, str, str, StateFunctions], ...] = (
    (
        "c.through-tanh",
        "tanh is applied to the cell state that is carried on",
        "carry c = f * c + i * g on, and show tanh(c) in the hidden state only",
        {"c": torch.tanh},
    ),
    (
        "c.normalised",
        "the new cell state is normalised, as by nn.LayerNorm",
        "compute c = f * c + i * g",
        {"c": _normalise},
    ),
    *(
        (
            f"c.clipped={limit}",
            f"the cell state is clipped to [-{limit}, {limit}]",
            "do not clip the cell state",
            _clip(limit),
        )
        for limit in (1, 2, 3, 5, 10, 20, 50)
    ),
)
"""Changes of the cell state after a step."""
RULES = ("gates.alone", "cell-state.final", "recurrence.output")
RULES_OF_STATE = ("cell-state.final", "gates.alone", "recurrence.output")
"""The same rules, for mistakes that are not about a gate."""

OF_EQUATIONS: tuple[Hypothesis, ...] = (
    *(
        hypothesis
        for formulas, rules in ((FORMULAS, RULES), (OF_STATE, RULES_OF_STATE))
        for key, text, remedy, rows in formulas
        for hypothesis in list_by_place(
            key,
            text,
            remedy,
            rules,
            rows,
            of=has_cell_state,
        )
    ),
)


FindRow = Callable[[int, int, int, int], int]
"""The row of c_0 for a layer and a direction, given the numbers of layers and directions."""


def has_c_0(case: Case) -> bool:
    """Return whether the call passes an initial cell state."""
    return has_cell_state(case.config.kind_data) and has_h_0(case)


def _has_equal_states(case: Case) -> bool:
    return has_cell_state(case.config.kind_data) and not case.config.proj_size


def start_from_row(find_row: FindRow) -> Callable[..., Tensor]:
    """Return a change that starts the cell state from another row."""

    def start(first: Tensor, initial: States, spot: Spot) -> Tensor:
        given = spot.given
        return initial["c"][find_row(spot.layer, spot.direction, given.layers, given.directions)]

    return start


def exchange_equal(states: States) -> States:
    """Return the hidden and the cell state exchanged. Raises Refused if their shapes differ."""
    _require_equal(states)
    return {"h": states["c"], "c": states["h"]}


def exchange(states: States) -> States:
    """Return the hidden and the cell state exchanged, also with different shapes."""
    return {"h": states["c"], "c": states["h"]}


def share(letter: str) -> Callable[[States], States]:
    """Return a change that uses one state for both. It raises Refused if their shapes differ."""

    def apply(states: States) -> States:
        _require_equal(states)
        return dict.fromkeys(states, states[letter])

    return apply


def _require_equal(states: States) -> None:
    if len({each.shape for each in states.values()}) > 1:
        raise Refused("the states do not fit the layer")


def take_in_sorted_order(state: Tensor, spot: Spot) -> Tensor:
    """Return initial states of packed sequences as if they were in sorted order."""
    return state[:, torch.argsort(spot.given.sorted_order)]


def return_in_sorted_order(state: Tensor, spot: Spot) -> Tensor:
    """Return final states of packed sequences in sorted order."""
    return state[:, spot.given.sorted_order]


def show_cell(h_n: Tensor, states: States) -> Tensor:
    """Return the first units of the cell state in the place of the hidden state."""
    return states["c"][..., : h_n.shape[-1]]


def _can_be_exchanged(taken: bool, case: Case) -> bool:
    return has_cell_state(case.config.kind_data) and (has_h_0(case) or not taken)


def _can_be_unsorted(returned: bool, case: Case) -> bool:
    return (
        has_cell_state(case.config.kind_data) and is_unsorted(case) and (has_h_0(case) or returned)
    )


ROWS: tuple[tuple[str, str, FindRow], ...] = (
    (
        "c_0.row-of-first-layer",
        "every layer starts from the first layer's row of c_0",
        lambda k, d, n, m: d,
    ),
    (
        "c_0.row-of-last-layer",
        "every layer starts from the last layer's row of c_0",
        lambda k, d, n, m: (n - 1) * m + d,
    ),
    (
        "c_0.forward-row",
        "both directions start from the forward row of c_0",
        lambda k, d, n, m: k * m,
    ),
    (
        "c_0.exchanged-rows",
        "the directions exchange their rows of c_0",
        lambda k, d, n, m: k * m + m - 1 - d,
    ),
    (
        "c_0.directions-first",
        "c_0 lists its forward rows before its backward rows",
        lambda k, d, n, m: d * n + k,
    ),
    (
        "c_0.layers-reversed",
        "c_0 lists the last layer first",
        lambda k, d, n, m: (n - 1 - k) * m + d,
    ),
)

ENDS: tuple[tuple[str, str, str, About, Callable[..., Tensor]], ...] = (
    ("c_n.tanh", "c_n is tanh(c)", "return c itself as c_n", About.ONE_STEP, torch.tanh),
    (
        "c_n.clipped=1",
        "c_n is clipped to [-1, 1]",
        "return c itself as c_n",
        About.ONE_STEP,
        lambda cell: cell.clamp(-1, 1),
    ),
    (
        "c_n.last-layer-for-all",
        "c_n holds the last layer's cell state for every layer",
        "return the final cell state of every layer",
        About.LAYERS,
        lambda cell, spot: torch.cat([cell[-spot.given.directions :]] * spot.given.layers),
    ),
    (
        "c_n.directions-first",
        "c_n lists its forward rows before its backward rows",
        "return row k * D + d of c_n for layer k and direction d",
        About.DIRECTIONS,
        lambda cell, spot: torch.cat(
            [cell[each :: spot.given.directions] for each in range(spot.given.directions)]
        ),
    ),
    (
        "c_n.layers-reversed",
        "c_n lists the last layer first",
        "return the first layer's row first",
        About.LAYERS,
        lambda cell: cell.flip(0),
    ),
)

CELL_FOR_HIDDEN: tuple[tuple[str, str, Functions], ...] = (
    ("", "", {"returned": lambda states: dict.fromkeys(states, states["c"])}),
    (".cut", ", cut to proj_size units if there is a projection", {"returned.h": show_cell}),
)
OF_CELL_STATES = ("cell-state.packed", "packed.unsorted", "cell-state.final")
SORTED = "of unsorted packed sequences"
ORDERS: tuple[tuple[str, str, bool, bool, bool], ...] = (
    ("c_0.sorted", f"c_0 {SORTED} is read in sorted order", True, False, False),
    ("c_n.sorted", f"c_n {SORTED} is returned in sorted order", False, True, False),
    ("c_0-and-c_n.sorted", f"c_0 and c_n {SORTED} are in sorted order", True, True, False),
    ("h_0-alone.sorted", f"h_0 {SORTED} is read in sorted order, unlike c_0", True, False, True),
    (
        "h_n-alone.sorted",
        f"h_n {SORTED} is returned in sorted order, unlike c_n",
        False,
        True,
        True,
    ),
    (
        "h_0-and-h_n-alone.sorted",
        f"h_0 and h_n {SORTED} are in sorted order, unlike c_0 and c_n",
        True,
        True,
        True,
    ),
)
"""States in sorted order: key, text, and whether passed, returned and hidden states are sorted."""


def _reorder(taken: bool, returned: bool, letter: str) -> dict[str, Callable[..., Tensor]]:
    """Return changes of the order of samples in a state that is passed, or returned."""
    before = {f"initial.{letter}": take_in_sorted_order} if taken else {}
    after = {f"returned.{letter}": return_in_sorted_order} if returned else {}
    return before | after


HYPOTHESES: tuple[Hypothesis, ...] = (
    *OF_EQUATIONS,
    *list_by_place(
        "c_0.ignored",
        "c_0 is ignored",
        "start $each_from c_0",
        ("cell-state.initial", "states.initial-state-used"),
        {"first.c": torch.zeros_like},
        has_c_0,
        PLACES,
        family="c_0.ignored",
    ),
    *list_by_place(
        "h_0.alone-ignored",
        "only h_0 is ignored",
        "start $each_from h_0",
        ("states.initial-state-used", "states.routing"),
        {"first.h": torch.zeros_like},
        has_c_0,
        PLACES,
        family="h_0.alone-ignored",
    ),
    *(
        Hypothesis(
            key,
            text,
            "start layer k and direction d from row k * D + d of c_0",
            ("cell-state.initial", "states.initial-state-used"),
            change_values({"first.c": start_from_row(row)}),
            lambda case: has_c_0(case) and has_rows(case),
            "c_0.rows",
            about=About.LAYERS,
        )
        for key, text, row in ROWS
    ),
    *(
        Hypothesis(
            key,
            text,
            remedy,
            ("cell-state.exchanged", "cell-state.final"),
            change_values({"initial": exchange_equal} if taken else {"returned": exchange}),
            partial(_can_be_exchanged, taken),
        )
        for key, text, remedy, taken in (
            (
                "states.read-exchanged",
                "the pair of states is read as (c_0, h_0)",
                "read (h_0, c_0)",
                True,
            ),
            (
                "states.returned-exchanged",
                "the states are returned as (c_n, h_n)",
                "return $results",
                False,
            ),
        )
    ),
    *(
        Hypothesis(
            f"{letter}_0.for-both",
            f"the {state} state starts from {letter}_0 too",
            "start the hidden state from h_0 and the cell state from c_0",
            (rule, "states.initial-state-used"),
            change_values({"initial": share(letter)}),
            has_c_0,
        )
        for letter, state, rule in (
            ("h", "cell", "cell-state.initial"),
            ("c", "hidden", "states.routing"),
        )
    ),
    Hypothesis(
        "h_n.for-c_n",
        "h_n is returned in place of c_n",
        "return $results",
        ("cell-state.exchanged", "cell-state.final"),
        change_values({"returned": lambda states: dict.fromkeys(states, states["h"])}),
        of=has_cell_state,
    ),
    *(
        Hypothesis(
            f"c_n.for-h_n{key}",
            f"c_n is returned in place of h_n{cut}",
            "return $results",
            ("states.h-n-is-last-output", "cell-state.exchanged", "recurrence.h-n"),
            change_values(changes),
            family="c_n.for-h_n",
            rank=rank,
            of=has_cell_state,
        )
        for rank, (key, cut, changes) in enumerate(CELL_FOR_HIDDEN)
    ),
    *(
        Hypothesis(
            key,
            text,
            remedy,
            ("cell-state.final",),
            change_values({"returned.c": change}),
            family="c_n",
            of=has_cell_state,
            about=about,
        )
        for key, text, remedy, about, change in ENDS
    ),
    *(
        Hypothesis(
            key,
            text,
            "reorder all states by sorted_indices, and by unsorted_indices at the end",
            ("packed.unsorted", "packed.h-n") if is_hidden else OF_CELL_STATES,
            change_values(_reorder(taken, returned, "h" if is_hidden else "c")),
            partial(_can_be_unsorted, returned),
            f"{'h' if is_hidden else 'c'}.sorted",
            int(taken and returned),
            about=About.PACKED,
        )
        for key, text, taken, returned, is_hidden in ORDERS
    ),
    Hypothesis(
        "gates.read-cell-state",
        "the gates read the cell state in place of the hidden state",
        "multiply the hidden state by weight_hh",
        ("gates.alone", "recurrence.output"),
        change_values({"hidden_read": lambda hidden, before: before["c"]}),
        _has_equal_states,
    ),
)

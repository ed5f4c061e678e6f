"""Mistakes with the cell state of packed sequences that have ended."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from rnnspec.cases.case import Case
from rnnspec.mistakes.hypothesis import Hypothesis
from rnnspec.mistakes.places import BACKWARD, EVERYWHERE, FORWARD, list_by_place
from rnnspec.mistakes.situations import has_cell_state, is_ragged, is_stack
from rnnspec.reference.loop import Reference
from rnnspec.reference.values import Spot, States, change_values


def pad_with_zeros(data: Tensor, spot: Spot) -> Tensor:
    """Return the input with zeros as its padding."""
    alive = spot.given.alive
    return data if alive is None else torch.where(alive, data, torch.zeros_like(data))


def run_on(kept: Tensor, new: States) -> Tensor:
    """Return the cell state of the step, also for sequences that have ended."""
    return new["c"]


def take_at_padded_end(c_n: Tensor, spot: Spot) -> Tensor:
    """Return the cell state of a padded batch, where both states continue."""
    given, alive = spot.given, spot.given.alive
    if alive is None:
        return c_n
    case = given.case.replace(lengths=(given.case.steps,) * given.case.batch)
    data = pad_with_zeros(given.input, spot)
    _, ended = Reference(replace(given, case=case, input=data)).run()
    return ended["c"]


def _has_ended_cells(case: Case) -> bool:
    return has_cell_state(case.config.kind_data) and is_ragged(case)


HYPOTHESES: tuple[Hypothesis, ...] = (
    *list_by_place(
        "c.goes-on-through-padding",
        "the cell state of a packed sequence goes on through the padding",
        "keep the cell state of a sequence that has ended, as the hidden state",
        ("cell-state.packed", "cell-state.final"),
        {"input": pad_with_zeros, "kept.c": run_on},
        _has_ended_cells,
        (EVERYWHERE, FORWARD, BACKWARD),
        is_stack,  # the content of the padding of an upper layer is unknown
    ),
    Hypothesis(
        "c_n.padded-end",
        "c_n is taken at the padded end of each sequence, unlike h_n",
        "return the cell state after the last step of each sequence",
        ("cell-state.packed", "cell-state.final"),
        change_values({"final.c": take_at_padded_end}),
        _has_ended_cells,
        unclear=is_stack,
    ),
)

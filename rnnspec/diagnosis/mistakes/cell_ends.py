"""Mistakes with the cell state of packed sequences that have ended."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rnnspec.cases.case import Case
from rnnspec.diagnosis.mistakes.hypothesis import Hypothesis
from rnnspec.diagnosis.mistakes.places import (
    BACKWARD,
    EVERYWHERE,
    FORWARD,
    Located,
    list_by_place,
)
from rnnspec.diagnosis.mistakes.reference import Reference
from rnnspec.diagnosis.mistakes.situations import has_cell_state, is_ragged, is_stack


@dataclass
class CellRunsOn(Located):
    """The cell state of a packed sequence goes on through its padding, unlike h."""

    def read_input(self) -> Tensor:
        right, alive = super().read_input(), self.given.alive
        return right if alive is None else torch.where(alive, right, torch.zeros_like(right))

    def keep(self, new: Tensor, time: int, state: Tensor) -> Tensor:
        right = super().keep(new, time, state)
        return self.replace_states(right, new, "c" if self.is_wrong(*self.cell) else "")


@dataclass
class CellAtPaddedEnd(Reference):
    """c_n is that of a padded batch, in which both states go on; h_n and the output are right."""

    def run(self) -> tuple[Tensor, Tensor]:
        output, states = super().run()
        given, alive = self.given, self.given.alive
        if alive is None:
            return output, states
        case = given.case.replace(lengths=(given.case.steps,) * given.case.batch)
        data = torch.where(alive, given.input, torch.zeros_like(given.input))
        _, ended = Reference(replace(given, case=case, input=data)).run()
        return output, self.replace_states(states, ended, "c")


def _has_ended_cells(case: Case) -> bool:
    return has_cell_state(case.config.kind_data) and is_ragged(case)


HYPOTHESES: tuple[Hypothesis, ...] = (
    *list_by_place(
        "the cell state of a packed sequence goes on through the padding",
        "keep the cell state of a sequence that has ended, as the hidden state",
        ("cell-state.packed", "cell-state.final"),
        CellRunsOn,
        _has_ended_cells,
        (EVERYWHERE, FORWARD, BACKWARD),
        is_stack,  # what the padding of an upper layer holds is not known
    ),
    Hypothesis(
        "c_n is taken at the padded end of each sequence, unlike h_n",
        "return the cell state after the last step of each sequence",
        ("cell-state.packed", "cell-state.final"),
        CellAtPaddedEnd,
        _has_ended_cells,
        unclear=is_stack,
    ),
)

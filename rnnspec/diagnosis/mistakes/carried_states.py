"""Mistakes with one of the states that are carried from step to step."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from torch import Tensor

from rnnspec.diagnosis.mistakes.hypothesis import Hypothesis
from rnnspec.diagnosis.mistakes.projections import has_projection
from rnnspec.diagnosis.mistakes.reference import Reference
from rnnspec.diagnosis.mistakes.situations import has_cell_state, is_long
from rnnspec.diagnosis.mistakes.steps import CARRIED, STATES, Recall


@dataclass
class OtherStateOfOne(Reference):
    """A step reads another hidden state, or another cell state."""

    pick: Recall = lambda state, first, step: state
    letter: str = ""

    def recall(self, state: Tensor, first: Tensor, step: int) -> Tensor:
        right = super().recall(state, first, step)
        return self.replace_states(right, self.pick(state, first, step), self.letter)


@dataclass
class StateAdded(Reference):
    """The hidden state before a step is added to the one after it; without a projection."""

    def update(self, total: Tensor, state: Tensor, layer: int, direction: int) -> Tensor:
        right = super().update(total, state, layer, direction)
        return self.change_states(right, lambda hidden: hidden + self.show(state))


STATES_OF_ONE = {
    "every step reads {1}_0 as its {0} state": "every step starts from h_0",
    "the {0} state is used in the first step only": "the state is used in the first step only",
    "{1}_0 is added to the {0} state at every later step": (
        "h_0 is added to the state at every later step"
    ),
    "the {0} state is reset to {1}_0 at every second step": (
        "the state is reset to h_0 at every second step"
    ),
}
"""What may be wrong with one of the states of an LSTM, and the same with its whole state."""


def _list_states_of_one() -> list[Hypothesis]:
    picks = {text: pick for text, _, pick in STATES}
    return [
        Hypothesis(
            text.format(state, letter),
            CARRIED,
            ("recurrence.output", "recurrence.h-n", "cell-state.final"),
            partial(OtherStateOfOne, pick=picks[same], letter=letter),
            is_long,
            of=has_cell_state,
        )
        for text, same in STATES_OF_ONE.items()
        for letter, state in (("h", "hidden"), ("c", "cell"))
    ]


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_states_of_one(),
    Hypothesis(
        "the hidden state before each step is added to the one after it, as by a residual"
        " connection",
        "return the hidden state of the formula",
        ("recurrence.output", "recurrence.h-n"),
        StateAdded,
        unclear=has_projection,
    ),
)

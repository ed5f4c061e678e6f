"""Mistakes with a single state of those that are carried from step to step."""

from __future__ import annotations

from torch import Tensor

from rnnspec.mistakes.hypothesis import Hypothesis
from rnnspec.mistakes.projections import has_projection
from rnnspec.mistakes.situations import has_cell_state, is_long
from rnnspec.mistakes.steps import CARRIED, STATES, recall_state
from rnnspec.reference.values import States, change_values


def add_state_before(new: Tensor, before: States) -> Tensor:
    """Return the hidden state after a step plus the state before it, without a projection."""
    return new + before["h"]


STATES_OF_ONE = {
    "steps.start-from-h_0": "every step reads {1}_0 as its {0} state",
    "steps.state-in-first-only": "the {0} state is used in the first step only",
    "steps.add-h_0": "{1}_0 is added to the {0} state at every later step",
    "steps.reset-every-second": "the {0} state is reset to {1}_0 at every second step",
}
"""Mistakes with a single state of an LSTM, by the key of the same mistake with both states."""


def _list_states_of_one() -> list[Hypothesis]:
    picks = {key: pick for key, _, pick in STATES}
    return [
        Hypothesis(
            f"{key}.of-{letter}-alone",
            text.format(state, letter),
            CARRIED,
            ("recurrence.output", "recurrence.h-n", "cell-state.final"),
            change_values({f"before.{letter}": recall_state(picks[key], letter)}),
            is_long,
            of=has_cell_state,
        )
        for key, text in STATES_OF_ONE.items()
        for letter, state in (("h", "hidden"), ("c", "cell"))
    ]


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_states_of_one(),
    Hypothesis(
        "h.residual",
        "the hidden state before each step is added to the one after it, as by a residual"
        " connection",
        "return the hidden state of the formula",
        ("recurrence.output", "recurrence.h-n"),
        change_values({"new.h": add_state_before}),
        unclear=has_projection,
    ),
)

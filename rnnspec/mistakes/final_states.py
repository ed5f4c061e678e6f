"""Mistakes with what h_n holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from rnnspec.mistakes.hypothesis import (
    Condition,
    Hypothesis,
    KindCondition,
    always,
    every,
)
from rnnspec.mistakes.places import (
    PLACES,
    WITHOUT_BACKWARD,
    Place,
    list_by_place,
)
from rnnspec.mistakes.situations import (
    has_cell_state,
    is_bidirectional,
    is_long,
    is_ragged,
    is_stack,
)
from rnnspec.reference.given import Given
from rnnspec.reference.values import Functions, Spot, States, change_values

Pick = Callable[[Tensor, Tensor, Given], Tensor]
"""A final state from those of all steps, in the order of computing, and the first one."""
Change = Callable[[Tensor, Given], Tensor]


def take_from(pick: Pick, letters: str) -> Functions:
    """Return changes that take the final states with some letters from other steps."""

    def take(letter: str) -> Callable[..., Tensor]:
        def change(last: Tensor, steps: States, first: States, spot: Spot) -> Tensor:
            computed = steps[letter].flip(0) if spot.direction else steps[letter]
            return pick(computed, first[letter], spot.given)

        return change

    return {f"last.{letter}": take(letter) for letter in letters}


def change_rows(change: Change, letters: str) -> Functions:
    """Return changes of the rows of the final states with some letters."""

    def apply(final: Tensor, spot: Spot) -> Tensor:
        return change(final, spot.given)

    return {f"final.{letter}": apply for letter in letters}


def _take_first_step(steps: Tensor, first: Tensor, given: Given) -> Tensor:
    return steps[0]


def _take_at_last_time(steps: Tensor, first: Tensor, given: Given) -> Tensor:
    if given.alive is None:
        return steps[0]
    return steps.flip(0)[torch.tensor(given.case.lengths) - 1, torch.arange(given.case.batch)]


def _take_one_early(steps: Tensor, first: Tensor, given: Given) -> Tensor:
    return steps[-2] if len(steps) > 1 else first


def _take_early_but_one(steps: Tensor, first: Tensor, given: Given) -> Tensor:
    return steps[-2] if len(steps) > 1 else steps[-1]


def _take_initial(steps: Tensor, first: Tensor, given: Given) -> Tensor:
    return first


def _take_mean(steps: Tensor, first: Tensor, given: Given) -> Tensor:
    return steps.mean(0)


def _take_zero(steps: Tensor, first: Tensor, given: Given) -> Tensor:
    return steps[-1] * 0


REMEDY = "return the state after the last step that each layer and direction computes"
RULES = ("states.h-n-is-last-output", "recurrence.h-n")
STEPS: tuple[tuple[str, Pick], ...] = (
    ("h_n holds the state after the first step", _take_first_step),
    ("h_n is one step early", _take_one_early),
    ("h_n is one step early if there is more than one step", _take_early_but_one),
    ("h_n is h_0", _take_initial),
    ("h_n holds the mean of the states over time", _take_mean),
    ("h_n is zero", _take_zero),
)
ROWS: tuple[tuple[str, str, Condition, Change], ...] = (
    (
        "h_n holds only the states of the last layer",
        "shapes.h-n",
        is_stack,
        lambda h_n, given: h_n[-given.directions :],
    ),
    (
        "h_n holds only the states of the first layer",
        "shapes.h-n",
        is_stack,
        lambda h_n, given: h_n[: given.directions],
    ),
    (
        "h_n lacks the states of the backward direction",
        "shapes.h-n",
        is_bidirectional,
        lambda h_n, given: h_n[:: given.directions],
    ),
    (
        "h_n lacks the states of the forward direction",
        "shapes.h-n",
        is_bidirectional,
        lambda h_n, given: h_n[1 :: given.directions],
    ),
    (
        "the last layer's rows of h_n hold the states of the first layer",
        "states.h-n-is-last-output",
        is_stack,
        lambda h_n, given: torch.cat([h_n[: -given.directions], h_n[: given.directions]]),
    ),
    (
        "the last layer's rows of h_n hold the states of the layer below",
        "states.h-n-is-last-output",
        is_stack,
        lambda h_n, given: torch.cat(
            [h_n[: -given.directions], h_n[-2 * given.directions : -given.directions]]
        ),
    ),
    (
        "every layer's rows of h_n hold the states of the last layer",
        "recurrence.h-n",
        is_stack,
        lambda h_n, given: h_n[-given.directions :].repeat(given.layers, 1, 1),
    ),
    (
        "both directions' rows of h_n hold the forward states",
        "directions.h-n-order",
        is_bidirectional,
        lambda h_n, given: h_n[::2].repeat_interleave(2, dim=0),
    ),
    (
        "h_n holds the states of the first sample for every sample",
        "recurrence.h-n",
        lambda case: case.batch > 1,
        lambda h_n, given: h_n[:, :1].expand_as(h_n),
    ),
    (
        "h_n holds the samples in the opposite order",
        "recurrence.h-n",
        lambda case: case.batch > 1,
        lambda h_n, given: h_n.flip(1),
    ),
)


@dataclass(frozen=True)
class Which:
    """Which final states are wrong: all, h_n alone or c_n alone, and how that is said."""

    letters: str
    of: KindCondition
    name: str
    unlike: str

    def say(self, text: str) -> str:
        """Return a text about h_n as one about these states."""
        return self.unlike + text.replace("h_n", self.name)

    def list_rules(self, rules: tuple[str, ...]) -> tuple[str, ...]:
        """Return the rules that are broken, from those that a wrong h_n breaks."""
        return rules if "h" in self.letters else ("cell-state.final",)


WHICH = (
    Which("hc", every, "h_n", ""),
    Which("h", has_cell_state, "h_n", "unlike c_n, "),
    Which("c", has_cell_state, "c_n", "unlike h_n, "),
)


def _list_rows() -> list[Hypothesis]:
    return [
        Hypothesis(
            which.say(text),
            REMEDY,
            which.list_rules((rule, *RULES)),
            change_values(change_rows(change, which.letters)),
            concerns,
            of=which.of,
        )
        for text, rule, concerns, change in ROWS
        for which in WHICH
        if rule != "shapes.h-n" or which.of is every
    ]


def _list_steps() -> list[Hypothesis]:
    return [
        hypothesis
        for text, pick in STEPS
        for which in WHICH
        for hypothesis in list_by_place(
            which.say(text),
            REMEDY,
            which.list_rules(RULES),
            take_from(pick, which.letters),
            is_long if pick in (_take_first_step, _take_mean, _take_early_but_one) else always,
            WITHOUT_BACKWARD if pick is _take_first_step else PLACES,
            is_ragged,
            of=which.of,
        )
    ]


def _list_backward() -> list[Hypothesis]:
    backward = Place("", lambda layer, direction, layers: direction == 1)
    last = Place(" in the last layer", lambda layer, d, layers: d == 1 and layer == layers - 1)
    return [
        hypothesis
        for which in WHICH
        for hypothesis in list_by_place(
            which.say(
                "h_n of the backward direction is taken at the last time step instead of the first"
            ),
            "take the final state of the backward direction at time step 0",
            which.list_rules(("directions.h-n-order", "states.h-n-is-last-output")),
            take_from(_take_at_last_time, which.letters),
            lambda case: case.config.bidirectional and case.steps > 1,
            (backward, last),
            is_ragged,
            of=which.of,
        )
    ]


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_steps(),
    *_list_rows(),
    *_list_backward(),
)

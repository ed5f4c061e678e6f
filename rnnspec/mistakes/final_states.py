"""Mistakes with the content of h_n, and with the shape of the final states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rnnspec.cases.case import Case
from rnnspec.cases.reach import CaseTest
from rnnspec.mistakes.hypothesis import About, Hypothesis, KindCondition, always, every
from rnnspec.mistakes.places import BACKWARD, LAST_LAYER, PLACES, WITHOUT_BACKWARD, list_by_place
from rnnspec.mistakes.situations import (
    has_cell_state,
    is_bidirectional,
    is_long,
    is_ragged,
    is_stack,
)
from rnnspec.reference.given import Given
from rnnspec.reference.values import Functions, Spot, States, change_values

PickState = Callable[[Tensor, Tensor, Given], Tensor]
"""Chooses a final state from the states of all steps, in the order of computing, and the first
state."""
GivenChange = Callable[[Tensor, Given], Tensor]


def take_from(pick: PickState, letters: str) -> Functions:
    """Return changes that use other steps for the final states with some letters."""

    def take(letter: str) -> Callable[..., Tensor]:
        def change(last: Tensor, steps: States, first: States, spot: Spot) -> Tensor:
            computed = steps[letter].flip(0) if spot.direction else steps[letter]
            return pick(computed, first[letter], spot.given)

        return change

    return {f"last.{letter}": take(letter) for letter in letters}


def change_rows(change: GivenChange, letters: str) -> Functions:
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


def has_samples(case: Case) -> bool:
    """Return whether there are several samples."""
    return case.batch > 1


REMEDY = "return $last_state"
RULES = ("states.h-n-is-last-output", "recurrence.h-n")
STEPS: tuple[tuple[str, str, PickState], ...] = (
    ("first-step", "{} holds the state after the first step", _take_first_step),
    ("one-step-early", "{} is one step early", _take_one_early),
    (
        "one-step-early.if-several",
        "{} is one step early if there is more than one step",
        _take_early_but_one,
    ),
    ("is-initial", "{} is {}", _take_initial),
    ("mean", "{} holds the mean of the states over time", _take_mean),
    ("zero", "{} is zero", _take_zero),
)
OF_ONE_STEP = (_take_initial, _take_zero)
"""The choices of final states that also work in a single step."""
ROWS: tuple[tuple[str, str, str, CaseTest, GivenChange], ...] = (
    (
        "only-last-layer",
        "{} holds only the states of the last layer",
        "shapes.h-n",
        is_stack,
        lambda h_n, given: h_n[-given.directions :],
    ),
    (
        "only-first-layer",
        "{} holds only the states of the first layer",
        "shapes.h-n",
        is_stack,
        lambda h_n, given: h_n[: given.directions],
    ),
    (
        "no-backward",
        "{} lacks the states of the backward direction",
        "shapes.h-n",
        is_bidirectional,
        lambda h_n, given: h_n[:: given.directions],
    ),
    (
        "no-forward",
        "{} lacks the states of the forward direction",
        "shapes.h-n",
        is_bidirectional,
        lambda h_n, given: h_n[1 :: given.directions],
    ),
    (
        "first-layer-for-last",
        "the last layer's rows of {} hold the states of the first layer",
        "states.h-n-is-last-output",
        is_stack,
        lambda h_n, given: torch.cat([h_n[: -given.directions], h_n[: given.directions]]),
    ),
    (
        "layer-below-for-last",
        "the last layer's rows of {} hold the states of the layer below",
        "states.h-n-is-last-output",
        is_stack,
        lambda h_n, given: torch.cat(
            [h_n[: -given.directions], h_n[-2 * given.directions : -given.directions]]
        ),
    ),
    (
        "last-layer-for-all",
        "every layer's rows of {} hold the states of the last layer",
        "recurrence.h-n",
        is_stack,
        lambda h_n, given: h_n[-given.directions :].repeat(given.layers, 1, 1),
    ),
    (
        "forward-twice",
        "both directions' rows of {} hold the forward states",
        "directions.h-n-order",
        is_bidirectional,
        lambda h_n, given: h_n[::2].repeat_interleave(2, dim=0),
    ),
    (
        "first-sample-for-all",
        "{} holds the states of the first sample for every sample",
        "recurrence.h-n",
        has_samples,
        lambda h_n, given: h_n[:, :1].expand_as(h_n),
    ),
    (
        "samples-reversed",
        "{} holds the samples in the opposite order",
        "recurrence.h-n",
        has_samples,
        lambda h_n, given: h_n.flip(1),
    ),
)


@dataclass(frozen=True)
class Which:
    """The final states that are wrong, all, h_n alone or c_n alone, with their words."""

    key: str
    letters: str
    of: KindCondition
    name: str
    unlike: str = ""
    likewise: tuple[str, ...] = ()

    @property
    def likewise_initial(self) -> tuple[str, ...]:
        """The same for a text that also names the initial state."""
        return (*self.likewise, "h_0") if self.likewise else ()

    def say(self, text: str) -> str:
        """Return a text about these states, from a text with fields for their names."""
        return self.unlike + text.format(self.name, f"{self.letters[0]}_0")

    def list_rules(self, rules: tuple[str, ...]) -> tuple[str, ...]:
        """Return the rules that are broken, from the rules that a wrong h_n breaks."""
        return rules if "h" in self.letters else ("cell-state.final",)


WHICH = (
    Which("h_n", "hc", every, "h_n", likewise=("h_n",)),
    Which("h_n-alone", "h", has_cell_state, "h_n", "unlike c_n, "),
    Which("c_n-alone", "c", has_cell_state, "c_n", "unlike h_n, "),
)


ABOUT: dict[CaseTest, About] = {
    is_stack: About.LAYERS,
    is_bidirectional: About.DIRECTIONS,
    has_samples: About.ONE_STEP,
}
"""The features that mistakes with rows are about, by the cases that show them."""


def _list_rows() -> list[Hypothesis]:
    return [
        Hypothesis(
            f"{which.key}.{key}",
            which.say(text),
            REMEDY,
            which.list_rules((rule, *RULES)),
            change_values(change_rows(change, which.letters)),
            concerns,
            of=which.of,
            about=ABOUT[concerns],
            likewise=which.likewise,
        )
        for key, text, rule, concerns, change in ROWS
        for which in WHICH
        if rule != "shapes.h-n" or which.of is every
    ]


def _list_steps() -> list[Hypothesis]:
    return [
        hypothesis
        for key, text, pick in STEPS
        for which in WHICH
        for hypothesis in list_by_place(
            f"{which.key}.{key}",
            which.say(text),
            REMEDY,
            which.list_rules(RULES),
            take_from(pick, which.letters),
            is_long if pick in (_take_first_step, _take_mean, _take_early_but_one) else always,
            WITHOUT_BACKWARD if pick is _take_first_step else PLACES,
            is_ragged,
            of=which.of,
            about=About.ONE_STEP if pick in OF_ONE_STEP else About.STEPS,
            likewise=which.likewise if pick is not _take_initial else which.likewise_initial,
        )
    ]


def _list_backward() -> list[Hypothesis]:
    backward = replace(BACKWARD, key="", text="")
    last = replace(LAST_LAYER, covers=lambda layer, d, layers: d == 1 and layer == layers - 1)
    return [
        hypothesis
        for which in WHICH
        for hypothesis in list_by_place(
            f"{which.key}.backward-at-last-time",
            which.say(
                "{} of the backward direction is taken at the last time step instead of the first"
            ),
            "take the final state of the backward direction at time step 0",
            which.list_rules(("directions.h-n-order", "states.h-n-is-last-output")),
            take_from(_take_at_last_time, which.letters),
            lambda case: case.config.bidirectional and case.steps > 1,
            (backward, last),
            is_ragged,
            of=which.of,
            likewise=which.likewise,
        )
    ]


OF_CONTENT: tuple[Hypothesis, ...] = (
    *_list_steps(),
    *_list_rows(),
    *_list_backward(),
)


def change_each(change: Callable[[Tensor], Tensor]) -> Callable[[States], States]:
    """Return a change of every state."""
    return lambda states: {letter: change(state) for letter, state in states.items()}


def _take_first_sample(state: Tensor) -> Tensor:
    return state.select(-2, 0)


def _join_axes(state: Tensor) -> Tensor:
    return state.flatten(0, 1) if state.dim() == 3 else state


def _drop_single_axis(state: Tensor) -> Tensor:
    return state[0] if len(state) == 1 else state


def merge_directions(merge: Merge, letters: str) -> Functions:
    """Return changes that merge the rows of the two directions of a layer in final states."""

    def apply(state: Tensor) -> Tensor:
        return merge(state[::2], state[1::2])

    return {f"returned.{letter}": apply for letter in letters}


Merge = Callable[[Tensor, Tensor], Tensor]
MERGES: tuple[tuple[str, str, Merge], ...] = (
    (
        "directions-side-by-side",
        "{} has the states of both directions of a layer side by side",
        lambda forward, backward: torch.cat([forward, backward], dim=-1),
    ),
    ("sum-of-directions", "{} has the sum of the states of both directions", torch.add),
    (
        "mean-of-directions",
        "{} has the mean of the states of both directions",
        lambda forward, backward: (forward + backward) / 2,
    ),
)


def _list_merged() -> list[Hypothesis]:
    return [
        Hypothesis(
            f"{which.key}.{key}",
            which.say(text),
            "return a row for each layer and direction: (D * num_layers, N, H)",
            which.list_rules(("shapes.h-n", "directions.h-n-order")),
            change_values(merge_directions(merge, which.letters)),
            is_bidirectional,
            of=which.of,
            about=About.DIRECTIONS,
            likewise=which.likewise,
        )
        for key, text, merge in MERGES
        for which in WHICH
    ]


def _list_shapes() -> list[Hypothesis]:
    rules = ("shapes.h-n",)
    return [
        Hypothesis(
            "h_n.only-first-sample",
            "h_n holds only the first sample and has no batch axis",
            "return the states of all samples: $states_shape",
            rules,
            change_values({"returned": change_each(_take_first_sample)}),
            lambda case: case.is_batched,
            "h_n.first-axis",
            likewise=("h_n",),
        ),
        Hypothesis(
            "h_n.lacks-first-axis",
            "h_n of a single unidirectional layer lacks its first axis",
            "return h_n of shape (1, N, H): h_n.unsqueeze(0)",
            rules,
            change_values({"returned": change_each(_drop_single_axis)}),
            lambda case: case.config.num_layers * case.config.num_directions == 1,
            "h_n.first-axis",
            about=About.LAYERS,
            likewise=("h_n",),
        ),
        Hypothesis(
            "h_n.only-last-state",
            "h_n is the last state alone, without the axis of layers and directions",
            "return the states of all layers and directions: torch.stack(states)",
            rules,
            change_values({"returned": change_each(lambda state: state[-1])}),
            always,
            "h_n.first-axis",
            1,
            about=About.LAYERS,
            likewise=("h_n",),
        ),
        Hypothesis(
            "h_n.joined-axes",
            "h_n has one axis for layers, directions and samples",
            "return h_n of shape (D * num_layers, N, H)",
            rules,
            change_values({"returned": change_each(_join_axes)}),
            lambda case: case.is_batched,
            "h_n.first-axis",
            2,
            about=About.LAYERS,
            likewise=("h_n",),
        ),
    ]


HYPOTHESES: tuple[Hypothesis, ...] = (*OF_CONTENT, *_list_merged(), *_list_shapes())

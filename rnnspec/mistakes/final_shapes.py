"""Mistakes with the shape of the final states: missing or merged rows or axes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rnnspec.mistakes.final_states import WHICH
from rnnspec.mistakes.hypothesis import About, Hypothesis, always
from rnnspec.mistakes.situations import is_bidirectional
from rnnspec.reference.values import Functions, States, change_values


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


HYPOTHESES: tuple[Hypothesis, ...] = (*_list_merged(), *_list_shapes())

"""Mistakes with what h_n holds."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from rnnspec.diagnosis.mistakes.given import Given
from rnnspec.diagnosis.mistakes.hypothesis import Condition, Hypothesis, always
from rnnspec.diagnosis.mistakes.places import (
    PLACES,
    WITHOUT_BACKWARD,
    Local,
    Place,
    list_by_place,
)
from rnnspec.diagnosis.mistakes.reference import Reference
from rnnspec.diagnosis.mistakes.situations import is_bidirectional, is_long, is_stack

Pick = Callable[[list[Tensor], Tensor, Given], Tensor]
Change = Callable[[Tensor, Given], Tensor]


@dataclass
class LastFrom(Local):
    """The final state of a direction is taken from another step."""

    pick: Pick = lambda steps, first, given: steps[-1]

    def pick_last(
        self, state: Tensor, outputs: list[Tensor], first: Tensor, layer: int, direction: int
    ) -> Tensor:
        if not self.is_wrong(layer, direction):
            return state
        return self.pick(outputs[::-1] if direction else outputs, first, self.given)


@dataclass
class OtherRows(Reference):
    """h_n has other rows than it should."""

    change: Change = lambda h_n, given: h_n

    def stack_states(self, states: list[Tensor], output: Tensor) -> Tensor:
        return self.change(super().stack_states(states, output), self.given)


def _take_first_step(steps: list[Tensor], first: Tensor, given: Given) -> Tensor:
    return steps[0]


def _take_at_last_time(steps: list[Tensor], first: Tensor, given: Given) -> Tensor:
    if given.alive is None:
        return steps[0]
    ended = torch.stack(steps[::-1])
    return ended[torch.tensor(given.case.lengths) - 1, torch.arange(given.case.batch)]


def _take_one_early(steps: list[Tensor], first: Tensor, given: Given) -> Tensor:
    return steps[-2] if len(steps) > 1 else first


def _take_early_but_one(steps: list[Tensor], first: Tensor, given: Given) -> Tensor:
    return steps[-2] if len(steps) > 1 else steps[-1]


def _take_initial(steps: list[Tensor], first: Tensor, given: Given) -> Tensor:
    return first


def _take_mean(steps: list[Tensor], first: Tensor, given: Given) -> Tensor:
    return torch.stack(steps).mean(0)


def _take_zero(steps: list[Tensor], first: Tensor, given: Given) -> Tensor:
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


@dataclass
class FirstSample(Reference):
    """h_n holds only the first sample, without a batch axis."""

    def write_states(self, h_n: Tensor) -> Tensor:
        return h_n[:, 0]


@dataclass
class Squeezed(Reference):
    """h_n of a single unidirectional layer lacks its first axis."""

    def write_states(self, h_n: Tensor) -> Tensor:
        right = super().write_states(h_n)
        return right[0] if len(right) == 1 else right


@dataclass
class WithoutFirstAxis(Reference):
    """h_n is that of the last layer and direction, without the first axis."""

    def write_states(self, h_n: Tensor) -> Tensor:
        return super().write_states(h_n)[-1]


@dataclass
class DirectionsMerged(Reference):
    """The final states have one row for the two directions of a layer."""

    merge: Callable[[Tensor, Tensor], Tensor] = torch.add

    def name_states(self, states: Tensor) -> dict[str, Tensor]:
        right = super().name_states(states)
        return {name: self.merge(state[::2], state[1::2]) for name, state in right.items()}


MERGES: tuple[tuple[str, Callable[[Tensor, Tensor], Tensor]], ...] = (
    (
        "h_n has the states of both directions of a layer side by side",
        lambda forward, backward: torch.cat([forward, backward], dim=-1),
    ),
    ("h_n has the sum of the states of both directions", torch.add),
    (
        "h_n has the mean of the states of both directions",
        lambda forward, backward: (forward + backward) / 2,
    ),
)


def _list_merged() -> list[Hypothesis]:
    return [
        Hypothesis(
            text,
            "return a row for each layer and direction: (D * num_layers, N, H)",
            ("shapes.h-n", "directions.h-n-order"),
            partial(DirectionsMerged, merge=merge),
            is_bidirectional,
        )
        for text, merge in MERGES
    ]


def _list_shapes() -> list[Hypothesis]:
    rules = ("shapes.h-n",)
    return [
        Hypothesis(
            "h_n holds only the first sample and has no batch axis",
            "return the states of all samples: (D * num_layers, N, H)",
            rules,
            FirstSample,
            lambda case: case.is_batched,
            "first axis",
        ),
        Hypothesis(
            "h_n of a single unidirectional layer lacks its first axis",
            "return h_n of shape (1, N, H): h_n.unsqueeze(0)",
            rules,
            Squeezed,
            lambda case: case.config.num_layers * case.config.num_directions == 1,
            "first axis",
        ),
        Hypothesis(
            "h_n is the last state alone, without the axis of layers and directions",
            "return the states of all layers and directions: torch.stack(states)",
            rules,
            WithoutFirstAxis,
            always,
            "first axis",
            1,
        ),
    ]


def _list_steps() -> list[Hypothesis]:
    return [
        hypothesis
        for text, pick in STEPS
        for hypothesis in list_by_place(
            text,
            REMEDY,
            RULES,
            LastFrom,
            is_long if pick in (_take_first_step, _take_mean, _take_early_but_one) else always,
            WITHOUT_BACKWARD if pick is _take_first_step else PLACES,
            lambda case: case.is_packed and len(set(case.lengths)) > 1,
            pick=pick,
        )
    ]


def _list_backward() -> list[Hypothesis]:
    backward = Place("", lambda layer, direction, layers: direction == 1)
    last = Place(" in the last layer", lambda layer, d, layers: d == 1 and layer == layers - 1)
    return list_by_place(
        "h_n of the backward direction is taken at the last time step instead of the first",
        "take the final state of the backward direction at time step 0",
        ("directions.h-n-order", "states.h-n-is-last-output"),
        LastFrom,
        lambda case: case.config.bidirectional and case.steps > 1,
        (backward, last),
        lambda case: case.is_packed and len(set(case.lengths)) > 1,
        pick=_take_at_last_time,
    )


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_steps(),
    *(
        Hypothesis(text, REMEDY, (rule, *RULES), partial(OtherRows, change=change), concerns)
        for text, rule, concerns, change in ROWS
    ),
    *_list_merged(),
    *_list_shapes(),
    *_list_backward(),
)

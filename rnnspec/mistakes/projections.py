"""Mistakes with the projection of an LSTM's hidden state to `proj_size` units."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from rnnspec.cases.case import Case
from rnnspec.contract.shapes import name_place
from rnnspec.mistakes.hypothesis import About, Hypothesis
from rnnspec.mistakes.situations import is_bidirectional, is_stack
from rnnspec.reference.values import Spot, States, change_values

ChoosePlace = Callable[[int, int, int], tuple[int, int]]
"""The layer and direction whose weights are used, from a layer, a direction and the layers."""


def project_at(place: ChoosePlace) -> Callable[..., Tensor]:
    """Return a change of W_hr to the weight of another layer or direction."""

    def change(weight: Tensor, spot: Spot) -> Tensor:
        given = spot.given
        layer, direction = place(spot.layer, spot.direction, given.layers)
        return given.weights[f"weight_hr{name_place(given.case.config, layer, direction)}"]

    return change


def gate_after(
    projected: Tensor, states: States, weight: Tensor, gates: dict[str, Tensor]
) -> Tensor:
    """Return tanh(c) projected first, and then multiplied by the first units of the output gate."""
    shown = torch.tanh(states["c"]) @ weight.t()
    return gates["gate.output"][..., : shown.shape[-1]] * shown


def _note_whole(projected: Tensor, whole: Tensor, spot: Spot) -> Tensor:
    """Keep the hidden states of the last layer before they are projected."""
    if spot.layer == spot.given.layers - 1:
        spot.memo.setdefault(spot.direction, {})[spot.time] = whole
    return projected


def _show_whole(output: Tensor, spot: Spot) -> Tensor:
    halves = (spot.memo[direction] for direction in range(spot.given.directions))
    return torch.cat([torch.stack([each[t] for t in sorted(each)]) for each in halves], dim=-1)


def has_projection(case: Case) -> bool:
    """Return whether the hidden state is projected."""
    return case.config.proj_size > 0


def _is_projected_and(concerns: Callable[[Case], bool], case: Case) -> bool:
    return has_projection(case) and concerns(case)


def _read_by_columns(weight: Tensor) -> Tensor:
    return weight.reshape(weight.shape[::-1]).t()


REMEDY = "compute h = W_hr (o * tanh(c)) with the weights of each layer and direction"
FIRST = ("projection.results", "recurrence.output")
CHANGES: tuple[tuple[str, str, Callable[[Tensor], Tensor]], ...] = (
    ("projected.through-tanh", "tanh is applied to the projected state", torch.tanh),
    ("projected.through-relu", "relu is applied to the projected state", torch.relu),
    ("projected.through-sigmoid", "the sigmoid is applied to the projected state", torch.sigmoid),
    ("projected.negated", "the projected state has the opposite sign", torch.neg),
)
WEIGHTS: tuple[tuple[str, str, Callable[[Tensor], Tensor]], ...] = (
    (
        "projected.first-units",
        "the hidden state is cut to its first proj_size units, without weight_hr",
        lambda weight: torch.eye(*weight.shape, dtype=weight.dtype),
    ),
    (
        "projected.last-units",
        "the hidden state is cut to its last proj_size units, without weight_hr",
        lambda weight: torch.eye(*weight.shape, dtype=weight.dtype).flip(0, 1),
    ),
    ("W_hr.by-columns", "the numbers of weight_hr are read column by column", _read_by_columns),
    (
        "W_hr.rows-reversed",
        "weight_hr is used with its rows in the opposite order",
        lambda weight: weight.flip(0),
    ),
    (
        "W_hr.columns-reversed",
        "weight_hr is used with its columns in the opposite order",
        lambda weight: weight.flip(1),
    ),
)
PLACES: tuple[tuple[str, str, Callable[[Case], bool], ChoosePlace], ...] = (
    (
        "W_hr.of-forward",
        "both directions are projected with the forward weight_hr",
        is_bidirectional,
        lambda layer, direction, layers: (layer, 0),
    ),
    (
        "W_hr.directions-exchanged",
        "the directions exchange their weight_hr",
        is_bidirectional,
        lambda layer, direction, layers: (layer, 1 - direction),
    ),
    (
        "W_hr.of-first-layer",
        "every layer is projected with the first layer's weight_hr",
        is_stack,
        lambda layer, direction, layers: (0, direction),
    ),
    (
        "W_hr.of-last-layer",
        "every layer is projected with the last layer's weight_hr",
        is_stack,
        lambda layer, direction, layers: (layers - 1, direction),
    ),
)


def _list_places() -> list[Hypothesis]:
    return [
        Hypothesis(
            key,
            text,
            REMEDY,
            FIRST if concerns is is_bidirectional else (*FIRST, "stacking.composition"),
            change_values({"weight_hr": project_at(place)}),
            partial(_is_projected_and, concerns),
            "W_hr.of-another-place",
            about=About.LAYERS | About.DIRECTIONS,
        )
        for key, text, concerns, place in PLACES
    ]


HYPOTHESES: tuple[Hypothesis, ...] = (
    *(
        Hypothesis(
            key,
            text,
            REMEDY,
            FIRST,
            change_values({"projected": change}),
            has_projection,
        )
        for key, text, change in CHANGES
    ),
    *(
        Hypothesis(
            key,
            text,
            REMEDY,
            FIRST,
            change_values({"weight_hr": weigh}),
            has_projection,
        )
        for key, text, weigh in WEIGHTS
    ),
    *_list_places(),
    Hypothesis(
        "projected.before-output-gate",
        "tanh(c) is projected before the output gate multiplies it",
        REMEDY,
        FIRST,
        change_values({"projected": gate_after}),
        has_projection,
    ),
    Hypothesis(
        "output.not-projected",
        "the output of the last layer is not projected",
        "return the projected states as the output",
        ("projection.width", "shapes.output"),
        change_values({"projected": _note_whole, "output": _show_whole}),
        has_projection,
        about=About.OUTPUT,
    ),
)

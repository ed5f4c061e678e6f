"""Mistakes with the projection of an LSTM's hidden state to `proj_size` units."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from rnnspec.cases.case import Case
from rnnspec.diagnosis.mistakes.hypothesis import Hypothesis
from rnnspec.diagnosis.mistakes.reference import Reference
from rnnspec.diagnosis.mistakes.situations import is_bidirectional, is_stack

Place = Callable[[int, int, int], tuple[int, int]]
"""The layer and direction whose weights are taken, from a layer, a direction and the layers."""


@dataclass
class OtherProjection(Reference):
    """The hidden state is projected by another weight, or becomes another function of it."""

    place: Place = lambda layer, direction, layers: (layer, direction)
    weigh: Callable[[Tensor], Tensor] = lambda weight: weight
    change: Callable[[Tensor], Tensor] = lambda projected: projected

    def project_state(self, state: Tensor, layer: int, direction: int) -> Tensor:
        size = self.given.case.config.hidden_size
        weight = self.given.weight("weight_hr", *self.place(layer, direction, self.given.layers))
        projected = self.change(state[..., :size] @ self.weigh(weight).t())
        return torch.cat([projected, state[..., size:]], dim=-1)


@dataclass
class GatedAfterProjection(Reference):
    """tanh(c) is projected, and then multiplied by the first units of the output gate."""

    gate: Tensor = field(default_factory=lambda: torch.ones(()))

    def update(self, total: Tensor, state: Tensor, layer: int, direction: int) -> Tensor:
        self.gate = torch.sigmoid(total.chunk(self.given.cell.blocks, -1)[-1])
        return super().update(total, state, layer, direction)

    def project_state(self, state: Tensor, layer: int, direction: int) -> Tensor:
        size, width = self.given.case.config.hidden_size, self.given.hidden
        cell = state[..., size:]
        projected = torch.tanh(cell) @ self.given.weight("weight_hr", layer, direction).t()
        return torch.cat([self.gate[..., :width] * projected, cell], dim=-1)


@dataclass
class ShownUnprojected(Reference):
    """The output of the last layer is not projected; the states are."""

    whole: dict[int, list[Tensor]] = field(default_factory=dict)

    def project_state(self, state: Tensor, layer: int, direction: int) -> Tensor:
        if layer == self.given.layers - 1:
            size = self.given.case.config.hidden_size
            self.whole.setdefault(direction, []).append(state[..., :size])
        return super().project_state(state, layer, direction)

    def finish(self, below: Sequence[Tensor]) -> Tensor:
        halves = [
            torch.stack(steps[::-1] if direction else steps)
            for direction, steps in sorted(self.whole.items())
        ]
        return torch.cat(halves, dim=-1)


def has_projection(case: Case) -> bool:
    """Return whether the hidden state is projected."""
    return case.config.proj_size > 0


def _is_projected_and(concerns: Callable[[Case], bool], case: Case) -> bool:
    return has_projection(case) and concerns(case)


def _read_by_columns(weight: Tensor) -> Tensor:
    return weight.reshape(weight.shape[::-1]).t()


REMEDY = "compute h = W_hr (o * tanh(c)) with the weights of each layer and direction"
FIRST = ("projection.results", "recurrence.output")
CHANGES: tuple[tuple[str, Callable[[Tensor], Tensor]], ...] = (
    ("tanh is applied to the projected state", torch.tanh),
    ("relu is applied to the projected state", torch.relu),
    ("the sigmoid is applied to the projected state", torch.sigmoid),
    ("the projected state has the opposite sign", torch.neg),
)
WEIGHTS: tuple[tuple[str, Callable[[Tensor], Tensor]], ...] = (
    (
        "the hidden state is cut to its first proj_size units, without weight_hr",
        lambda weight: torch.eye(*weight.shape, dtype=weight.dtype),
    ),
    (
        "the hidden state is cut to its last proj_size units, without weight_hr",
        lambda weight: torch.eye(*weight.shape, dtype=weight.dtype).flip(0, 1),
    ),
    ("the numbers of weight_hr are read column by column", _read_by_columns),
    ("weight_hr is used with its rows in the opposite order", lambda weight: weight.flip(0)),
    ("weight_hr is used with its columns in the opposite order", lambda weight: weight.flip(1)),
)
PLACES: tuple[tuple[str, Callable[[Case], bool], Place], ...] = (
    (
        "both directions are projected with the forward weight_hr",
        is_bidirectional,
        lambda layer, direction, layers: (layer, 0),
    ),
    (
        "the directions exchange their weight_hr",
        is_bidirectional,
        lambda layer, direction, layers: (layer, 1 - direction),
    ),
    (
        "every layer is projected with the first layer's weight_hr",
        is_stack,
        lambda layer, direction, layers: (0, direction),
    ),
    (
        "every layer is projected with the last layer's weight_hr",
        is_stack,
        lambda layer, direction, layers: (layers - 1, direction),
    ),
)


def _list_places() -> list[Hypothesis]:
    return [
        Hypothesis(
            text,
            REMEDY,
            FIRST if concerns is is_bidirectional else (*FIRST, "stacking.composition"),
            partial(OtherProjection, place=place),
            partial(_is_projected_and, concerns),
            "weight_hr of another place",
        )
        for text, concerns, place in PLACES
    ]


HYPOTHESES: tuple[Hypothesis, ...] = (
    *(
        Hypothesis(
            text,
            REMEDY,
            FIRST,
            partial(OtherProjection, change=change),
            has_projection,
        )
        for text, change in CHANGES
    ),
    *(
        Hypothesis(
            text,
            REMEDY,
            FIRST,
            partial(OtherProjection, weigh=weigh),
            has_projection,
        )
        for text, weigh in WEIGHTS
    ),
    *_list_places(),
    Hypothesis(
        "tanh(c) is projected before the output gate multiplies it",
        REMEDY,
        FIRST,
        GatedAfterProjection,
        has_projection,
    ),
    Hypothesis(
        "the output of the last layer is not projected",
        "return the projected states as the output",
        ("projection.width", "shapes.output"),
        ShownUnprojected,
        has_projection,
    ),
)

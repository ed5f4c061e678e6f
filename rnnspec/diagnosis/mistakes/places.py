"""Where a mistake is made: in which layers and directions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from rnnspec.cases.case import Case
from rnnspec.diagnosis.mistakes.given import Given
from rnnspec.diagnosis.mistakes.hypothesis import (
    Condition,
    Hypothesis,
    KindCondition,
    always,
    every,
    never,
)
from rnnspec.diagnosis.mistakes.reference import Reference
from rnnspec.diagnosis.mistakes.values import Changes, Functions

Cells = frozenset[tuple[int, int]]


@dataclass(frozen=True)
class Place:
    """Some layers and directions; `text` is added to the description of a mistake."""

    text: str
    covers: Callable[[int, int, int], bool]

    def find_cells(self, case: Case) -> Cells:
        """Return the layers and directions of a case in which the mistake is made."""
        layers, directions = case.config.num_layers, case.config.num_directions
        return frozenset(
            (layer, direction)
            for layer in range(layers)
            for direction in range(directions)
            if self.covers(layer, direction, layers)
        )


EVERYWHERE = Place("", lambda layer, direction, layers: True)
FIRST_LAYER = Place(" in the first layer", lambda layer, direction, layers: layer == 0)
UPPER_LAYERS = Place(" in the layers above the first", lambda layer, direction, layers: layer > 0)
LAST_LAYER = Place(" in the last layer", lambda layer, direction, layers: layer == layers - 1)
FORWARD = Place(" in the forward direction", lambda layer, direction, layers: direction == 0)
BACKWARD = Place(" in the backward direction", lambda layer, direction, layers: direction == 1)
UPPER_BACKWARD = Place(
    " in the backward direction of the layers above the first",
    lambda layer, direction, layers: direction == 1 and layer > 0,
)
PLACES = (
    EVERYWHERE,
    FIRST_LAYER,
    UPPER_LAYERS,
    LAST_LAYER,
    FORWARD,
    BACKWARD,
    UPPER_BACKWARD,
)
WITHOUT_BACKWARD = tuple(each for each in PLACES if each not in (BACKWARD, UPPER_BACKWARD))
RANKS = {EVERYWHERE: 0, FIRST_LAYER: 1, UPPER_LAYERS: 1, FORWARD: 1, BACKWARD: 1, LAST_LAYER: 2}


@dataclass
class Local(Reference):
    """The reference with a mistake that is made in some layers and directions only."""

    place: Place = EVERYWHERE

    def is_wrong(self, layer: int, direction: int) -> bool:
        """Return whether the mistake is made in a layer and direction."""
        return self.place.covers(layer, direction, self.given.layers)


@dataclass
class Located(Local):
    """The same, which knows the layer, the direction and the number of steps that it computes."""

    cell: tuple[int, int] = (0, 0)
    steps: int = 0

    def run_direction(
        self, data: Tensor, first: Tensor, layer: int, direction: int
    ) -> tuple[Tensor, Tensor]:
        """Return the output and the final state of one layer and direction."""
        self.cell, self.steps = (layer, direction), len(data)
        return super().run_direction(data, first, layer, direction)


def list_by_place(
    text: str,
    remedy: str,
    rules: tuple[str, ...],
    kind: Callable[..., Reference] | Functions,
    where: Condition = always,
    places: Sequence[Place] = PLACES,
    unclear: Condition = never,
    family: str = "",
    rank: int = 0,
    of: KindCondition = every,
    **options: Any,
) -> list[Hypothesis]:
    """Return the hypotheses that a mistake is made everywhere, or in one place only.

    `kind` is the mistake: functions that change named values or, with `options`, a class.
    """
    name = text if isinstance(kind, Mapping) else kind.__qualname__
    own = f"{name} {sorted(options.items(), key=str)}"
    return [
        Hypothesis(
            text + place.text,
            remedy,
            rules,
            _build_at(kind, place, options),
            _combine(where, place),
            family or own,
            rank + RANKS.get(place, 2),
            unclear,
            effect=_key_by_cells(own, place),
            of=of,
        )
        for place in places
    ]


def _build_at(
    kind: Callable[..., Reference] | Functions, place: Place, options: dict[str, Any]
) -> Callable[[Given], Reference]:
    if isinstance(kind, Mapping):
        return partial(Reference, changes=Changes.declare(kind).limit(place.covers))
    return lambda given: kind(given, place=place, **options)


def _combine(where: Condition, place: Place) -> Condition:
    return lambda case: where(case) and bool(place.find_cells(case))


def _key_by_cells(family: str, place: Place) -> Callable[[Case], tuple[str, Cells]]:
    return lambda case: (family, place.find_cells(case))

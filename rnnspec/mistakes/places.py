"""Where a mistake is made: in which layers and directions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rnnspec.cases.case import Case
from rnnspec.mistakes.hypothesis import (
    Condition,
    Hypothesis,
    KindCondition,
    always,
    every,
    never,
)
from rnnspec.reference.values import Changes, Functions, Spot

Cells = frozenset[tuple[int, int]]


@dataclass(frozen=True)
class Place:
    """Some layers and directions; `text` is added to the description of a mistake."""

    text: str
    covers: Callable[[int, int, int], bool]

    def holds(self, spot: Spot) -> bool:
        """Return whether the mistake is made at a spot."""
        return self.covers(spot.layer, spot.direction, spot.given.layers)

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


Made = Functions | Changes | Callable[[Place], Functions]
"""What is done wrong: functions that change values, or a function of a place that returns these."""


def list_by_place(
    text: str,
    remedy: str,
    rules: tuple[str, ...],
    made: Made,
    where: Condition = always,
    places: Sequence[Place] = PLACES,
    unclear: Condition = never,
    family: str = "",
    rank: int = 0,
    of: KindCondition = every,
) -> list[Hypothesis]:
    """Return the hypotheses that a mistake is made everywhere, or in one place only."""
    return [
        Hypothesis(
            text + place.text,
            remedy,
            rules,
            _limit_to(made, place),
            _combine(where, place),
            family or text,
            rank + RANKS.get(place, 2),
            unclear,
            effect=_key_by_cells(text, place),
            is_local=place is not EVERYWHERE,
            of=of,
        )
        for place in places
    ]


def _limit_to(made: Made, place: Place) -> Changes:
    if callable(made):
        return Changes.declare(made(place))
    changes = made if isinstance(made, Changes) else Changes.declare(made)
    return changes.limit(place.holds)


def _combine(where: Condition, place: Place) -> Condition:
    return lambda case: where(case) and bool(place.find_cells(case))


def _key_by_cells(family: str, place: Place) -> Callable[[Case], tuple[str, Cells]]:
    return lambda case: (family, place.find_cells(case))

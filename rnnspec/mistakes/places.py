"""The layers and directions where a mistake is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rnnspec.cases.case import Case
from rnnspec.cases.reach import CaseTest
from rnnspec.mistakes.hypothesis import About, Hypothesis, KindCondition, always, every, never
from rnnspec.reference.values import Changes, Functions, Spot

Places = frozenset[tuple[int, int]]


@dataclass(frozen=True)
class LayerPlaces:
    """Some layers and directions, with suffixes for the `key` and `text` of a mistake."""

    key: str
    text: str
    covers: Callable[[int, int, int], bool]
    about: About

    def holds(self, spot: Spot) -> bool:
        """Return whether the mistake is made at a spot."""
        return self.covers(spot.layer, spot.direction, spot.given.layers)

    def find_cells(self, case: Case) -> Places:
        """Return the layers and directions of a case where the mistake is made."""
        layers, directions = case.config.num_layers, case.config.num_directions
        return frozenset(
            (layer, direction)
            for layer in range(layers)
            for direction in range(directions)
            if self.covers(layer, direction, layers)
        )


EVERYWHERE = LayerPlaces("", "", lambda layer, direction, layers: True, About.ONE_STEP)
FIRST_LAYER = LayerPlaces(
    "first-layer", " in the first layer", lambda layer, direction, layers: layer == 0, About.LAYERS
)
UPPER_LAYERS = LayerPlaces(
    "upper-layers",
    " in the layers above the first",
    lambda layer, direction, layers: layer > 0,
    About.LAYERS,
)
LAST_LAYER = LayerPlaces(
    "last-layer",
    " in the last layer",
    lambda layer, direction, layers: layer == layers - 1,
    About.LAYERS,
)
FORWARD = LayerPlaces(
    "forward",
    " in the forward direction",
    lambda layer, direction, layers: direction == 0,
    About.DIRECTIONS,
)
BACKWARD = LayerPlaces(
    "backward",
    " in the backward direction",
    lambda layer, direction, layers: direction == 1,
    About.DIRECTIONS,
)
UPPER_BACKWARD = LayerPlaces(
    "upper-backward",
    " in the backward direction of the layers above the first",
    lambda layer, direction, layers: direction == 1 and layer > 0,
    About.LAYERS | About.DIRECTIONS,
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
# Mistakes of more layers and directions come first, because they explain less by chance.
RANKS = {EVERYWHERE: 0, FIRST_LAYER: 1, UPPER_LAYERS: 1, FORWARD: 1, BACKWARD: 1, LAST_LAYER: 2}


Made = Functions | Changes | Callable[[LayerPlaces], Functions]
"""The changes of a mistake: functions that change values, or a function of a place that returns
them."""


def list_by_place(
    key: str,
    text: str,
    remedy: str,
    rules: tuple[str, ...],
    made: Made,
    where: CaseTest = always,
    places: Sequence[LayerPlaces] = PLACES,
    unclear: CaseTest = never,
    family: str = "",
    rank: int = 0,
    of: KindCondition = every,
    about: About = About.ONE_STEP,
    likewise: tuple[str, ...] = (),
) -> list[Hypothesis]:
    """Return the hypotheses that a mistake is made everywhere, or in a single place.

    Use it in your module for each row. The arguments are the fields of `Hypothesis`, except that
    you give `changes` as functions by the names of values (`made`).
    """
    if not callable(made) and not isinstance(made, Changes):
        made = Changes.declare(made)
    return [
        Hypothesis(
            f"{key}@{place.key}" if place.key else key,
            text + place.text,
            remedy,
            rules,
            _limit_to(made, place),
            _combine(where, place),
            family or key,
            rank + RANKS.get(place, 2),
            unclear,
            effect=_key_by_cells(key, place),
            is_local=place is not EVERYWHERE,
            of=of,
            about=about | place.about,
            likewise=likewise,
        )
        for place in places
    ]


def _limit_to(made: Changes | Callable[[LayerPlaces], Functions], place: LayerPlaces) -> Changes:
    return made.limit(place.holds) if isinstance(made, Changes) else Changes.declare(made(place))


def _combine(where: CaseTest, place: LayerPlaces) -> CaseTest:
    return lambda case: where(case) and bool(place.find_cells(case))


def _key_by_cells(key: str, place: LayerPlaces) -> Callable[[Case], tuple[str, Places]]:
    return lambda case: (key, place.find_cells(case))

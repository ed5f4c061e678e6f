"""Find templates for the names of parameters in deeper layers and in the other direction."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

ListNames = Callable[[int, int], list[str]]
"""A function that lists the parameters of a layer, given the numbers of layers and directions."""
SUFFIX = "_reverse"
NO_PATTERN = "no pattern was found in the names of its parameters"
NAME = re.compile(r"(weight|bias)_[ih]h(_l\d+)?")


@dataclass(frozen=True)
class NamePart:
    """A part of a name that depends on the layer or the direction."""

    start: int
    end: int
    word: str

    def fill(self, name: str, index: int) -> str:
        """Return the name for the layer or direction with this index."""
        text = {"suffix": SUFFIX * index, "number": str(index + 1)}.get(self.word, str(index))
        return name[: self.start] + text + name[self.end :]


@dataclass(frozen=True)
class Naming:
    """The names of the parameters of deep and bidirectional layers.

    weights  the expressions by template
    lacks    the features for which no pattern of names was found, with reasons
    """

    weights: Mapping[str, str]
    lacks: Mapping[str, str] = field(default_factory=dict)


def find_templates(
    base: Mapping[str, str], list_names: ListNames, *, is_deep: bool, is_two_way: bool
) -> Naming:
    """Return templates for the parameters of a single layer, given their expressions in `base`.

    `is_deep` and `is_two_way` are whether the layer supports more layers and two directions. If
    such a layer cannot be built, its names are unknown, and nothing is recorded as lacking.
    """
    # A layer that cannot be built with two layers may work with three.
    deeper = set(list_names(2, 1) or list_names(3, 1)) if is_deep else set()
    two_way = list_names(1, 2) if is_two_way else []
    lacks: dict[str, str] = {}
    if deeper and not all(any(_find_layers(name, deeper)) for name in base):
        lacks["num_layers"] = NO_PATTERN
        deeper = set()
    others = _pair_directions(list(base), two_way) if two_way else {}
    if two_way and not others:
        lacks["bidirectional"] = NO_PATTERN
    found: dict[str, str] = {}
    for name, text in base.items():
        found |= _write_templates(name, text, deeper, others)
    return Naming(found, lacks)


def _write_templates(
    name: str, text: str, deeper: set[str], others: Mapping[str, str]
) -> dict[str, str]:
    """Return the templates for a parameter of the forward direction, and their expressions."""
    layers = list(_find_layers(name, deeper))
    other = others.get(name)
    places = list(_find_directions(name, other)) if other else []
    if not other or places:
        return {_join(name, layers, places): text}
    reverse = list(_find_layers(other, deeper, other))
    return {
        _join(name, layers, []): text,
        _join(other, reverse, []): NAME.sub(lambda match: match[0] + SUFFIX, text),
    }


def _find_layers(name: str, known: set[str], base: str = "") -> Iterator[NamePart]:
    """Yield the places in a name where the number of the layer may stand.

    `base` is given for a name of the backward direction, for which no deeper layer is known.
    """
    for match in re.finditer(r"\d+", name):
        for word, first in (("layer", 0), ("number", 1)):
            place = NamePart(match.start(), match.end(), word)
            is_known = bool(base) or place.fill(name, 1) in known
            if int(match[0]) == first and is_known and known:
                yield place


def _find_directions(name: str, other: str) -> Iterator[NamePart]:
    """Yield the places where a name differs from the name for the other direction."""
    for match in re.finditer(r"\d+", name):
        place = NamePart(match.start(), match.end(), "direction")
        if place.fill(name, 0) == name and place.fill(name, 1) == other:
            yield place
    for end in [match.start() for match in re.finditer(r"\.|$", name)]:
        place = NamePart(end, end, "suffix")
        if place.fill(name, 1) == other:
            yield place


def _pair_directions(base: Sequence[str], two_way: Sequence[str]) -> dict[str, str]:
    """Return the backward counterpart of each forward parameter, or nothing if there is none."""
    new = [name for name in two_way if name not in base]
    if len(new) != len(base) or not set(base) <= set(two_way):
        return {}
    found = {}
    for name in base:
        patterns = [other for other in new if any(_find_directions(name, other))]
        if len(patterns) == 1:
            found[name] = patterns[0]
    if len(set(found.values())) == len(base):
        return found
    # The names show no unique pairs, so rely on both directions listing parameters in one order.
    return dict(zip(base, new, strict=True))


def _join(name: str, layers: Sequence[NamePart], directions: Sequence[NamePart]) -> str:
    """Return a name with placeholders for the layer and the direction.

    If both have the same place, it counts rows: layer * D + direction.
    """
    layer = layers[0] if layers else None
    apart = [each for each in directions if layer is None or each.start != layer.start]
    direction = apart[0] if apart else None
    if directions and not apart and layer is not None:
        layer = NamePart(layer.start, layer.end, "row")
    chosen = sorted(
        [each for each in (layer, direction) if each is not None], key=lambda each: -each.start
    )
    for place in chosen:
        name = name[: place.start] + f"{{{place.word}}}" + name[place.end :]
    return name

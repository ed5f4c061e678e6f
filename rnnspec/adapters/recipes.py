"""The parameters of an implementation by name, each with the expression that makes it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from rnnspec.adapters.expressions import NAME, Expression
from rnnspec.contract.config import Config
from rnnspec.contract.shapes import SUFFIXES, parameter_shapes
from rnnspec.errors import AdapterError, suggest_similar

WeightRecipe = tuple[Callable[[str], str], Expression]
"""How to make a parameter: a function that completes names, and an expression with names."""
PLACE = re.compile(r"\{(\w*)\}")
PLACES = ("layer", "number", "direction", "suffix", "row", "by_direction")
ROWS = {"row", "by_direction"}
"""Placeholders that count layers and directions together."""


def make_recipes(weights: Mapping[str, Expression], config: Config) -> dict[str, WeightRecipe]:
    """Return the recipe for each parameter of an implementation, for a configuration.

    `weights` contains the expressions by name or template.
    """
    found: dict[str, WeightRecipe] = {}
    known = parameter_shapes(config)
    for template, expression in weights.items():
        for layer, direction in _list_places(template, config):
            look_up = _make_look_up(layer, direction)
            if all(look_up(name) in known for name in expression.names):
                name = template.format(
                    layer=layer,
                    number=layer + 1,
                    direction=direction,
                    suffix=SUFFIXES[direction],
                    row=layer * config.num_directions + direction,
                    by_direction=direction * config.num_layers + layer,
                )
                found[name] = (look_up, expression)
    return found


def _list_places(template: str, config: Config) -> Iterator[tuple[int, int]]:
    """Yield the layers and directions of a configuration that a template covers."""
    names = set(PLACE.findall(template))
    has_layer = bool(names & {"layer", "number", *ROWS})
    has_direction = bool(names & {"direction", "suffix", *ROWS})
    for layer in range(config.num_layers if has_layer else 1):
        for direction in range(config.num_directions if has_direction else 1):
            yield layer, direction


def _make_look_up(layer: int, direction: int) -> Callable[[str], str]:
    """Return the function that completes a name for a layer and a direction."""

    def look_up(name: str) -> str:
        found = NAME.fullmatch(name)
        assert found is not None
        if found["layer"] is not None:
            return name
        return f"{found['role']}_l{layer}{found['suffix'] or SUFFIXES[direction]}"

    return look_up


def check_template(name: str) -> str:
    """Return a name or template. Raises AdapterError for an unknown placeholder."""
    for place in PLACE.findall(name):
        if place not in PLACES:
            near = suggest_similar(place, PLACES)
            listed = ", ".join(f"{{{each}}}" for each in PLACES)
            raise AdapterError(f"{name!r}: there is no {{{place}}}.{near} There are {listed}.")
    return name

"""Infer the least number of layers and directions of a layer from the shapes of its parameters."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from rnnspec.contract.kinds import Kind
from rnnspec.inference.trial import HIDDEN_SIZE, INPUT_SIZE

ShapeList = Sequence[tuple[int, ...]]
MOST_LAYERS = 4
"""The largest fixed number of layers that the search considers."""


@dataclass(frozen=True)
class Extent:
    """The layers and directions that a layer has whatever its arguments are."""

    layers: int = 1
    directions: int = 1

    @property
    def arguments(self) -> dict[str, Any]:
        """The documented arguments for this number of layers and directions."""
        return {"num_layers": self.layers, "bidirectional": self.directions > 1}


SMALLEST = Extent()


def list_extents(arguments: Collection[str]) -> list[Extent]:
    """Return the possible extents of a layer, given the arguments of its constructor."""
    layers = (1,) if "num_layers" in arguments else range(1, MOST_LAYERS + 1)
    directions = (1,) if "bidirectional" in arguments else (1, 2)
    return [Extent(several, ways) for several in layers for ways in directions]


def list_explaining(
    shapes: ShapeList, kinds: Sequence[Kind], extents: Sequence[Extent]
) -> list[tuple[Kind, Extent]]:
    """Return the kinds and extents whose parameters may have these shapes."""
    tried = [(kind, extent) for kind in kinds for extent in extents]
    return [each for each in tried if _explains(shapes, *each)]


def list_smaller(shapes: ShapeList, kinds: Sequence[Kind]) -> list[tuple[Kind, Extent]]:
    """Return the kinds that have no more parameters with a single layer and direction."""
    total = count_numbers(shapes)
    return [(kind, SMALLEST) for kind in kinds if _count_weights(kind, SMALLEST) <= total]


def count_numbers(shapes: ShapeList) -> int:
    """Return the number of elements in parameters of these shapes."""
    return sum(map(math.prod, shapes))


def _explains(shapes: ShapeList, kind: Kind, extent: Extent) -> bool:
    """Return whether a layer may have parameters of these shapes, with two biases or fewer.

    Compares the number of elements, and the number of rows that read the input.
    """
    units = extent.directions * len(kind.gates) * HIDDEN_SIZE
    reading = sum(
        math.prod(shape) // width
        for shape in shapes
        for width in (INPUT_SIZE, INPUT_SIZE + HIDDEN_SIZE)
        if width in shape[-2:]
    )
    # A bias (gates, H) of a kind with INPUT_SIZE gates looks like a weight that reads the input.
    are_biases_alike = len(kind.gates) == INPUT_SIZE
    is_read = reading >= units if are_biases_alike else reading == units
    least = _count_weights(kind, extent)
    return is_read and least <= count_numbers(shapes) <= least + 2 * extent.layers * units


def _count_weights(kind: Kind, extent: Extent) -> int:
    """Return the number of elements in the weights, without biases."""
    widths = [INPUT_SIZE, *[extent.directions * HIDDEN_SIZE] * (extent.layers - 1)]
    units = extent.directions * len(kind.gates) * HIDDEN_SIZE
    return sum(units * (width + HIDDEN_SIZE) for width in widths)

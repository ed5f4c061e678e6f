"""How many layers and directions a layer has at least, by the shapes of its parameters."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from rnnspec.contract.kinds import Kind
from rnnspec.inference.trial import HIDDEN_SIZE, INPUT_SIZE

Shapes = Sequence[tuple[int, ...]]
MOST_LAYERS = 4
"""Of how many layers that are always there the search thinks."""


@dataclass(frozen=True)
class Extent:
    """The layers and directions that a layer has whatever its arguments are."""

    layers: int = 1
    directions: int = 1

    @property
    def arguments(self) -> dict[str, Any]:
        """The documented arguments that say so."""
        return {"num_layers": self.layers, "bidirectional": self.directions > 1}


SMALLEST = Extent()


def list_extents(arguments: Collection[str]) -> list[Extent]:
    """Return what a layer may have at least, given the arguments that its constructor takes."""
    layers = (1,) if "num_layers" in arguments else range(1, MOST_LAYERS + 1)
    directions = (1,) if "bidirectional" in arguments else (1, 2)
    return [Extent(several, ways) for several in layers for ways in directions]


def list_explaining(
    shapes: Shapes, kinds: Sequence[Kind], extents: Sequence[Extent]
) -> list[tuple[Kind, Extent]]:
    """Return the layers that have parameters of these shapes."""
    tried = [(kind, extent) for kind in kinds for extent in extents]
    return [each for each in tried if _explains(shapes, *each)]


def list_smaller(shapes: Shapes, kinds: Sequence[Kind]) -> list[tuple[Kind, Extent]]:
    """Return the layers of one layer and direction that have no more parameters."""
    total = count_numbers(shapes)
    return [(kind, SMALLEST) for kind in kinds if _count_weights(kind, SMALLEST) <= total]


def count_numbers(shapes: Shapes) -> int:
    """Return how many numbers parameters of these shapes have."""
    return sum(map(math.prod, shapes))


def _explains(shapes: Shapes, kind: Kind, extent: Extent) -> bool:
    """Return whether a layer may have parameters of these shapes, with two biases or fewer.

    That is about their number, and about how many of them read the input.
    """
    units = extent.directions * len(kind.gates) * HIDDEN_SIZE
    reading = sum(
        math.prod(shape) // width
        for shape in shapes
        for width in (INPUT_SIZE, INPUT_SIZE + HIDDEN_SIZE)
        if width in shape[-2:]
    )
    are_biases_alike = len(kind.gates) == INPUT_SIZE  # if those of all gates are stacked
    is_read = reading >= units if are_biases_alike else reading == units
    least = _count_weights(kind, extent)
    return is_read and least <= count_numbers(shapes) <= least + 2 * extent.layers * units


def _count_weights(kind: Kind, extent: Extent) -> int:
    """Return how many numbers the weights have, without biases."""
    widths = [INPUT_SIZE, *[extent.directions * HIDDEN_SIZE] * (extent.layers - 1)]
    units = extent.directions * len(kind.gates) * HIDDEN_SIZE
    return sum(units * (width + HIDDEN_SIZE) for width in widths)

"""Numbers that saturate tanh and settle the sigmoid, so that no result is rounded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rnnspec.cases.gates import has_gate_rows, hold_gates
from rnnspec.contract.config import Config
from rnnspec.contract.shapes import parameter_shapes

Array = NDArray[np.float64]
Generator = np.random.Generator
Shape = tuple[int, ...]

SATURATING = 64.0
SETTLING = 2048.0
"""A sum of this size settles a sigmoid, and so does half of it, which a halved unit gives."""


def draw_ternary(rng: Generator, shape: Shape) -> Array:
    """Draw weights that saturate tanh: 64 times -1, 0 or 1."""
    return SATURATING * rng.integers(-1, 1, shape, endpoint=True).astype(np.float64)


def draw_settled(rng: Generator, config: Config) -> dict[str, Array]:
    """Draw ternary weights for a layer with a memory, which its gate keeps.

    Every other gate is 0, 1/2 or 1, whatever it reads, because a sum other than zero settles its
    sigmoid.
    """
    kind, size = config.kind_data, config.hidden_size
    weights = {
        name: rng.integers(-1, 1, shape, endpoint=True).astype(np.float64)
        for name, shape in parameter_shapes(config).items()
    }
    one = {name: array[:size] for name, array in weights.items() if has_gate_rows(name)}
    held = hold_gates(config, one)
    for place, (gate, sign) in enumerate(zip(kind.gates, kind.held, strict=True)):
        rows = slice(place * size, (place + 1) * size)
        for name in held:
            array = weights[name]
            array[rows] *= SATURATING if sign is None else SETTLING
            if gate == kind.memory_gate:
                array[rows] = np.abs(held[name][rows]) * (1 if "ih" in name else -1)
    return weights


def draw_memory(rng: Generator, shape: Shape) -> Array:
    """Draw an initial cell state that stays saturated, whatever a few steps add to it."""
    return SATURATING * rng.choice((-1.0, 1.0), shape)

"""What a layer would compute that reads its arguments in another order: asked only where a result is wrong already."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rnnspec.judging.relations import explains, matches
from rnnspec.judging.violation import distance
from rnnspec.observe.expected import Expected
from rnnspec.observe.observation import Observation

Indices = NDArray[np.int64]
BATCH_MAJOR = "as if the first axis were the batch"


def wrong_axes(seen: Observation) -> str | None:
    """In words, how the layer takes time for batch; None where that does not explain its output."""
    case = seen.case.altered(steps=seen.case.batch, batch=seen.case.steps)
    states = (case.config.num_layers * case.config.num_directions, case.batch, case.config.hidden_size)
    h_0 = seen.values.h_0 if seen.values.h_0.shape == states else np.zeros(states)
    other = Expected(case, replace(seen.values, input=seen.values.input.swapaxes(0, 1), h_0=h_0))
    if explains(seen, other, lambda array: array.swapaxes(0, 1)):
        return BATCH_MAJOR
    return f"{BATCH_MAJOR}, and that of the output were not" if explains(seen, other) else None


LAYERS = "layers"
DIRECTIONS = "directions"


def wrong_rows(seen: Observation, between: str = "") -> str | None:
    """In words, which rows of the initial state are taken for which; None where no such mix-up explains output and h_n.

    `between` limits the search to rows of other layers or of other directions.
    """
    own = list(range(len(seen.values.h_0)))
    for text, (kind, rows) in _readings(seen).items():
        if rows != own and between in ("", kind) and _reads(seen, rows):
            return text
    return None


def _readings(seen: Observation) -> dict[str, tuple[str, list[int]]]:
    layers, directions = seen.case.config.num_layers, seen.case.config.num_directions
    places = [(layer, direction) for layer in range(layers) for direction in range(directions)]
    found = {
        "every layer starts from the first layer's state": (LAYERS, [d for _, d in places]),
        "the state is counted from the last layer down": (LAYERS, [(layers - 1 - k) * directions + d for k, d in places]),
        "the state is read as all forward rows, then all backward ones": (LAYERS, [d * layers + k for k, d in places]),
        "layers above the second start from the second's state": (LAYERS, [min(k, 1) * directions + d for k, d in places]),
        "each direction starts from the other's state": (DIRECTIONS, [k * directions + directions - 1 - d for k, d in places]),
        "both directions start from the forward state": (DIRECTIONS, [k * directions for k, _ in places]),
        "both directions start from the backward state": (DIRECTIONS, [k * directions + directions - 1 for k, _ in places]),
    }
    return {f"as if {text}": reading for text, reading in found.items()}


def _reads(seen: Observation, rows: list[int]) -> bool:
    return _is(seen, Expected(seen.case, replace(seen.values, h_0=seen.values.h_0[rows])))


def wrong_nonlinearity(seen: Observation) -> str | None:
    """In words, which other nonlinearity explains output and h_n; None where it does not."""
    other = {"tanh": "relu", "relu": "tanh"}[seen.case.config.nonlinearity]
    return f"as if it were {other}" if _is(seen, Expected(seen.case.altered(nonlinearity=other), seen.values)) else None


def _is(seen: Observation, other: Expected) -> bool:
    return explains(seen, other) and _states_in(seen, other)


def wrong_order(seen: Observation) -> bool:
    """Whether the rows of h_n are all right but in another order."""
    pairs = list(zip(seen.expected.h_n, seen.expected.bound.h_n, strict=True))
    fits = np.array([[bool((distance(row, right) <= allowed).all()) for right, allowed in pairs] for row in seen.h_n])
    return bool(fits.any(axis=0).all() and fits.any(axis=1).all())


def wrong_samples(seen: Observation) -> str | None:
    """In words, in which order the states of an unsorted packed batch are taken; None where no other order explains the results."""
    orders = _orders(seen)
    for read, before in orders.items():
        other = Expected(seen.case, replace(seen.values, h_0=seen.values.h_0[:, before]))
        written = next((text for text, after in orders.items() if _states_in(seen, other, after)), None)
        if written is not None and explains(seen, other):
            return f"as if h_0 were {read} and h_n {written}"
    return None


def _orders(seen: Observation) -> dict[str, Indices]:
    """Orders in which a layer may take the samples of a packed batch for sorted, in words; the caller's is the right one."""
    sort = np.argsort([-length for length in seen.case.lengths], kind="stable")
    back = np.argsort(sort)
    return {
        "in the caller's order": np.arange(len(sort)),
        "sorted": sort,
        "sorted the other way round": back,
        "sorted twice": sort[sort],
        "sorted twice the other way round": back[back],
    }


def _states_in(seen: Observation, other: Expected, order: Indices | slice = slice(None)) -> bool:
    return matches(seen, seen.h_n, other.h_n[:, order], other.bound.h_n[:, order])

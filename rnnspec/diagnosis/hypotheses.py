"""What a layer would compute that reads its arguments in another order: asked only where a result is wrong already."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rnnspec.observe.expected import Expected
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.assertions.relations import is_explained_by, is_within_bound
from rnnspec.rulekit.violation import measure_distance

Indices = NDArray[np.int64]
BATCH_MAJOR = "as if the first axis were the batch"


def find_exchanged_axes(observation: Observation) -> str | None:
    """In words, how the layer takes time for batch; None where that does not explain its output."""
    case = observation.case.replace(steps=observation.case.batch, batch=observation.case.steps)
    states = (
        case.config.num_layers * case.config.num_directions,
        case.batch,
        case.config.hidden_size,
    )
    h_0 = observation.values.h_0 if observation.values.h_0.shape == states else np.zeros(states)
    other = Expected(
        case, replace(observation.values, input=observation.values.input.swapaxes(0, 1), h_0=h_0)
    )
    if is_explained_by(observation, other, lambda array: array.swapaxes(0, 1)):
        return BATCH_MAJOR
    return (
        f"{BATCH_MAJOR}, and that of the output were not"
        if is_explained_by(observation, other)
        else None
    )


LAYERS = "layers"
DIRECTIONS = "directions"


def find_misread_rows(observation: Observation, between: str = "") -> str | None:
    """In words, which rows of the initial state are taken for which; None where no such mix-up explains output and h_n.

    `between` limits the search to rows of other layers or of other directions.
    """
    own = list(range(len(observation.values.h_0)))
    for text, (kind, rows) in _readings(observation).items():
        if rows != own and between in ("", kind) and _reads(observation, rows):
            return text
    return None


def _readings(observation: Observation) -> dict[str, tuple[str, list[int]]]:
    layers, directions = observation.case.config.num_layers, observation.case.config.num_directions
    places = [(layer, direction) for layer in range(layers) for direction in range(directions)]
    found = {
        "every layer starts from the first layer's state": (LAYERS, [d for _, d in places]),
        "the state is counted from the last layer down": (
            LAYERS,
            [(layers - 1 - k) * directions + d for k, d in places],
        ),
        "the state is read as all forward rows, then all backward ones": (
            LAYERS,
            [d * layers + k for k, d in places],
        ),
        "layers above the second start from the second's state": (
            LAYERS,
            [min(k, 1) * directions + d for k, d in places],
        ),
        "each direction starts from the other's state": (
            DIRECTIONS,
            [k * directions + directions - 1 - d for k, d in places],
        ),
        "both directions start from the forward state": (
            DIRECTIONS,
            [k * directions for k, _ in places],
        ),
        "both directions start from the backward state": (
            DIRECTIONS,
            [k * directions + directions - 1 for k, _ in places],
        ),
    }
    return {f"as if {text}": reading for text, reading in found.items()}


def _reads(observation: Observation, rows: list[int]) -> bool:
    return _is(
        observation,
        Expected(observation.case, replace(observation.values, h_0=observation.values.h_0[rows])),
    )


def find_other_nonlinearity(observation: Observation) -> str | None:
    """In words, which other nonlinearity explains output and h_n; None where it does not."""
    other = {"tanh": "relu", "relu": "tanh"}[observation.case.config.nonlinearity]
    return (
        f"as if it were {other}"
        if _is(
            observation, Expected(observation.case.replace(nonlinearity=other), observation.values)
        )
        else None
    )


def _is(observation: Observation, other: Expected) -> bool:
    return is_explained_by(observation, other) and _states_in(observation, other)


def is_reordered(observation: Observation) -> bool:
    """Whether the rows of h_n are all right but in another order."""
    pairs = list(zip(observation.expected.h_n, observation.expected.bound.h_n, strict=True))
    fits = np.array(
        [
            [bool((measure_distance(row, right) <= allowed).all()) for right, allowed in pairs]
            for row in observation.h_n
        ]
    )
    return bool(fits.any(axis=0).all() and fits.any(axis=1).all())


def find_sample_order(observation: Observation) -> str | None:
    """In words, in which order the states of an unsorted packed batch are taken; None where no other order explains the results."""
    orders = _orders(observation)
    for read, before in orders.items():
        other = Expected(
            observation.case, replace(observation.values, h_0=observation.values.h_0[:, before])
        )
        written = next(
            (text for text, after in orders.items() if _states_in(observation, other, after)), None
        )
        if written is not None and is_explained_by(observation, other):
            return f"as if h_0 were {read} and h_n {written}"
    return None


def _orders(observation: Observation) -> dict[str, Indices]:
    """Orders in which a layer may take the samples of a packed batch for sorted, in words; the caller's is the right one."""
    sort = np.argsort([-length for length in observation.case.lengths], kind="stable")
    back = np.argsort(sort)
    return {
        "in the caller's order": np.arange(len(sort)),
        "sorted": sort,
        "sorted the other way round": back,
        "sorted twice": sort[sort],
        "sorted twice the other way round": back[back],
    }


def _states_in(
    observation: Observation, other: Expected, order: Indices | slice = slice(None)
) -> bool:
    return is_within_bound(
        observation, observation.h_n, other.h_n[:, order], other.bound.h_n[:, order]
    )

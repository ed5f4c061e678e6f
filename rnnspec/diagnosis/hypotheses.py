"""Hypotheses about wrong results: what a layer would compute if it misread an argument.

They are tested only after a result has been found wrong. A hypothesis holds if it predicts the
observed results within the rounding bound.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from enum import Enum, auto
from itertools import product

import numpy as np
from numpy.typing import NDArray

from rnnspec.cases.states import name_initial
from rnnspec.cases.values import shape_states
from rnnspec.observe.expected import Expected
from rnnspec.observe.observation import Observation
from rnnspec.observe.tensors import measure_distance
from rnnspec.rulekit.assertions.relations import (
    has_final_states_of,
    is_explained_by,
    is_within_bound,
)

Indices = NDArray[np.int64]
CALLERS_ORDER = "in the caller's order"


def find_exchanged_axes(observation: Observation) -> str | None:
    """Return a description of how the layer takes the time axis for the batch axis.

    Return None if that does not explain its output.
    """
    case = observation.case.replace(steps=observation.case.batch, batch=observation.case.steps)
    states, values = shape_states(case), observation.values
    initial = values.initial if values.initial.shape == states else np.zeros(states)
    other = Expected(case, replace(values, input=values.input.swapaxes(0, 1), initial=initial))
    if is_explained_by(observation, other, lambda array: array.swapaxes(0, 1)):
        return "as if the first axis of input and output were the batch"
    if is_explained_by(observation, other):
        return "as if the first axis of the input, but not of the output, were the batch"
    return None


class RowAxis(Enum):
    """What differs between two rows of h_0 that a layer takes for each other."""

    LAYERS = auto()
    DIRECTIONS = auto()


def find_misread_rows(observation: Observation, along: RowAxis | None = None) -> str | None:
    """Return a description of the rows of h_0 that the layer takes for each other.

    `along` limits the search to rows of different layers, or of different directions. Return None
    if no such mistake explains output and h_n.
    """
    own = list(range(len(observation.values.initial)))
    for text, (axis, rows) in _list_row_orders(observation).items():
        if rows != own and along in (None, axis) and _starts_from_rows(observation, rows):
            return text
    return None


def _list_row_orders(observation: Observation) -> dict[str, tuple[RowAxis, list[int]]]:
    """Return, by description, the row of h_0 from which each layer and direction may start."""
    layers, directions = observation.case.config.num_layers, observation.case.config.num_directions
    places = [(layer, direction) for layer in range(layers) for direction in range(directions)]
    found = {
        "every layer started from the first layer's state": (
            RowAxis.LAYERS,
            [d for _, d in places],
        ),
        "the rows of h_0 were ordered from the last layer down": (
            RowAxis.LAYERS,
            [(layers - 1 - k) * directions + d for k, d in places],
        ),
        "h_0 had all forward rows first, then all backward rows": (
            RowAxis.LAYERS,
            [d * layers + k for k, d in places],
        ),
        "layers above the second started from the second layer's state": (
            RowAxis.LAYERS,
            [min(k, 1) * directions + d for k, d in places],
        ),
        "each direction started from the other direction's state": (
            RowAxis.DIRECTIONS,
            [k * directions + directions - 1 - d for k, d in places],
        ),
        "both directions started from the forward state": (
            RowAxis.DIRECTIONS,
            [k * directions for k, _ in places],
        ),
        "both directions started from the backward state": (
            RowAxis.DIRECTIONS,
            [k * directions + directions - 1 for k, _ in places],
        ),
    }
    return {f"as if {text}": order for text, order in found.items()}


def _starts_from_rows(observation: Observation, rows: list[int]) -> bool:
    values = replace(observation.values, initial=observation.values.initial[rows])
    return _has_results_of(observation, Expected(observation.case, values))


def find_other_nonlinearity(observation: Observation) -> str | None:
    """Return a description of the nonlinearity that the layer uses instead of the chosen one.

    Return None if the other nonlinearity does not explain output and h_n.
    """
    other = {"tanh": "relu", "relu": "tanh"}[observation.case.config.nonlinearity]
    expected = Expected(observation.case.replace(nonlinearity=other), observation.values)
    return f"as if nonlinearity={other!r}" if _has_results_of(observation, expected) else None


def _has_results_of(observation: Observation, other: Expected) -> bool:
    return is_explained_by(observation, other) and has_final_states_of(observation, other)


def has_reordered_states(observation: Observation) -> bool:
    """Return whether the rows of h_n are all right, but in another order."""
    pairs = list(zip(observation.expected.final, observation.expected.final_bound, strict=True))
    fits = np.array(
        [
            [bool((measure_distance(row, right) <= allowed).all()) for right, allowed in pairs]
            for row in observation.final
        ]
    )
    return bool(fits.any(axis=0).all() and fits.any(axis=1).all())


def find_sample_order(observation: Observation) -> str | None:
    """Return a description of the states of an unsorted packed batch that are in another order.

    Each of the states that a layer takes and returns may be. Return None if no orders explain the
    results.
    """
    orders = _list_sample_orders(observation)
    initial = name_initial(observation.case.config, observation.values.initial)
    for read in _list_choices(list(orders), list(initial)):
        reordered = [initial[name][:, orders[order]] for name, order in read.items()]
        values = replace(observation.values, initial=np.concatenate(reordered, axis=-1))
        other = Expected(observation.case, values)
        written = {
            name: _find_written_order(observation, other, name, orders)
            for name in observation.state_names
        }
        wrong = [
            f"{name} were {order}"
            for name, order in (read | written).items()
            if order != CALLERS_ORDER
        ]
        if wrong and all(written.values()) and is_explained_by(observation, other):
            return f"as if {' and '.join(wrong)}"
    return None


def _list_choices(orders: Sequence[str], names: Sequence[str]) -> Iterator[dict[str, str]]:
    """Yield an order for each state: the caller's for some of them, and one other for the rest."""
    seen = []
    for order in orders:
        for others in product((CALLERS_ORDER, order), repeat=len(names)):
            choice = dict(zip(names, others, strict=True))
            if choice not in seen:
                seen.append(choice)
                yield choice


def _find_written_order(
    observation: Observation, other: Expected, name: str, orders: dict[str, Indices]
) -> str | None:
    """Return the order of the samples in a final state, if another computation explains it."""

    def has_order(order: Indices) -> bool:
        return is_within_bound(
            observation,
            observation.states[name],
            other.results[name][:, order],
            lambda: other.bound.results[name][:, order],
        )

    return next((text for text, order in orders.items() if has_order(order)), None)


def _list_sample_orders(observation: Observation) -> dict[str, Indices]:
    """Return, by description, orders in which a layer may take the samples of a packed batch.

    The right one is the caller's order.
    """
    sort = np.argsort([-length for length in observation.case.lengths], kind="stable")
    back = np.argsort(sort)
    return {
        CALLERS_ORDER: np.arange(len(sort)),
        "sorted by length": sort,
        "reordered by the inverse of the sort": back,
        "sorted by length twice": sort[sort],
        "reordered by the inverse of the sort twice": back[back],
    }

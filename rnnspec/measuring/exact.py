"""Compute the required results of a call in a wider type of numbers, without bounds.

For float64, the oracle is no more exact than the measured layer, so the results are then computed
in long double.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnspec.cases.axes import DType
from rnnspec.oracle import Problem
from rnnspec.oracle.catalogue import cell_of
from rnnspec.oracle.layers import StateArrays
from rnnspec.oracle.stack import (
    collect_results,
    find_alive_steps,
    outputs,
    rows_of_layer,
    split,
    stack_weights,
    to_steps,
)

WideArray = NDArray[np.floating[Any]]

WIDER = 2.0**-10
"""The largest unit roundoff of the wider numbers, as a multiple of the measured dtype's."""


def choose_numbers(dtype: DType) -> type[np.floating[Any]] | None:
    """Return the type of numbers used to measure a dtype, or None if no type is wide enough."""
    kinds: tuple[type[np.floating[Any]], ...] = (np.float64, np.longdouble)
    fitting = (each for each in kinds if np.finfo(each).eps / 2 <= WIDER * dtype.roundoff)
    return next(fitting, None)


def compute_results(
    problem: Problem, numbers: type[np.floating[Any]], shown: WideArray | None = None
) -> Mapping[str, WideArray]:
    """Return the results by name, in the oracle's shapes, in this type of numbers.

    If you pass `shown`, the output of a single layer, each step starts from the hidden state in
    `shown` before the step. The sequences must have equal lengths.
    """
    cell, kind = cell_of(problem.config), problem.config.kind_data
    alive = find_alive_steps(problem)
    read: Any = problem.input.astype(numbers)
    carried: list[StateArrays] = []
    for layer in range(problem.config.num_layers):
        weights = stack_weights(problem, cell, layer)
        hh = weights.hh.astype(numbers).swapaxes(1, 2)
        ih = weights.ih.astype(numbers).swapaxes(1, 2)
        hr = None if weights.hr is None else weights.hr.astype(numbers).swapaxes(1, 2)
        sums = to_steps(read, problem.config.num_directions) @ ih[:, None]
        sums += weights.biases.astype(numbers).sum(axis=1)[:, None, None]
        first = rows_of_layer(problem, problem.initial, kind.initial, layer)
        states: list[tuple[Any, ...]] = [tuple(each.astype(numbers) for each in first)]
        own = None if shown is None else split(shown.astype(numbers), problem.config.num_directions)
        for step in range(sums.shape[1]):
            before = states[-1]
            if own is not None and step:
                before = (own[:, step - 1], *before[1:])
            after = cell.advance(sums[:, step] + before[0] @ hh, before)
            states.append(after if hr is None else (after[0] @ hr, *after[1:]))
        carried.append(tuple(np.stack(each, axis=1) for each in zip(*states, strict=True)))
        read = outputs(carried[-1][0][:, 1:], alive)
    return collect_results(problem, carried, alive)

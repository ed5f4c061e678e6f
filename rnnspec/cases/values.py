"""The numbers of a case: weights, input, initial state and cotangents.

With most distributions all numbers differ, so that a value that ends up in the wrong place is
noticed. Every array is float64, time-major and padded, and holds numbers of the dtype of the case.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.random import default_rng  # here, so that a subject that replaces it changes no case
from numpy.typing import NDArray

from rnnspec.cases.axes import DType, InitialState
from rnnspec.cases.case import Case
from rnnspec.contract.shapes import parameter_shapes

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Values:
    """The numbers of one case.

    weights   the parameters by their documented names
    input     (T, N, H_in)
    h_0       (D * num_layers, N, H_out), zero if the case has no initial state
    d_output  (T, N, D * H_out), the cotangent of output
    d_h_n     (D * num_layers, N, H_out), the cotangent of h_n
    """

    weights: dict[str, Array]
    input: Array
    h_0: Array
    d_output: Array
    d_h_n: Array


@lru_cache(maxsize=4)
def draw_values(case: Case) -> Values:
    """Return the numbers of a case. The same case always gives the same numbers.

    The arrays cannot be written to.
    """
    rng = default_rng([case.seed, sum(map(ord, case.distribution.text))])
    config, draws = case.config, case.distribution.draws
    states = (config.num_layers * config.num_directions, case.batch, config.hidden_size)
    outputs = (case.steps, case.batch, config.num_directions * config.hidden_size)
    weights = draws.weights(rng, config, case.boundary)
    values = Values(
        weights={
            name: round_to_dtype(weights[name], case.dtype) for name in parameter_shapes(config)
        },
        input=round_to_dtype(_draw_input(case, rng), case.dtype),
        h_0=round_to_dtype(_draw_state(case, rng, states), case.dtype),
        d_output=round_to_dtype(draws.cotangent(rng, outputs), case.dtype),
        d_h_n=round_to_dtype(draws.cotangent(rng, states), case.dtype),
    )
    arrays = (*values.weights.values(), values.input, values.h_0, values.d_output, values.d_h_n)
    for array in arrays:
        array.setflags(write=False)
    return values


def round_to_dtype(array: Array, dtype: DType) -> Array:
    """Return the array rounded to the nearest numbers of a dtype, as float64."""
    if dtype is DType.BFLOAT16:
        bits = np.ascontiguousarray(array, dtype=np.float32).view(np.uint32)
        odd = (bits >> np.uint32(16)) & np.uint32(1)
        rounded = (bits + np.uint32(0x7FFF) + odd) & np.uint32(0xFFFF0000)
        return np.asarray(rounded.view(np.float32), dtype=np.float64)
    return array if dtype is DType.FLOAT64 else array.astype(dtype.text).astype(np.float64)


def _draw_input(case: Case, rng: np.random.Generator) -> Array:
    """Draw the input (T, N, H_in).

    With an expanded memory layout, all samples are equal, or all time steps of a single sample.
    """
    shape = (case.steps, case.batch, case.config.input_size)
    array = case.distribution.draws.input(rng, shape)
    if case.memory_layout.repeats and case.batch == 1:
        return np.ascontiguousarray(np.broadcast_to(array[:1], array.shape))
    return _repeat_sample(case, array)


def _draw_state(case: Case, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Draw the initial state; return zeros if the case has none."""
    if case.initial_state is InitialState.ABSENT:
        return np.zeros(shape)
    return _repeat_sample(case, case.distribution.draws.state(rng, shape))


def _repeat_sample(case: Case, array: Array) -> Array:
    """Return the array with all samples equal to the first if the memory layout repeats one."""
    if not case.memory_layout.repeats:
        return array
    return np.ascontiguousarray(np.broadcast_to(array[:, :1], array.shape))

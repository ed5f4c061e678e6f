"""The numbers of a case: weights, input, initial state and cotangents.

With most distributions all numbers differ, so that a value in the wrong place is noticed. Every
array is float64, time-major and padded, and holds numbers that the dtype of the case represents
exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.random import default_rng  # here, so that a subject that replaces it changes no case

from rnnspec.cases.axes import DType, InitialState
from rnnspec.cases.axes.layout import Array
from rnnspec.cases.case import Case
from rnnspec.cases.states import get_states_size
from rnnspec.contract.shapes import parameter_shapes, state_size


@dataclass(frozen=True)
class Values:
    """The numbers of a case.

    weights   the parameters by their documented names
    input     (T, N, H_in)
    initial   (D * num_layers, N, S), the initial states side by side, zero if the case has none: S
              is H_out, and for an LSTM, whose c_0 stands behind h_0, H_out + H
    d_output  (T, N, D * H_out), the cotangent of output
    d_final   (D * num_layers, N, S), the cotangents of the final states side by side
    """

    weights: dict[str, Array]
    input: Array
    initial: Array
    d_output: Array
    d_final: Array


@lru_cache(maxsize=32)
def draw_values(case: Case) -> Values:
    """Return the numbers of a case. The same case always gives the same numbers.

    The arrays are read-only: copy an array before you change it, or pass it to `torch.tensor`. See
    `Values` for the shapes.
    """
    rng = default_rng([case.seed, sum(map(ord, case.distribution.text))])
    config, draws = case.config, case.distribution.draws
    outputs = (case.steps, case.batch, config.num_directions * config.output_size)
    weights = draws.weights(rng, config, case.encoding)
    values = Values(
        weights={
            name: round_to_dtype(weights[name], case.dtype) for name in parameter_shapes(config)
        },
        input=round_to_dtype(_draw_input(case, rng), case.dtype),
        initial=round_to_dtype(_draw_states(case, rng), case.dtype),
        d_output=round_to_dtype(draws.cotangent(rng, outputs), case.dtype),
        d_final=round_to_dtype(draws.cotangent(rng, shape_states(case)), case.dtype),
    )
    arrays = (values.input, values.initial, values.d_output, values.d_final)
    for array in (*values.weights.values(), *arrays):
        array.setflags(write=False)
    return values


@lru_cache(maxsize=32)
def draw_arguments(case: Case) -> tuple[Array, Array]:
    """Return an input and initial states for a further call, without drawing weights.

    They are read-only, and differ from the numbers that `draw_values` returns for the same case.
    """
    rng = default_rng([case.seed, sum(map(ord, case.distribution.text))])
    drawn = _draw_input(case, rng), _draw_states(case, rng)
    given, initial = (round_to_dtype(array, case.dtype) for array in drawn)
    for array in (given, initial):
        array.setflags(write=False)
    return given, initial


def shape_states(case: Case) -> tuple[int, int, int]:
    """Return the shape (D * num_layers, N, S) of all states side by side."""
    rows = case.config.num_layers * case.config.num_directions
    return rows, case.batch, get_states_size(case.config)


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

    If it is expanded, all samples are equal, or all time steps.
    """
    shape = (case.steps, case.batch, case.config.input_size)
    array = case.distribution.draws.input(rng, shape)
    if not case.is_input_expanded:
        return array
    return _repeat_slice(array[:1] if case.is_expanded_along_time else array[:, :1], array.shape)


def _draw_states(case: Case, rng: np.random.Generator) -> Array:
    """Draw the initial states; return zeros if the case has none."""
    rows, states = shape_states(case)[:2], case.config.kind_data.states
    if case.initial_state is InitialState.ABSENT:
        return np.zeros(shape_states(case))
    drawn = [
        case.distribution.draws.draw_state(rng, (*rows, state_size(case.config, letter)), letter)
        for letter in states
    ]
    states_ = np.concatenate(drawn, axis=-1)
    return _repeat_slice(states_[:, :1], states_.shape) if case.are_states_expanded else states_


def _repeat_slice(slice_: Array, shape: tuple[int, ...]) -> Array:
    return np.ascontiguousarray(np.broadcast_to(slice_, shape))

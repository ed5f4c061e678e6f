"""The numbers of a case: weights, input, initial state and cotangents that identify what produced them.

Every array is float64 in the torch layout, time-major and padded, and exactly representable in the case's dtype.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rnnspec.cases.case import Case
from rnnspec.contract.shapes import parameter_shapes

Array = NDArray[np.float64]
CONTRACTION = 0.9
TERNARY = 64.0
SOLVABLE_READING = 0.6


@dataclass(frozen=True)
class Values:
    """The numbers of one case.

    Shapes: input (T, N, H_in), h_0 (D * num_layers, N, H_out), d_output (T, N, D * H_out), d_h_n as h_0, weights by torch name.
    Where a case is called without a state, h_0 is zero.
    """

    weights: dict[str, Array]
    input: Array
    h_0: Array
    d_output: Array
    d_h_n: Array


@lru_cache(maxsize=4)
def draw_values(case: Case) -> Values:
    """The numbers that the law and the seed of a case stand for; the same case gives the same numbers."""
    rng = np.random.default_rng([case.seed, sum(map(ord, case.values))])
    config = case.config
    states = (config.num_layers * config.num_directions, case.batch, config.hidden_size)
    law = LAWS[case.values]
    weights = law.weights(rng, case)
    values = Values(
        weights={
            name: round_to_dtype(weights[name], case.dtype) for name in parameter_shapes(config)
        },
        input=round_to_dtype(
            _memory(case, law.input(rng, (case.steps, case.batch, config.input_size))), case.dtype
        ),
        h_0=round_to_dtype(
            _one_sample(case, law.state(rng, states))
            if case.state == "given"
            else np.zeros(states),
            case.dtype,
        ),
        d_output=round_to_dtype(
            law.cotangent(
                rng, (case.steps, case.batch, config.num_directions * config.hidden_size)
            ),
            case.dtype,
        ),
        d_h_n=round_to_dtype(law.cotangent(rng, states), case.dtype),
    )
    for array in (
        *values.weights.values(),
        values.input,
        values.h_0,
        values.d_output,
        values.d_h_n,
    ):
        array.setflags(write=False)
    return values


def round_to_dtype(array: Array, dtype: str) -> Array:
    """The array rounded to the numbers of a floating dtype, as float64."""
    if dtype == "bfloat16":
        bits = np.ascontiguousarray(array, dtype=np.float32).view(np.uint32)
        rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(
            0xFFFF0000
        )
        return np.asarray(rounded.view(np.float32), dtype=np.float64)
    return array if dtype == "float64" else array.astype(dtype).astype(np.float64)


def _memory(case: Case, array: Array) -> Array:
    """An expanded input repeats one sample, or one step where there is one sample."""
    if case.memory != "expanded" or case.batch > 1:
        return _one_sample(case, array)
    source = array[:1]
    return np.ascontiguousarray(np.broadcast_to(source, array.shape))


def _one_sample(case: Case, array: Array) -> Array:
    """An expanded input or state repeats one sample."""
    return (
        array
        if case.memory != "expanded"
        else np.ascontiguousarray(np.broadcast_to(array[:, :1], array.shape))
    )


Shape = tuple[int, ...]
Draw = Callable[[np.random.Generator, Shape], Array]


def _signed(low: float, high: float) -> Draw:
    def draw(rng: np.random.Generator, shape: Shape) -> Array:
        return rng.choice((-1.0, 1.0), shape) * rng.uniform(low, high, shape)

    return draw


def _positive(low: float, high: float) -> Draw:
    return lambda rng, shape: rng.uniform(low, high, shape)


def _integers(low: int, high: int) -> Draw:
    return lambda rng, shape: rng.integers(low, high, shape, endpoint=True).astype(np.float64)


def _spread(rng: np.random.Generator, shape: Shape) -> Array:
    magnitude = np.exp2(rng.uniform(-14, 3, shape)) * (rng.random(shape) > 0.1)
    return np.asarray(rng.choice((-1.0, 1.0), shape) * magnitude)


def _contractive(rng: np.random.Generator, shape: Shape) -> Array:
    """A matrix whose rows have an L1 norm of at most 0.9 and whose columns too where it is square; no entry near zero."""
    raw = rng.choice((-1.0, 1.0), shape) * (0.25 + np.abs(rng.standard_normal(shape)))
    norms = np.abs(raw).sum(axis=1, keepdims=True)
    scaled = CONTRACTION * raw / norms
    columns = np.abs(scaled).sum(axis=0, keepdims=True)
    return (
        np.asarray(scaled * np.minimum(1.0, CONTRACTION / columns))
        if shape[0] == shape[1]
        else np.asarray(scaled)
    )


def _reading(rng: np.random.Generator, shape: Shape) -> Array:
    raw = rng.choice((-1.0, 1.0), shape) * (0.25 + np.abs(rng.standard_normal(shape)))
    return np.asarray(raw * 1.25 / np.sqrt(shape[1] * 1.6))


def _signed_permutation(rng: np.random.Generator, shape: Shape) -> Array:
    matrix = np.zeros(shape)
    matrix[np.arange(shape[0]), rng.permutation(max(shape))[: shape[0]] % shape[1]] = rng.choice(
        (-1.0, 1.0), shape[0]
    )
    return matrix


def _sparse_integers(rng: np.random.Generator, shape: Shape) -> Array:
    """At most four entries a row, so that sums stay small at any width."""
    matrix = np.zeros(shape)
    for _ in range(min(4, shape[1])):
        matrix[np.arange(shape[0]), rng.integers(0, shape[1], shape[0])] = rng.integers(
            1, 2, shape[0], endpoint=True
        )
    return np.asarray(matrix * rng.choice((-1.0, 1.0), shape))


def _ternary(rng: np.random.Generator, shape: Shape) -> Array:
    return TERNARY * rng.integers(-1, 1, shape, endpoint=True).astype(np.float64)


@dataclass(frozen=True)
class Law:
    """How each kind of number is drawn."""

    weights: Callable[[np.random.Generator, Case], dict[str, Array]]
    input: Draw
    state: Draw
    cotangent: Draw


def _by_role(
    ih: Draw, hh: Draw, bias: Draw
) -> Callable[[np.random.Generator, Case], dict[str, Array]]:
    draws = {"weight_ih": ih, "weight_hh": hh, "bias_ih": bias, "bias_hh": bias}

    def weights(rng: np.random.Generator, case: Case) -> dict[str, Array]:
        return {
            name: draws[name.split("_l")[0]](rng, shape)
            for name, shape in parameter_shapes(case.config).items()
        }

    return weights


def _is_upper(name: str) -> bool:
    return name.startswith("weight_ih") and not name.startswith("weight_ih_l0")


def _deaf(rng: np.random.Generator, case: Case) -> dict[str, Array]:
    return {name: array * (not _is_upper(name)) for name, array in PLAIN.weights(rng, case).items()}


def _solvable(rng: np.random.Generator, case: Case) -> dict[str, Array]:
    """Positive weights, so that every unit of the first layer is well above zero and none of the second is saturated.

    The second layer's input weights, both directions stacked, form a well-conditioned square.
    """
    weights = {name: np.abs(array) for name, array in PLAIN.weights(rng, case).items()}
    hidden, directions = case.config.hidden_size, case.config.num_directions
    width = directions * hidden
    square = 0.5 * np.eye(width) + 0.1 / width * rng.uniform(0.2, 1.0, (width, width))
    for direction, suffix in enumerate(("", "_reverse")[:directions]):
        first = weights[f"weight_ih_l0{suffix}"]
        weights[f"weight_ih_l0{suffix}"] = (
            SOLVABLE_READING * first / first.sum(axis=1, keepdims=True)
        )
        weights[f"weight_ih_l1{suffix}"] = square[direction * hidden : (direction + 1) * hidden]
    return weights


def _readable(rng: np.random.Generator, case: Case) -> dict[str, Array]:
    """Up to the boundary every unit is one constant; the layer above it writes all its input bits into each unit; the rest copies."""
    config, boundary = case.config, case.boundary
    width, keep = config.num_directions * config.hidden_size, 1.0 - config.dropout
    weights = {name: np.zeros(shape) for name, shape in parameter_shapes(config).items()}
    for name in weights:
        layer = int(name.split("_l")[1].split("_")[0])
        if name.startswith("bias_ih") and layer <= boundary:
            weights[name][:] = READABLE_BIAS
        if name.startswith("weight_ih") and layer == boundary + 1:
            weights[name][:] = keep * code_weights(width)
        if name.startswith("bias_ih") and layer == boundary + 1:
            weights[name][:] = CODE_BIAS
        if name.startswith("weight_ih") and layer > boundary + 1:
            offset = config.hidden_size * name.endswith("_reverse")
            weights[name][:, offset : offset + config.hidden_size] = keep * np.eye(
                config.hidden_size
            )
    return weights


READABLE_BIAS = 0.5
CODE_BIAS = 2.0**-3


def code_weights(width: int) -> Array:
    """One power of two a unit, the largest 2**-3: their sums tell which of `width` units were kept."""
    return np.asarray(2.0 ** -(3.0 + np.arange(width)))


PLAIN = Law(
    _by_role(_reading, _contractive, _signed(0.1, 0.5)),
    _signed(0.25, 1.5),
    _signed(0.2, 0.9),
    _signed(0.25, 1.5),
)
LAWS: dict[str, Law] = {
    "plain": PLAIN,
    "large": Law(PLAIN.weights, _signed(4.0, 40.0), _signed(0.5, 4.0), PLAIN.cotangent),
    "spread": Law(_by_role(_reading, _contractive, _spread), _spread, _spread, _spread),
    "integer": Law(
        _by_role(_sparse_integers, _signed_permutation, _integers(-3, 3)),
        _integers(-4, 4),
        _integers(0, 3),
        _integers(-2, 2),
    ),
    "ternary": Law(
        _by_role(_ternary, _ternary, _ternary), _integers(-1, 1), _integers(-1, 1), _integers(-2, 2)
    ),
    "deaf": Law(_deaf, PLAIN.input, PLAIN.state, PLAIN.cotangent),
    "solvable": Law(_solvable, _positive(0.25, 1.5), _positive(0.2, 0.9), PLAIN.cotangent),
    "readable": Law(_readable, PLAIN.input, PLAIN.state, PLAIN.cotangent),
}

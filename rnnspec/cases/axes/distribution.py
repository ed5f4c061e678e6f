"""The distributions from which the numbers of a case are drawn.

Each value draws weights, input, initial state and cotangents. Arrays are float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rnnspec.cases.axes.choice import Choice, Meaning
from rnnspec.cases.axes.layout import Array
from rnnspec.cases.gates import has_gate_rows, hold_gates, mark_held_rows, shape_one_gate
from rnnspec.contract.config import Config
from rnnspec.contract.shapes import Shape, parameter_shapes

Generator = np.random.Generator

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


Draw = Callable[[Generator, Shape], Array]


@dataclass(frozen=True)
class Encoding:
    """How the weights of a layer show which units were dropped at a boundary between layers.

    boundary  the layer whose output is dropped
    is_whole  whether each unit of the layer above encodes all units below it, or only its own unit
    """

    boundary: int
    is_whole: bool


DrawWeights = Callable[[Generator, Config, Encoding], dict[str, Array]]
"""Draws every weight by name."""

CONTRACTION = 0.9
SOLVABLE_READING = 0.6
SOLVABLE_KEEP = 0.3
SIGNS = np.array([-1.0, 1.0])
FAR_SHARE = 0.125
"""The share of large cell states that are drawn beyond 512, the largest magnitude that a cell state
can reach in 512 steps.
"""
READABLE_BIAS = 0.5
CODE_BIAS = 2.0**-3
OWN_CODE = 1.0
"""The weight with which a unit reads the only unit that it encodes."""
MIXED = (0.625, 0.375)
"""The weights with which a projection mixes two units that are equal; their sum is exact.

If one of the units was dropped before the projection, the mixture differs from both a dropped and a
kept value.
"""


@dataclass(frozen=True)
class DistributionMeaning(Meaning):
    """A distribution: how each kind of number is drawn, and the purpose of the numbers."""

    weights: DrawWeights
    input: Draw
    state: Draw
    cotangent: Draw
    is_exact: bool = False
    needs_dropout: bool = False
    shows_mask: bool = False
    memory: Draw | None = None

    def draw_state(self, rng: Generator, shape: Shape, letter: str) -> Array:
        """Draw the initial state with a letter; `memory`, if given, draws c."""
        return (self.memory or self.state if letter == "c" else self.state)(rng, shape)


def _draw_signs(rng: Generator, shape: Shape) -> Array:
    """Draw -1 or 1: the same numbers as `rng.choice` in half the time."""
    return SIGNS[rng.integers(0, 2, shape)]


def _draw_signed(low: float, high: float) -> Draw:
    def draw(rng: Generator, shape: Shape) -> Array:
        return _draw_signs(rng, shape) * rng.uniform(low, high, shape)

    return draw


def _draw_positive(low: float, high: float) -> Draw:
    return lambda rng, shape: rng.uniform(low, high, shape)


def _draw_integers(low: int, high: int) -> Draw:
    return lambda rng, shape: rng.integers(low, high, shape, endpoint=True).astype(np.float64)


def _draw_by_role(
    ih: Draw, hh: Draw, bias: Draw, shapes: Callable[[Config], dict[str, Shape]] = parameter_shapes
) -> DrawWeights:
    draws = {"weight_ih": ih, "weight_hh": hh, "weight_hr": hh, "bias_ih": bias, "bias_hh": bias}

    def draw_weights(rng: Generator, config: Config, encoding: Encoding) -> dict[str, Array]:
        del encoding
        return {
            name: draws[name.split("_l")[0]](rng, shape) for name, shape in shapes(config).items()
        }

    return draw_weights


def _draw_held(draw_one_gate: DrawWeights) -> DrawWeights:
    """Return a function that draws weights which hold the gates of gated layers.

    `draw_one_gate` draws the rows of a single gate, with which the layer computes like an
    ungated layer.
    """

    def draw_weights(rng: Generator, config: Config, encoding: Encoding) -> dict[str, Array]:
        return hold_gates(config, draw_one_gate(rng, config, encoding))

    return draw_weights


def _draw_contractive(rng: Generator, shape: Shape) -> Array:
    """Draw a matrix whose rows, and columns if it is square, have an L1 norm of at most 0.9.

    No entry is near zero.
    """
    raw = _draw_signs(rng, shape) * (0.25 + np.abs(rng.standard_normal(shape)))
    norms = np.abs(raw).sum(axis=1, keepdims=True)
    scaled = CONTRACTION * raw / norms
    columns = np.abs(scaled).sum(axis=0, keepdims=True)
    if shape[0] != shape[1]:
        return np.asarray(scaled)
    return np.asarray(scaled * np.minimum(1.0, CONTRACTION / columns))


def _draw_reading(rng: Generator, shape: Shape) -> Array:
    raw = _draw_signs(rng, shape) * (0.25 + np.abs(rng.standard_normal(shape)))
    return np.asarray(raw * 1.25 / np.sqrt(shape[1] * 1.6))


_PLAIN = DistributionMeaning(
    "plain",
    "moderate, all distinct, contractive",
    _draw_by_role(_draw_reading, _draw_contractive, _draw_signed(0.1, 0.5)),
    _draw_signed(0.25, 1.5),
    _draw_signed(0.2, 0.9),
    _draw_signed(0.25, 1.5),
)


def _draw_magnitudes(low: float, high: float) -> Draw:
    """Draw numbers of both signs whose magnitudes spread over the powers of two."""

    def draw(rng: Generator, shape: Shape) -> Array:
        return _draw_signs(rng, shape) * np.exp2(rng.uniform(low, high, shape))

    return draw


def _draw_memory_of_long_runs(rng: Generator, shape: Shape) -> Array:
    """Draw cell states, a few of them far beyond the values reached in a few hundred steps."""
    far = rng.random(shape) < FAR_SHARE
    return np.where(
        far, _draw_magnitudes(9.0, 13.0)(rng, shape), _draw_magnitudes(-1.0, 7.0)(rng, shape)
    )


_LARGE = DistributionMeaning(
    "large",
    "large inputs and states of mixed sign",
    _PLAIN.weights,
    _draw_signed(4.0, 40.0),
    _draw_magnitudes(-1.0, 7.0),
    _PLAIN.cotangent,
    memory=_draw_memory_of_long_runs,
)


def _draw_spread(rng: Generator, shape: Shape) -> Array:
    magnitude = np.exp2(rng.uniform(-14, 3, shape)) * (rng.random(shape) > 0.1)
    return np.asarray(_draw_signs(rng, shape) * magnitude)


def _draw_with_gaps(rng: Generator, shape: Shape) -> Array:
    """Draw an input of which nothing, a few rows or everything is zero.

    Padding looks like this, and kernels skip the products of rows that are zero.
    """
    share = rng.choice((0.0, 0.0, 0.25, 1.0))
    return np.asarray(_draw_spread(rng, shape) * (rng.random((*shape[:-1], 1)) >= share))


_SPREAD = DistributionMeaning(
    "spread",
    "magnitudes from tiny to large, some exact zeros, also whole rows of the input",
    _draw_by_role(_draw_reading, _draw_contractive, _draw_spread),
    _draw_with_gaps,
    _draw_spread,
    _draw_spread,
)


def _draw_sparse_integers(rng: Generator, shape: Shape) -> Array:
    """Draw at most four entries per row, so that sums stay small at any width."""
    matrix = np.zeros(shape)
    for _ in range(min(4, shape[1])):
        entries = rng.integers(1, 2, shape[0], endpoint=True)
        matrix[np.arange(shape[0]), rng.integers(0, shape[1], shape[0])] = entries
    return np.asarray(matrix * _draw_signs(rng, shape))


def _draw_signed_permutation(rng: Generator, shape: Shape) -> Array:
    matrix = np.zeros(shape)
    signs = _draw_signs(rng, shape[:1])
    matrix[np.arange(shape[0]), rng.permutation(max(shape))[: shape[0]] % shape[1]] = signs
    return matrix


_INTEGER = DistributionMeaning(
    "integer",
    "small integers under relu: every sum is exact",
    _draw_by_role(_draw_sparse_integers, _draw_signed_permutation, _draw_integers(-3, 3)),
    _draw_integers(-4, 4),
    _draw_integers(0, 3),
    _draw_integers(-2, 2),
    is_exact=True,
)


def _draw_ternary_weights(rng: Generator, config: Config, encoding: Encoding) -> dict[str, Array]:
    """Draw ternary weights; chance decides whether each unit of a gate is held shut or open."""
    if config.kind_data.memory_gate:
        return draw_settled(rng, config)
    draw = _draw_held(_draw_by_role(draw_ternary, draw_ternary, draw_ternary, shape_one_gate))
    weights = draw(rng, config, encoding)
    held = mark_held_rows(config)
    for name in weights if held.any() else ():
        if name.startswith("bias_ih"):
            signs = np.where(held, _draw_signs(rng, held.shape), 1.0)
            weights[name] *= signs
            weights[name.replace("bias_ih", "bias_hh")] *= signs
    return weights


_TERNARY = DistributionMeaning(
    "ternary",
    "saturated or zero under tanh: every sum is exact",
    _draw_ternary_weights,
    _draw_integers(-1, 1),
    _draw_integers(-1, 1),
    _draw_integers(-2, 2),
    is_exact=True,
    memory=draw_memory,
)


def _draw_readable(rng: Generator, config: Config, encoding: Encoding) -> dict[str, Array]:
    """Draw weights that make the output show which units were dropped at a boundary.

    Up to the boundary every unit is the same constant. Each unit of the layer above the boundary
    encodes the bits of its whole input, or of its own unit; the layers above copy the code. A
    projection below the boundary mixes the constants; above it, it passes on the first units of the
    code.
    """
    del rng
    boundary, keep, size = encoding.boundary, 1.0 - config.dropout, config.output_size
    weights = {name: np.zeros(shape) for name, shape in shape_one_gate(config).items()}
    for name, array in weights.items():
        layer = int(name.split("_l")[1].split("_")[0])
        own = slice(size, 2 * size) if name.endswith("_reverse") else slice(size)
        if name.startswith("bias_ih") and layer <= boundary:
            array[:] = READABLE_BIAS
        if name.startswith("bias_ih") and layer == boundary + 1:
            array[:] = CODE_BIAS
        if name.startswith("weight_ih") and layer == boundary + 1 and encoding.is_whole:
            array[:] = keep * code_weights(array.shape[1])
        elif name.startswith("weight_ih") and layer > boundary:
            factor = OWN_CODE if layer == boundary + 1 else 1.0
            array[:, own] = factor * keep * np.eye(config.hidden_size, size)
        if name.startswith("weight_hr"):
            array[:] = np.eye(size, config.hidden_size)
            if layer <= boundary:
                array[:] = _mix_units(array)
    return weights


def _mix_units(weights: Array) -> Array:
    """Return weights of a projection that mix each unit with the next."""
    first, second = MIXED
    return np.asarray(first * weights + second * np.roll(weights, 1, axis=1))


def code_weights(width: int) -> Array:
    """Return a power of two for each unit, at most 2**-3: a sum encodes which units were kept."""
    return np.asarray(2.0 ** -(3.0 + np.arange(width)))


_READABLE = DistributionMeaning(
    "readable",
    "the dropout mask of one boundary can be read off the output",
    _draw_held(_draw_readable),
    _PLAIN.input,
    _PLAIN.state,
    _PLAIN.cotangent,
    needs_dropout=True,
    shows_mask=True,
)


_draw_one_gate = _draw_by_role(
    _draw_reading, _draw_contractive, _draw_signed(0.1, 0.5), shape_one_gate
)


def _draw_solvable(rng: Generator, config: Config, encoding: Encoding) -> dict[str, Array]:
    """Draw positive weights with which no unit of the second layer saturates.

    The second layer's input weights for the units that it returns, stacked over both directions,
    form a well-conditioned square matrix, and every unit of the first layer is well above zero. If
    most values are dropped, the matrix is scaled down, because the surviving values are large. A
    projected second layer returns its first units.
    """
    weights = {name: np.abs(array) for name, array in _draw_one_gate(rng, config, encoding).items()}
    size, directions = config.output_size, config.num_directions
    width = directions * size
    square = 0.5 * np.eye(width) + 0.1 / width * rng.uniform(0.2, 1.0, (width, width))
    square *= min(1.0, (1.0 - config.dropout) / SOLVABLE_KEEP)
    for direction, suffix in enumerate(("", "_reverse")[:directions]):
        first = weights[f"weight_ih_l0{suffix}"]
        weights[f"weight_ih_l0{suffix}"] = (
            SOLVABLE_READING * first / first.sum(axis=1, keepdims=True)
        )
        rows = square[direction * size : (direction + 1) * size]
        weights[f"weight_ih_l1{suffix}"][:size] = rows
        if config.proj_size:
            weights[f"weight_hr_l1{suffix}"] = np.eye(size, config.hidden_size)
    return weights


_SOLVABLE = DistributionMeaning(
    "solvable",
    "the dropout mask between two layers can be solved for",
    _draw_held(_draw_solvable),
    _draw_positive(0.25, 1.5),
    _draw_positive(0.2, 0.9),
    _PLAIN.cotangent,
    needs_dropout=True,
    shows_mask=True,
)


def _draw_deaf(rng: Generator, config: Config, encoding: Encoding) -> dict[str, Array]:
    weights = _PLAIN.weights(rng, config, encoding)
    return {name: array * (not reads_layer_below(name)) for name, array in weights.items()}


def reads_layer_below(name: str) -> bool:
    """Return whether a parameter is an input weight of a layer above the first."""
    return name.startswith("weight_ih") and not name.startswith("weight_ih_l0")


_DEAF = DistributionMeaning(
    "deaf",
    "layers above the first ignore the layer below, so that dropout cannot matter",
    _draw_deaf,
    _PLAIN.input,
    _PLAIN.state,
    _PLAIN.cotangent,
    needs_dropout=True,
)


def _draw_new_weights(rng: Generator, config: Config, encoding: Encoding) -> dict[str, Array]:
    """Draw weights as the constructor does, uniformly up to 1 / sqrt(hidden_size)."""
    del encoding
    bound = 1.0 / np.sqrt(config.hidden_size)
    return {
        name: rng.uniform(-bound, bound, shape) for name, shape in parameter_shapes(config).items()
    }


_NEW = DistributionMeaning(
    "new",
    "the weights of a new layer, whose states remember for as long as those of real models",
    _draw_new_weights,
    Generator.standard_normal,
    _draw_signed(0.2, 0.9),
    Generator.standard_normal,
)


class Distribution(Choice):
    """The distribution from which the numbers of a case are drawn."""

    _value_: DistributionMeaning

    PLAIN = _PLAIN
    LARGE = _LARGE
    SPREAD = _SPREAD
    INTEGER = _INTEGER
    TERNARY = _TERNARY
    READABLE = _READABLE
    SOLVABLE = _SOLVABLE
    DEAF = _DEAF
    NEW = _NEW

    @property
    def draws(self) -> DistributionMeaning:
        """How weights, input, state and cotangents are drawn."""
        return self._value_

    @property
    def is_exact(self) -> bool:
        """Whether every sum is exact, so that any order of summation gives the same bits."""
        return self._value_.is_exact

    @property
    def needs_dropout(self) -> bool:
        """Whether the numbers are made for layers that drop some values, in train mode."""
        return self._value_.needs_dropout

    @property
    def shows_mask(self) -> bool:
        """Whether a dropout mask can be decoded from the output."""
        return self._value_.shows_mask

"""Cell equations: activations with their slopes and how far a perturbed argument can move them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from rnnspec.contract.config import Config
from rnnspec.oracle.problem import Array
from rnnspec.oracle.rounding import REFERENCE_U, Rounding


@dataclass(frozen=True)
class Activation:
    """One activation f, applied to a pre-activation s, giving y.

    value(s)                  f(s); NaN and infinities go through as IEEE 754 says
    slope(y)                  f'(s), from the value
    fold(s)                   what `spread` needs to know of s
    spread(folded, |y|, d)    sup of |f(s + e) - f(s)| over |e| <= d: exact, since f is monotone
    unsure(s, y, e, d, u)     by how much a slope computed from a value off by e, a sum off by d, in roundoff u can be off
    computed                  whether evaluating f rounds by itself; where it does not, only storing y does
    """

    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    fold: Callable[[Array], Array]
    spread: Callable[[Array, Array, Array], Array]
    unsure: Callable[[Array, Array, Array, Array, float], Array]
    computed: bool

    def errors(self, rounding: Rounding) -> tuple[float, float]:
        """The relative and the absolute error of one evaluation, stored."""
        relative, absolute = (rounding.k_rel, rounding.k_abs) if self.computed else (1.0, 0.0)
        return relative * rounding.u_st, absolute * rounding.u_st


def _relu(sums: Array) -> Array:
    return np.maximum(sums, 0.0)


def _tanh_slope(value: Array) -> Array:
    return 1.0 - value * value


def _relu_slope(value: Array) -> Array:
    return (value > 0.0).astype(np.float64)


def _relu_fold(sums: Array) -> Array:
    return np.minimum(sums, 0.0)


def _tanh_spread(folded: Array, value: Array, distance: Array) -> Array:
    # tanh(a) - tanh(b) = tanh(a - b) (1 - tanh(a) tanh(b)), towards zero; the 16 u cover the cancellation in the bracket.
    return np.tanh(distance) * ((1.0 + 16.0 * REFERENCE_U) - value * np.tanh(folded - distance))


def _relu_spread(folded: Array, value: Array, distance: Array) -> Array:
    return np.maximum(distance + folded, 0.0)


def _tanh_unsure(
    sums: Array, value: Array, error: Array, distance: Array, roundoff: float
) -> Array:
    # |y~^2 - y^2| <= e (2 |y| + e), and both slopes lie in [0, 1].
    # Evaluating 1 - y^2 costs u, 4 exp(2 x) / (1 + exp(2 x))^2 costs (4 y + 4) (1 - y^2) u, which is at most 4.75 u.
    slope = _tanh_slope(value)
    return (
        np.minimum(error * (2.0 * np.abs(value) + error), np.maximum(slope, 1.0 - slope))
        + 5.0 * roundoff
        + 4.0 * REFERENCE_U
    )


def _relu_unsure(
    sums: Array, value: Array, error: Array, distance: Array, roundoff: float
) -> Array:
    return (~(np.abs(sums) > distance)).astype(np.float64)


TANH = Activation(np.tanh, _tanh_slope, np.abs, _tanh_spread, _tanh_unsure, computed=True)
RELU = Activation(_relu, _relu_slope, _relu_fold, _relu_spread, _relu_unsure, computed=False)

CELLS: Mapping[str, Mapping[str, Activation]] = {"rnn": {"tanh": TANH, "relu": RELU}}
"""By kind of layer, then by nonlinearity: the activation of the Elman cell, h' = f(W_ih x + b_ih + W_hh h + b_hh)."""


def activation_of(config: Config) -> Activation:
    """The activation of a configuration's cell."""
    return CELLS[config.kind][config.nonlinearity]

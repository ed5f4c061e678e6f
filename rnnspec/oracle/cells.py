"""The cell equations: activations, their slopes, and the effect of a perturbed argument on both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from rnnspec.contract.config import Config
from rnnspec.oracle.problem import Array
from rnnspec.oracle.rounding import REFERENCE_U, Rounding


@dataclass(frozen=True)
class Activation:
    """An activation y = f(s), where s is the pre-activation.

    value(s)                  f(s); infinity and NaN propagate as in IEEE 754
    slope(y)                  f'(s), computed from y
    fold(s)                   what `spread` needs to know about s
    spread(folded, |y|, d)    the largest |f(s + e) - f(s)| with |e| <= d; exact, as f is monotone
    unsure(s, y, e, d, u)     a bound on the error of a slope that is computed with roundoff u from
                              a value y with error e, or from a sum s with error d
    computed                  True if evaluating f rounds; if False, only storing y rounds
    """

    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    fold: Callable[[Array], Array]
    spread: Callable[[Array, Array, Array], Array]
    unsure: Callable[[Array, Array, Array, Array, float], Array]
    computed: bool

    def errors(self, rounding: Rounding) -> tuple[float, float]:
        """Return the relative and the absolute error of evaluating f once and storing y."""
        relative, absolute = (rounding.k_rel, rounding.k_abs) if self.computed else (1.0, 0.0)
        return relative * rounding.u_st, absolute * rounding.u_st


def _apply_relu(sums: Array) -> Array:
    return np.maximum(sums, 0.0)


def _compute_tanh_slope(value: Array) -> Array:
    return 1.0 - value * value


def _compute_relu_slope(value: Array) -> Array:
    return (value > 0.0).astype(np.float64)


def _fold_relu(sums: Array) -> Array:
    return np.minimum(sums, 0.0)


def _spread_tanh(folded: Array, value: Array, distance: Array) -> Array:
    # tanh(a) - tanh(b) = tanh(a - b) (1 - tanh(a) tanh(b)), and tanh changes most towards zero.
    # The 16 u cover the cancellation in the bracket.
    return np.tanh(distance) * ((1.0 + 16.0 * REFERENCE_U) - value * np.tanh(folded - distance))


def _spread_relu(folded: Array, value: Array, distance: Array) -> Array:
    return np.maximum(distance + folded, 0.0)


def _bound_tanh_slope(
    sums: Array, value: Array, error: Array, distance: Array, roundoff: float
) -> Array:
    # |y~^2 - y^2| <= e (2 |y| + e), and both slopes are between 0 and 1. Evaluating 1 - y^2 has an
    # error of u. Evaluating 4 exp(2 x) / (1 + exp(2 x))^2 has an error of (4 y + 4) (1 - y^2) u,
    # which is at most 4.75 u.
    slope = _compute_tanh_slope(value)
    return (
        np.minimum(error * (2.0 * np.abs(value) + error), np.maximum(slope, 1.0 - slope))
        + 5.0 * roundoff
        + 4.0 * REFERENCE_U
    )


def _bound_relu_slope(
    sums: Array, value: Array, error: Array, distance: Array, roundoff: float
) -> Array:
    return (~(np.abs(sums) > distance)).astype(np.float64)


TANH = Activation(
    np.tanh, _compute_tanh_slope, np.abs, _spread_tanh, _bound_tanh_slope, computed=True
)
RELU = Activation(
    _apply_relu, _compute_relu_slope, _fold_relu, _spread_relu, _bound_relu_slope, computed=False
)

CELLS: Mapping[str, Mapping[str, Activation]] = {"rnn": {"tanh": TANH, "relu": RELU}}
"""The activation of each cell, by kind of layer, then by nonlinearity.

The Elman cell is h' = f(W_ih x + b_ih + W_hh h + b_hh).
"""


def activation_of(config: Config) -> Activation:
    """Return the activation of the cell that a configuration describes."""
    return CELLS[config.kind][config.nonlinearity]

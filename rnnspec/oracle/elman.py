"""The cell of an RNN: h' = f(s), which uses tanh or relu as its activation f.

Its error bound is tighter than the bound of a cell with gates, because the exact change of its
activation is known.

Source: the equation on the nn.RNN page.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rnnspec.oracle.cells import Cell, StepBackward, StepError
from rnnspec.oracle.enclosures import TANH_SLOPE_K, spread_tanh
from rnnspec.oracle.exact_values import has_settled_tanh
from rnnspec.oracle.layers import Array, Flags, LayerAdjoint, LayerError, LayerTrace, StateArrays
from rnnspec.oracle.rounding import REFERENCE_K, REFERENCE_U, SLOP, Rounding


@dataclass(frozen=True)
class Activation:
    """An activation y = f(s), where s is the pre-activation.

    value(s)                  f(s); infinity and NaN propagate as in IEEE 754
    slope(y)                  f'(s), computed from y
    fold(s)                   the part of s that `spread` needs
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


def _spread_relu(folded: Array, value: Array, distance: Array) -> Array:
    return np.maximum(distance + folded, 0.0)


def _bound_tanh_slope(
    sums: Array, value: Array, error: Array, distance: Array, roundoff: float
) -> Array:
    # |y~^2 - y^2| <= e (2 |y| + e), and both slopes are between 0 and 1.
    slope = _compute_tanh_slope(value)
    return (
        np.minimum(error * (2.0 * np.abs(value) + error), np.maximum(slope, 1.0 - slope))
        + TANH_SLOPE_K * roundoff
        + 4.0 * REFERENCE_U
    )


def _bound_relu_slope(
    sums: Array, value: Array, error: Array, distance: Array, roundoff: float
) -> Array:
    # If the sum may be on the other side of 0, the slope may be 0 or 1. The negation makes NaN
    # count as unsure.
    return (~(np.abs(sums) > distance)).astype(np.float64)


TANH = Activation(
    np.tanh, _compute_tanh_slope, np.abs, spread_tanh, _bound_tanh_slope, computed=True
)
RELU = Activation(
    _apply_relu, _compute_relu_slope, _fold_relu, _spread_relu, _bound_relu_slope, computed=False
)


class ElmanCell(Cell):
    """The cell h' = f(W_ih x + b_ih + W_hh h + b_hh) with an activation f."""

    blocks = 1
    input_blocks = (0,)
    hidden_blocks = (0,)

    def __init__(self, activation: Activation) -> None:
        self.activation = activation

    def advance(self, sums: Array, before: StateArrays) -> StateArrays:
        """Return the activated sums."""
        return (self.activation.value(sums),)

    def go_back(self, layer: LayerTrace) -> StepBackward:
        """Multiply the gradient that a step receives by the slope of its activation."""
        slope = self.activation.slope(layer.fresh)
        return lambda step, received: (received[0] * slope[:, step], None, ())

    def bound_forward(self, layer: LayerTrace, rounding: Rounding) -> StepError:
        """Bound the change of the activation, and the errors of evaluating and storing it."""
        activation = self.activation
        relative, absolute = activation.errors(rounding)
        value, folded = np.abs(layer.fresh), activation.fold(layer.sums)
        floor = ((relative + REFERENCE_K * REFERENCE_U) * value + (absolute + rounding.eta)) * SLOP
        growth = (1.0 + relative) * SLOP

        def bound_step(step: int, sums: Array, before: StateArrays) -> StateArrays:
            spread = activation.spread(folded[:, step], value[:, step], sums)
            return (spread * growth + floor[:, step],)

        return bound_step

    def bound_backward(
        self, layer: LayerTrace, adjoint: LayerAdjoint, error: LayerError, rounding: Rounding
    ) -> StepBackward:
        """Bound the error of S = G f': it is G * gain + local, where G is the error received."""
        value, moved = layer.fresh, error.fresh
        unsure = self.activation.unsure(layer.sums, value, moved, error.sums, rounding.u_st)
        # A value without a bound may overflow to NaN, and so may its slope.
        unsure = np.where(moved < np.inf, unsure, np.inf)
        slope, product = self.activation.slope(value), rounding.factor(2)
        gain = (slope + unsure) * ((1.0 + product) * SLOP)
        local = (
            np.abs(adjoint.states) * (unsure + product * (slope + unsure)) + rounding.eta
        ) * SLOP
        return lambda step, received: (received[0] * gain[:, step] + local[:, step], None, ())

    def is_exact(self, layer: LayerTrace, alive: Flags, limit: float) -> bool:
        """Return whether tanh is applied only to 0 and to sums that saturate it."""
        if not self.activation.computed:
            return True
        return has_settled_tanh(layer.sums, alive)

    def has_exact_slopes(self) -> bool:
        """Return False for tanh: if it is saturated, its slope depends on the formula."""
        return not self.activation.computed

"""The largest error of a forward pass that rounding can explain, proved step by step.

The proof compares two computed trajectories: the layer under test (marked ~) and the reference. At
every time step, each follows the recurrence h = f(s) up to a local error. Let E bound
h~ - h| and E_x bound |x~ - x|. Let A = |W_ih| |x| + |b_ih| + |W_hh| |h| + |b_hh| at the
reference. Let g be the gamma of the tested layer's sum plus the gamma of the reference's sum. Then

    |s~ - s| <= D = prop + g (A + prop) + underflow,    prop = |W_hh| E + |W_ih| E_x
    |h~ - h| <= sup_{|d| <= D} |f(s + d) - f(s)| + errors of evaluating and storing f (both sides)

The last line is for an RNN. In general, the cell bounds the errors of the states after a step, from
the errors of its sums and of the states before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import matmul

import numpy as np

from rnnspec.oracle.catalogue import cell_of
from rnnspec.oracle.cells import Cell
from rnnspec.oracle.layers import Array, Flags, LayerError, LayerTrace, StateArrays
from rnnspec.oracle.problem import Bound, Problem, Trace
from rnnspec.oracle.rounding import SLOP, Rounding
from rnnspec.oracle.stack import collect_results, keep_if_padded, outputs, to_steps

Multiply = Callable[[Array, Array], Array]
"""A sum of products of two arrays."""


def compute_bound(problem: Problem, trace: Trace, rounding: Rounding) -> Bound:
    """Return the bound on the errors of every result, element by element.

    It covers the errors of the layer under test and of the reference. It is inf, never NaN, where a
    value is not finite or an intermediate may exceed the largest number of the dtype.
    """
    errors = forward_errors(problem, trace, rounding)
    return Bound(collect_results(problem, [error.carried for error in errors], trace.alive))


def forward_errors(problem: Problem, trace: Trace, rounding: Rounding) -> list[LayerError]:
    """Return the bounds on all intermediates of every layer, from the first layer to the last."""
    cell = cell_of(problem.config)
    errors: list[LayerError] = []
    with np.errstate(all="ignore"):
        read = np.zeros((1, 1, 1, 1))
        for index, layer in enumerate(trace.layers):
            if index:
                read = _bound_next_read(problem, trace, index - 1, errors[-1], rounding)
            errors.append(bound_layer(cell, layer, read, trace.alive, rounding))
    return errors


def mask_error(mask: Array, values: Array, error: Array, rounding: Rounding) -> Array:
    """Return a bound on the error of `values * mask`.

    A layer may round p to the dtype and compute 1 / (1 - p) in the dtype. Rounding p costs up to
    1 / (1 - p) roundings, which is the largest value of the mask.
    """
    relative = rounding.factor(4.0 + float(mask.max(initial=0.0)))
    magnitude = np.abs(mask * values)
    return finite(
        (mask * error * (1.0 + relative) + magnitude * relative + rounding.eta) * SLOP,
        magnitude,
        rounding,
    )


def fuzz(rounding: Rounding, gamma: float) -> float:
    """Return the term to add to magnitudes, so that gamma times them covers flushing to zero."""
    return rounding.eta * (1.0 + gamma) / gamma


def finite(error: Array, magnitude: Array, rounding: Rounding) -> Array:
    """Return the error, or inf where values of this magnitude may overflow.

    A value may overflow if `magnitude + error` exceeds the largest number of the dtype or is NaN.
    """
    # A NaN compares as False, and its bound is inf as well.
    return np.where(magnitude + error <= rounding.largest, error, np.inf)


def product(values: Array, weights: Array) -> Array:
    """Multiply (D, T, N, W) values by (D, W, H) weights, to (D, T, N, H)."""
    directions, steps, batch, width = values.shape
    return (values.reshape(directions, steps * batch, width) @ weights).reshape(
        directions, steps, batch, weights.shape[-1]
    )


def _bound_next_read(
    problem: Problem, trace: Trace, layer: int, error: LayerError, rounding: Rounding
) -> Array:
    output = outputs(error.states[:, 1:], trace.alive)
    if layer in problem.masks:
        values = outputs(trace.layers[layer].states[:, 1:], trace.alive)
        output = mask_error(problem.masks[layer], values, output, rounding)
    return to_steps(output, problem.config.num_directions)


@dataclass(frozen=True)
class Sums:
    """How the errors of the terms of a sum add.

    In a proof, they add like magnitudes. If you set `is_usual`, they are independent of each other
    and add like the root of the sum of their squares, which is not proved.
    """

    rounding: Rounding
    is_usual: bool = False

    def add(self, multiply: Multiply, errors: Array, weights: Array) -> Array:
        """Return the errors of products of values, which have these errors, with these weights."""
        if self.is_usual:
            return np.sqrt(multiply(errors**2, weights**2))
        return multiply(errors, weights)

    def round(self, terms: int, squares: Array, total: Array, stores: int = 0) -> Array:
        """Return the usual error of sums of products due to their own roundings.

        If the signs of the products are random, partial sums are as large as the root of the sum of
        their `squares`, and otherwise as large as the sum, which is `total`.
        """
        usual: Array = self.rounding.usual(terms, stores) * (np.sqrt(squares) + np.abs(total))
        return usual


class ProductError:
    """The error of (D, T, N, A) values times (D, A, B) weights, from the error of the values.

    magnitude  (D, T, N, B) the sums of the magnitudes of the products
    """

    def __init__(self, values: Array, weights: Array, sums: Sums) -> None:
        terms, rounding = weights.shape[1], sums.rounding
        gamma = rounding.gamma(terms)
        extra = fuzz(rounding, gamma)
        self.magnitude = product(np.abs(values) + extra, np.abs(weights) + extra)
        own = (
            sums.round(terms, product(values**2, weights**2), product(values, weights))
            if sums.is_usual
            else gamma * self.magnitude
        )
        # Each of the products and each of the additions may underflow by eta.
        self._own = own + 2 * terms * rounding.eta * (1.0 + gamma)
        self._weights = (np.abs(weights) + extra) * (1.0 + gamma)
        self._sums = sums

    def bound(self, step: int, error: Array) -> Array:
        """Return the error (D, N, B) of the product at a step, inf where it may overflow."""
        moved = (self._own[:, step] + self._sums.add(matmul, error, self._weights)) * SLOP
        return finite(moved, self.magnitude[:, step], self._sums.rounding)


def bound_layer(
    cell: Cell,
    layer: LayerTrace,
    read: Array,
    alive: Flags,
    rounding: Rounding,
    seen: Array | None = None,
    *,
    is_usual: bool = False,
) -> LayerError:
    """Return bounds on the errors of the values of a layer, from the error of its input.

    The errors of a step add to the errors of the hidden state before it. If `seen` (D, T, N, P) is
    given, it is used instead: each step starts from a hidden state with this error. With
    `is_usual`, assume that sums are as accurate as usual (`estimate_usual_errors`), which is not
    proved.
    """
    gamma = rounding.gamma(layer.weights.terms)
    extra = fuzz(rounding, gamma)
    ih, hh = (
        (np.abs(weight) + extra).swapaxes(1, 2) for weight in (layer.weights.ih, layer.weights.hh)
    )
    magnitude = product(np.abs(layer.read) + extra, ih) + product(
        np.abs(layer.states[:, :-1]) + extra, hh
    )
    magnitude += (np.abs(layer.weights.biases) + extra).sum(axis=1)[:, None, None]
    own = estimate_usual_errors(layer, rounding) if is_usual else gamma * magnitude
    # Each product and each addition may underflow by eta.
    own += 2 * layer.weights.terms * rounding.eta * (1.0 + gamma)
    # The input of the first layer is exact.
    own = (own + (1.0 + gamma) * product(read, ih) if read.any() else own) * SLOP
    hh *= (1.0 + gamma) * SLOP
    error = _propagate_error(cell, layer, (read, own, seen), hh, alive, rounding)
    # `all` is over the units: a sample that may overflow in one unit has no bound in any, from that
    # step on. The negation makes NaN count as an overflow.
    beyond = ~(magnitude + error.sums <= rounding.largest).all(axis=-1, keepdims=True) & alive
    if beyond.any():
        _mark_overflow(error, np.logical_or.accumulate(beyond, axis=1))
    return error


def estimate_usual_errors(layer: LayerTrace, rounding: Rounding) -> Array:
    """Return the usual errors of the sums of a layer, as in `Sums.round`."""
    squares = (
        product(layer.read**2, (layer.weights.ih**2).swapaxes(1, 2))
        + product(layer.states[:, :-1] ** 2, (layer.weights.hh**2).swapaxes(1, 2))
        + (layer.weights.biases**2).sum(axis=1)[:, None, None]
    )
    return Sums(rounding).round(layer.weights.terms, squares, layer.sums)


def _propagate_error(
    cell: Cell,
    layer: LayerTrace,
    given: tuple[Array, Array, Array | None],
    hh: Array,
    alive: Flags,
    rounding: Rounding,
) -> LayerError:
    """Return the errors of a layer, from the errors of its input and of its sums, and `seen`."""
    read, sums, seen = given
    bound_step = cell.bound_forward(layer, rounding)
    projection = None
    if layer.weights.hr is not None:
        projection = ProductError(layer.fresh, layer.weights.hr.swapaxes(1, 2), Sums(rounding))
    hidden, *others = [np.zeros_like(states) for states in layer.carried]
    fresh = hidden[:, 1:] if projection is None else np.empty_like(layer.fresh)
    errors: StateArrays = tuple(states[:, 0] for states in (hidden, *others))
    padded = not alive.all()
    for step in range(sums.shape[1]):
        before = errors if seen is None else (seen[:, step], *errors[1:])
        current = sums[:, step]
        # `current` is a view, so this completes the errors of the sums in place.
        current += before[0] @ hh
        after = bound_step(step, current, before)
        if projection is not None:
            fresh[:, step] = after[0]
            after = (projection.bound(step, after[0]), *after[1:])
        errors = keep_if_padded(alive[:, step], after, errors) if padded else after
        hidden[:, step + 1] = errors[0]
        if others:
            for states, error in zip(others, errors[1:], strict=True):
                states[:, step + 1] = error
    return LayerError(read, sums, (hidden, *others), fresh)


def _mark_overflow(error: LayerError, beyond: Flags) -> None:
    # One overflowed unit reaches every unit of its sample at the next step, because 0 * inf is NaN.
    for values in (error.sums, *error.after(), error.states[:, 1:]):
        values[np.broadcast_to(beyond, values.shape)] = np.inf

"""The largest error of a forward pass that rounding can explain, proved step by step.

Two computed trajectories are compared, the judged one (~) and the reference. At every step each obeys the recurrence up to a local
error. So with E a bound of |h~ - h|, A = |W_ih| |x| + |b_ih| + |W_hh| |h| + |b_hh| at the reference, and g the gamma of the judged sum
plus that of the reference:

    |s~ - s| <= D = prop + g (A + prop) + underflow,    prop = |W_hh| E + |W_ih| E_x
    |h~ - h| <= sup_{|d| <= D} |f(s + d) - f(s)| + the errors of evaluating and storing f, on both sides
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rnnspec.oracle.cells import Activation, activation_of
from rnnspec.oracle.problem import Array, Bound, Flags, LayerTrace, Problem, Trace
from rnnspec.oracle.rounding import REFERENCE_K, REFERENCE_U, SLOP, Rounding
from rnnspec.oracle.stack import outputs, to_steps


@dataclass(frozen=True)
class LayerError:
    """Bounds of one layer's errors, in step order, shaped as the fields of LayerTrace."""

    read: Array
    sums: Array
    states: Array


def compute_bound(problem: Problem, trace: Trace, rounding: Rounding) -> Bound:
    """The allowance for output and h_n, covering the error of the judged layer and that of the reference.

    inf, never NaN, where a value is not finite or an intermediate may exceed the dtype's largest number.
    """
    errors = forward_errors(problem, trace, rounding)
    return Bound(
        outputs(errors[-1].states[:, 1:], trace.alive),
        np.concatenate([error.states[:, -1] for error in errors]),
    )


def forward_errors(problem: Problem, trace: Trace, rounding: Rounding) -> list[LayerError]:
    """The bound of every intermediate of every layer, from the input up."""
    activation = activation_of(problem.config)
    errors: list[LayerError] = []
    with np.errstate(all="ignore"):
        read = np.zeros((1, 1, 1, 1))
        for index, layer in enumerate(trace.layers):
            if index:
                read = _next_read(problem, trace, index - 1, errors[-1], rounding)
            errors.append(_layer_error(activation, layer, read, trace.alive, rounding))
    return errors


def mask_error(mask: Array, values: Array, error: Array, rounding: Rounding) -> Array:
    """Error of values * mask, 1 / (1 - p) being computed in the dtype: from p in it too, which costs 1 / (1 - p) roundings."""
    relative = rounding.factor(4.0 + float(mask.max(initial=0.0)))
    magnitude = np.abs(mask * values)
    return finite(
        (mask * error * (1.0 + relative) + magnitude * relative + rounding.eta) * SLOP,
        magnitude,
        rounding,
    )


def fuzz(rounding: Rounding, gamma: float) -> float:
    """What to add to magnitudes so that gamma times them covers operands that are flushed to zero."""
    return rounding.eta * (1.0 + gamma) / gamma


def finite(error: Array, magnitude: Array, rounding: Rounding) -> Array:
    """The error of a value of this magnitude, inf where the value may exceed the dtype's largest number or is NaN."""
    return np.where(magnitude + error <= rounding.largest, error, np.inf)


def product(values: Array, weights: Array) -> Array:
    """(D, T, N, W) times (D, W, H): (D, T, N, H)."""
    directions, steps, batch, width = values.shape
    return (values.reshape(directions, steps * batch, width) @ weights).reshape(
        directions, steps, batch, weights.shape[-1]
    )


def _next_read(
    problem: Problem, trace: Trace, layer: int, error: LayerError, rounding: Rounding
) -> Array:
    output = outputs(error.states[:, 1:], trace.alive)
    if layer in problem.masks:
        values = outputs(trace.layers[layer].states[:, 1:], trace.alive)
        output = mask_error(problem.masks[layer], values, output, rounding)
    return to_steps(output, problem.config.num_directions)


def _layer_error(
    activation: Activation, layer: LayerTrace, read: Array, alive: Flags, rounding: Rounding
) -> LayerError:
    gamma = rounding.gamma(layer.weights.terms)
    extra = fuzz(rounding, gamma)
    ih, hh = (
        (np.abs(weight) + extra).swapaxes(1, 2) for weight in (layer.weights.ih, layer.weights.hh)
    )
    magnitude = product(np.abs(layer.read) + extra, ih) + product(
        np.abs(layer.states[:, :-1]) + extra, hh
    )
    magnitude += (np.abs(layer.weights.biases) + extra).sum(axis=1)[:, None, None]
    own = gamma * magnitude + 2 * layer.weights.terms * rounding.eta * (1.0 + gamma)
    own = (own + (1.0 + gamma) * product(read, ih) if read.any() else own) * SLOP
    sums, states = _propagate(activation, layer, own, hh * ((1.0 + gamma) * SLOP), alive, rounding)
    beyond = ~(magnitude + sums <= rounding.largest).all(axis=-1, keepdims=True) & alive
    if beyond.any():
        _forget(sums, states, np.logical_or.accumulate(beyond, axis=1))
    return LayerError(read, sums, states)


def _propagate(
    activation: Activation,
    layer: LayerTrace,
    own: Array,
    hh: Array,
    alive: Flags,
    rounding: Rounding,
) -> tuple[Array, Array]:
    relative, absolute = activation.errors(rounding)
    value, folded = np.abs(layer.states[:, 1:]), activation.fold(layer.sums)
    floor = ((relative + REFERENCE_K * REFERENCE_U) * value + (absolute + rounding.eta)) * SLOP
    growth = (1.0 + relative) * SLOP
    states = np.zeros_like(layer.states)
    error, padded = states[:, 0], not alive.all()
    for step in range(own.shape[1]):
        own[:, step] += error @ hh
        fresh = (
            activation.spread(folded[:, step], value[:, step], own[:, step]) * growth
            + floor[:, step]
        )
        states[:, step + 1] = error = np.where(alive[:, step], fresh, error) if padded else fresh
    return own, states


def _forget(sums: Array, states: Array, beyond: Flags) -> None:
    # One overflowed unit reaches every unit of its sample at the next step: 0 * inf is NaN.
    sums[np.broadcast_to(beyond, sums.shape)] = np.inf
    states[:, 1:][np.broadcast_to(beyond, sums.shape)] = np.inf

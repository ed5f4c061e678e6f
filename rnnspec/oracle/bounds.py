"""The largest error of a forward pass that rounding can explain, proved step by step.

The proof compares two computed trajectories: that of the layer under test (marked ~) and that of
the reference. At every time step, each follows the recurrence h = f(s) up to a local error. Let E
bound |h~ - h| and E_x bound |x~ - x|. Let A = |W_ih| |x| + |b_ih| + |W_hh| |h| + |b_hh| at the
reference. Let g be the gamma of the tested layer's sum plus that of the reference's sum. Then

    |s~ - s| <= D = prop + g (A + prop) + underflow,    prop = |W_hh| E + |W_ih| E_x
    |h~ - h| <= sup_{|d| <= D} |f(s + d) - f(s)| + errors of evaluating and storing f (both sides)
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
    """Bounds on the errors of one layer, in step order, shaped as the fields of LayerTrace."""

    read: Array
    sums: Array
    states: Array


def compute_bound(problem: Problem, trace: Trace, rounding: Rounding) -> Bound:
    """Return the bound on the errors of `output` and `h_n`, element by element.

    It covers the errors of the layer under test and of the reference. It is inf, never NaN, where a
    value is not finite or an intermediate may exceed the largest number of the dtype.
    """
    errors = forward_errors(problem, trace, rounding)
    return Bound(
        outputs(errors[-1].states[:, 1:], trace.alive),
        np.concatenate([error.states[:, -1] for error in errors]),
    )


def forward_errors(problem: Problem, trace: Trace, rounding: Rounding) -> list[LayerError]:
    """Return the bounds on all intermediates of every layer, from the first layer to the last."""
    activation = activation_of(problem.config)
    errors: list[LayerError] = []
    with np.errstate(all="ignore"):
        read = np.zeros((1, 1, 1, 1))
        for index, layer in enumerate(trace.layers):
            if index:
                read = _bound_next_read(problem, trace, index - 1, errors[-1], rounding)
            errors.append(_bound_layer(activation, layer, read, trace.alive, rounding))
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
    """Return what to add to magnitudes, so that gamma times them covers flushing to zero."""
    return rounding.eta * (1.0 + gamma) / gamma


def finite(error: Array, magnitude: Array, rounding: Rounding) -> Array:
    """Return the error, but inf where values of this magnitude may overflow.

    A value may overflow if `magnitude + error` exceeds the largest number of the dtype or is NaN.
    """
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


def _bound_layer(
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
    sums, states = _propagate_error(
        activation, layer, own, hh * ((1.0 + gamma) * SLOP), alive, rounding
    )
    beyond = ~(magnitude + sums <= rounding.largest).all(axis=-1, keepdims=True) & alive
    if beyond.any():
        _mark_overflow(sums, states, np.logical_or.accumulate(beyond, axis=1))
    return LayerError(read, sums, states)


def _propagate_error(
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


def _mark_overflow(sums: Array, states: Array, beyond: Flags) -> None:
    # One overflowed unit reaches every unit of its sample at the next step, because 0 * inf is NaN.
    sums[np.broadcast_to(beyond, sums.shape)] = np.inf
    states[:, 1:][np.broadcast_to(beyond, sums.shape)] = np.inf

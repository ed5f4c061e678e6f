"""The largest error of a gradient that rounding can explain, proved like that of the forward pass.

Let G bound the error of dL/dh, S the error of dL/ds, and F the error of the slope f', which the
layer under test evaluates at its own, perturbed values. Let M be the sum of the magnitudes of the
terms that are added, g the gamma of that sum, and m the gamma of one product. Then, backwards in
time,

    G_t = prop + g (M + prop) + underflow,     prop = |W_hh|^T S_{t+1} + G_received
    S_t = (G_t (f' + F) + |dL/dh| F) (1 + m) + m |dL/dh| f' + underflow

The gradient of a parameter sums products over steps and batch. Its error is the sum of
|dL/ds| E_x + S (|x| + E_x), plus rounding with the gamma of the number of terms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rnnspec.oracle.backward import LayerAdjoint, gathered, layer_adjoints, named, outer
from rnnspec.oracle.bounds import LayerError, finite, forward_errors, fuzz, mask_error, product
from rnnspec.oracle.cells import activation_of
from rnnspec.oracle.problem import Array, Flags, LayerTrace, Problem, Trace
from rnnspec.oracle.rounding import SLOP, Rounding
from rnnspec.oracle.stack import split


@dataclass(frozen=True)
class AdjointError:
    """Bounds on the errors of one layer's adjoint, shaped as the fields of LayerAdjoint."""

    sums: Array
    first: Array
    read: Array


@dataclass(frozen=True)
class _Layer:
    """One layer with everything on which the error of its adjoint depends."""

    problem: Problem
    trace: LayerTrace
    adjoint: LayerAdjoint
    error: LayerError
    alive: Flags
    rounding: Rounding


def compute_gradient_bound(
    problem: Problem, trace: Trace, d_output: Array, d_h_n: Array, rounding: Rounding
) -> dict[str, Array]:
    """Return the bound on the error of every gradient, by the names of `compute_gradients`.

    It covers the errors of the layer under test and of the reference. It is inf, never NaN, where a
    value is not finite or may overflow. It is zero for the gradient of the input at padding, and
    positive everywhere else. If rounding can move the argument of relu across 0, the slope counts
    as unknown.
    """
    forward = forward_errors(problem, trace, rounding)
    adjoints = layer_adjoints(problem, trace, d_output, d_h_n)
    found: dict[str, Array] = {}
    first: list[Array] = []
    received = np.zeros_like(d_output)
    with np.errstate(all="ignore"):
        for index in reversed(range(len(trace.layers))):
            layer = _Layer(
                problem, trace.layers[index], adjoints[index], forward[index], trace.alive, rounding
            )
            last = d_h_n[index * len(trace.alive) : (index + 1) * len(trace.alive)]
            error = _bound_adjoint(layer, split(received, len(trace.alive)), last)
            found.update(_bound_parameters(layer, index, error))
            first.append(error.first)
            received = _bound_through_mask(
                problem, index - 1, adjoints[index].read, error.read, rounding
            )
    return {
        "input": np.where(trace.alive[0], received, 0.0),
        "h_0": np.concatenate(first[::-1]),
        **found,
    }


def _bound_through_mask(
    problem: Problem, layer: int, values: Array, error: Array, rounding: Rounding
) -> Array:
    return (
        mask_error(problem.masks[layer], values, error, rounding)
        if layer in problem.masks
        else error
    )


def _bound_adjoint(layer: _Layer, received: Array, last: Array) -> AdjointError:
    rounding, weights = layer.rounding, layer.trace.weights
    terms = weights.hh.shape[1] + 2
    gamma = rounding.gamma(terms)
    hh = np.abs(weights.hh) + fuzz(rounding, gamma)
    sent = product(np.abs(layer.adjoint.sums), hh)
    magnitude = np.abs(layer.adjoint.outputs) + _compute_carried_magnitude(
        sent, np.abs(last), layer.alive
    )
    own = (
        gamma * magnitude + 2 * terms * rounding.eta * (1.0 + gamma) + (1.0 + gamma) * received
    ) * SLOP
    states, sums, first = _propagate_error(layer, own, hh, 1.0 + gamma)
    beyond = (
        ~(magnitude + states + np.abs(layer.adjoint.sums) + sums <= rounding.largest).all(
            axis=-1, keepdims=True
        )
        & layer.alive
    )
    reached = np.logical_or.accumulate(beyond[:, ::-1], axis=1)[:, ::-1]
    sums = np.where(reached, np.inf, sums)
    begin = layer.alive.argmax(axis=1)[:, None]
    lowest = np.take_along_axis(sent, begin, axis=1)[:, 0]
    first = (first * (1.0 + gamma) + gamma * lowest + 2 * terms * rounding.eta) * SLOP
    return AdjointError(
        sums,
        finite(np.where(reached[:, 0], np.inf, first), lowest, rounding),
        _bound_read(layer, sums),
    )


def _propagate_error(
    layer: _Layer, own: Array, hh: Array, growth: float
) -> tuple[Array, Array, Array]:
    gain, local = _bound_slope(layer)
    states, sums = own, np.empty_like(own)
    carried, padded = np.zeros_like(own[:, 0]), not layer.alive.all()
    for step in reversed(range(own.shape[1])):
        states[:, step] += carried * growth
        sums[:, step] = fresh = states[:, step] * gain[:, step] + local[:, step]
        below = (fresh @ hh) * SLOP
        carried = np.where(layer.alive[:, step], below, carried) if padded else below
    return states, sums, carried


def _bound_slope(layer: _Layer) -> tuple[Array, Array]:
    """Return gain and local, so that S = G * gain + local; both are zero at padding."""
    activation, rounding = activation_of(layer.problem.config), layer.rounding
    value, error = layer.trace.states[:, 1:], layer.error.states[:, 1:]
    unsure = activation.unsure(layer.trace.sums, value, error, layer.error.sums, rounding.u_st)
    unsure = np.where(error < np.inf, unsure, np.inf)
    slope, product = activation.slope(value), rounding.factor(2)
    gain = (slope + unsure) * ((1.0 + product) * SLOP)
    local = (
        np.abs(layer.adjoint.states) * (unsure + product * (slope + unsure)) + rounding.eta
    ) * SLOP
    return np.where(layer.alive, gain, 0.0), np.where(layer.alive, local, 0.0)


def _compute_carried_magnitude(sent: Array, last: Array, alive: Flags) -> Array:
    """Return the magnitude of what the state of each step receives from the next one or h_n."""
    after = np.where(alive[:, 1:], sent[:, 1:], last[:, None])
    return np.concatenate((after, last[:, None]), axis=1)


def _bound_read(layer: _Layer, sums: Array) -> Array:
    rounding, weights = layer.rounding, layer.trace.weights
    terms = weights.ih.shape[0] * weights.ih.shape[1]
    gamma = rounding.gamma(terms)
    ih = np.abs(weights.ih) + fuzz(rounding, gamma)
    magnitude = gathered(np.abs(layer.adjoint.sums), ih)
    error = (
        (1.0 + gamma) * gathered(sums, ih) + gamma * magnitude + 2 * terms * rounding.eta
    ) * SLOP
    return finite(error, magnitude, rounding)


def _bound_parameters(layer: _Layer, index: int, error: AdjointError) -> dict[str, Array]:
    rounding, sums = layer.rounding, np.abs(layer.adjoint.sums)
    steps = layer.alive.shape[1]
    terms = int(layer.alive[0].sum())
    # A layer that loops over steps stores the gradient in the dtype after each step's contribution.
    gamma = rounding.gamma(terms, stores=steps if rounding.u_st > rounding.u_acc else 0)
    underflow = 2 * terms * rounding.eta * (1.0 + gamma)

    def bound_sum(values: Array, errors: Array) -> Array:
        exact = np.abs(values) + fuzz(rounding, gamma)
        magnitude = outer(sums, exact)
        moved = outer(error.sums, exact + errors) + outer(sums, errors)
        return finite(
            ((1.0 + gamma) * moved + gamma * magnitude + underflow) * (SLOP + terms * 2.0**-52),
            magnitude,
            rounding,
        )

    read = np.broadcast_to(layer.error.read, layer.trace.read.shape)
    ones = np.ones((*sums.shape[:-1], 1))
    bias = bound_sum(ones, np.zeros_like(ones))[..., 0]
    states = np.where(layer.alive, layer.error.states[:, :-1], 0.0)
    return named(
        layer.problem,
        index,
        bound_sum(layer.trace.read, read),
        bound_sum(layer.trace.states[:, :-1], states),
        bias,
    )

"""The largest error of a gradient that rounding can explain, proved as for the forward pass.

Let G bound the error of dL/dh, S the error of dL/ds, and F the error of the slope f', which the
layer under test evaluates at its own, perturbed values. Let M be the sum of the magnitudes of the
terms that are added, g the gamma of that sum, and m the gamma of a single product. Then, backwards
in time,

    G_t = prop + g (M + prop) + underflow,     prop = |W_hh|^T S_{t+1} + G_received
    S_t = (G_t (f' + F) + |dL/dh| F) (1 + m) + m |dL/dh| f' + underflow

The last line is for an RNN. In general, the cell bounds the errors after the backward pass of a
step, from the errors of the gradients that the step receives.

The gradient of a parameter sums products over steps and batch. Its error is the sum of
dL/ds| E_x + S (|x| + E_x), plus rounding with the gamma of the number of terms.

Through |W_hh|^T the bound grows with every step, also if known hidden states are used
(`rnnspec.oracle.certificates`): with 256 units, by a factor of about 8. The usual error does not
grow in this way, because independent errors add like the root of the sum of their squares (`Sums`).
The sum of the squares of a new layer's weights is 1/3 in each row.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import matmul

import numpy as np

from rnnspec.oracle.backward import (
    Cotangents,
    gathered,
    get_output_cotangent,
    layer_adjoints,
    name_initial,
    named,
    outer,
)
from rnnspec.oracle.bounds import (
    ProductError,
    Sums,
    finite,
    forward_errors,
    fuzz,
    mask_error,
    product,
)
from rnnspec.oracle.catalogue import cell_of
from rnnspec.oracle.layers import Array, Flags, LayerAdjoint, LayerError, LayerTrace, StateArrays
from rnnspec.oracle.problem import Problem, Trace
from rnnspec.oracle.rounding import SLOP, Rounding
from rnnspec.oracle.stack import keep_if_padded, rows_of_layer, split


@dataclass(frozen=True)
class AdjointError:
    """Bounds on the errors of a layer's adjoint, with the shapes of the fields of LayerAdjoint."""

    states: Array
    sums: Array
    first: StateArrays
    read: Array


@dataclass(frozen=True)
class _Layer:
    """A layer with everything that the error of its adjoint depends on."""

    problem: Problem
    trace: LayerTrace
    adjoint: LayerAdjoint
    error: LayerError
    alive: Flags
    sums: Sums

    @property
    def rounding(self) -> Rounding:
        """The rounding of the layer under test."""
        return self.sums.rounding


def compute_gradient_bound(
    problem: Problem, trace: Trace, cotangents: Cotangents, rounding: Rounding
) -> dict[str, Array]:
    """Return the bound on the error of every gradient, by the names of `compute_gradients`.

    It covers the errors of the layer under test and of the reference. It is inf, never NaN, where a
    value is not finite or may overflow. It is zero for the gradient of the input at padding, and
    positive everywhere else. If rounding can move the argument of relu across 0, the slope counts
    as unknown.
    """
    forward = forward_errors(problem, trace, rounding)
    return propagate_backward(problem, trace, cotangents, forward, Sums(rounding))


def propagate_backward(
    problem: Problem, trace: Trace, cotangents: Cotangents, forward: list[LayerError], sums: Sums
) -> dict[str, Array]:
    """Return the errors of all gradients, from the errors of the values of the forward pass."""
    adjoints = layer_adjoints(problem, trace, cotangents)
    found: dict[str, Array] = {}
    first: list[StateArrays] = []
    received = np.zeros_like(get_output_cotangent(trace, cotangents))
    names = problem.config.kind_data.final
    with np.errstate(all="ignore"):
        for index in reversed(range(len(trace.layers))):
            layer = _Layer(
                problem, trace.layers[index], adjoints[index], forward[index], trace.alive, sums
            )
            last = rows_of_layer(problem, cotangents, names, index)
            error = _bound_adjoint(layer, split(received, len(trace.alive)), last[0])
            found.update(_bound_parameters(layer, index, error))
            first.append(error.first)
            received = _bound_through_mask(
                problem, index - 1, adjoints[index].read, error.read, sums.rounding
            )
    return {
        "input": np.where(trace.alive[0], received, 0.0),
        **name_initial(problem, first[::-1]),
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
    rounding, weights, adjoint = layer.rounding, layer.trace.weights, layer.adjoint
    # The terms are the products with W_hh, the cotangents of the output and of h_n, and, if there
    # is a direct path such as z dh in a GRU, its gradient.
    terms = weights.hh.shape[1] + (2 if adjoint.direct is None else 3)
    gamma = rounding.gamma(terms, stores=_count_partial_sums(layer))
    hh = np.abs(weights.hh) + fuzz(rounding, gamma)
    sent = product(np.abs(adjoint.sums), hh)
    if adjoint.direct is not None:
        sent += np.abs(adjoint.direct)
    magnitude = np.abs(adjoint.outputs) + _compute_carried_magnitude(
        sent, np.abs(last), layer.alive
    )
    rounded, lowest = gamma * magnitude, gamma * _get_first_step(sent, layer.alive)
    if layer.sums.is_usual:
        rounded, lowest = _estimate_usual_errors(layer, last, terms)
    own = (rounded + 2 * terms * rounding.eta * (1.0 + gamma) + (1.0 + gamma) * received) * SLOP
    states, sums, first = _propagate_error(layer, own, hh, 1.0 + gamma)
    within = (magnitude + states <= rounding.largest).all(axis=-1, keepdims=True)
    within &= (np.abs(adjoint.sums) + sums <= rounding.largest).all(axis=-1, keepdims=True)
    # An overflow reaches every earlier step of its sample.
    beyond = ~within & layer.alive
    reached = np.logical_or.accumulate(beyond[:, ::-1], axis=1)[:, ::-1]
    if beyond.any():
        states, sums = (np.where(reached, np.inf, each) for each in (states, sums))
    state = (first[0] * (1.0 + gamma) + lowest + 2 * terms * rounding.eta) * SLOP
    state = finite(
        np.where(reached[:, 0], np.inf, state), _get_first_step(sent, layer.alive), rounding
    )
    others = (np.where(reached[:, 0], np.inf, each) for each in first[1:])
    return AdjointError(states, sums, (state, *others), _bound_read(layer, sums))


def _get_first_step(values: Array, alive: Flags) -> Array:
    """Return the values (D, N, B) of each sequence's first step in step order."""
    begin = alive.argmax(axis=1)[:, None]
    return np.take_along_axis(values, begin, axis=1)[:, 0]


def _estimate_usual_errors(layer: _Layer, last: Array, terms: int) -> tuple[Array, Array]:
    """Return the usual errors of the gradients of all hidden states, and of the initial state."""
    adjoint = layer.adjoint
    squares = product(adjoint.sums**2, layer.trace.weights.hh**2)
    if adjoint.direct is not None:
        squares += adjoint.direct**2
    stores = _count_partial_sums(layer)
    carried = _compute_carried_magnitude(squares, last**2, layer.alive)
    lowest = _get_first_step(squares, layer.alive)
    return (
        layer.sums.round(terms, adjoint.outputs**2 + carried, adjoint.states, stores),
        layer.sums.round(terms, lowest, adjoint.first[0], stores),
    )


def _count_partial_sums(layer: _Layer) -> int:
    """Return how often a layer may store the sum over all gates while it adds gate by gate."""
    return cell_of(layer.problem.config).blocks - 1


def _propagate_error(
    layer: _Layer, own: Array, hh: Array, growth: float
) -> tuple[Array, Array, StateArrays]:
    """Return the errors of the adjoint of the hidden states, the sums and the initial states."""
    cell = cell_of(layer.problem.config)
    bound_step = cell.bound_backward(layer.trace, layer.adjoint, layer.error, layer.rounding)
    projection = None
    if layer.trace.weights.hr is not None:
        projection = ProductError(layer.adjoint.states, layer.trace.weights.hr, layer.sums)
    states, sums = own, np.empty_like(layer.adjoint.sums)
    carried: StateArrays = tuple(np.zeros_like(first) for first in layer.adjoint.first)
    padded = not layer.alive.all()
    for step in reversed(range(own.shape[1])):
        alive = layer.alive[:, step]
        received = states[:, step]
        received += carried[0] * growth
        if projection is not None:
            received = projection.bound(step, received)
        fresh, direct, others = bound_step(step, (received, *carried[1:]))
        sums[:, step] = fresh = np.where(alive, fresh, 0.0) if padded else fresh
        below = layer.sums.add(matmul, fresh, hh) * SLOP
        if direct is not None:
            below = below + direct
        passed = (below, *others)
        carried = keep_if_padded(alive, passed, carried) if padded else passed
    return states, sums, carried


def _compute_carried_magnitude(sent: Array, last: Array, alive: Flags) -> Array:
    """Return the magnitude of the gradient that each state receives from the next step or h_n."""
    after = np.where(alive[:, 1:], sent[:, 1:], last[:, None])
    return np.concatenate((after, last[:, None]), axis=1)


def _bound_read(layer: _Layer, sums: Array) -> Array:
    rounding, weights = layer.rounding, layer.trace.weights
    terms = weights.ih.shape[0] * weights.ih.shape[1]
    gamma = rounding.gamma(terms, stores=_count_partial_sums(layer))
    ih = np.abs(weights.ih) + fuzz(rounding, gamma)
    magnitude = gathered(np.abs(layer.adjoint.sums), ih)
    rounded = gamma * magnitude
    if layer.sums.is_usual:
        squares = gathered(layer.adjoint.sums**2, weights.ih**2)
        stores = _count_partial_sums(layer)
        rounded = layer.sums.round(terms, squares, layer.adjoint.read, stores)
    moved = layer.sums.add(gathered, sums, ih)
    error = ((1.0 + gamma) * moved + rounded + 2 * terms * rounding.eta) * SLOP
    return finite(error, magnitude, rounding)


def _bound_parameters(layer: _Layer, index: int, error: AdjointError) -> dict[str, Array]:
    rounding, sums = layer.rounding, layer.adjoint.sums
    steps = layer.alive.shape[1]
    terms = int(layer.alive[0].sum())
    # A layer that loops over steps stores the gradient in the dtype after each step's contribution.
    stores = steps if rounding.u_st > rounding.u_acc else 0
    gamma = rounding.gamma(terms, stores)
    underflow = 2 * terms * rounding.eta * (1.0 + gamma)

    def bound_sum(left: Array, left_error: Array, right: Array, right_error: Array) -> Array:
        exact = np.abs(right) + fuzz(rounding, gamma)
        magnitude = outer(np.abs(left), exact)
        rounded = gamma * magnitude
        if layer.sums.is_usual:
            squares = outer(left**2, right**2)
            rounded = layer.sums.round(terms, squares, outer(left, right), stores)
        moved = layer.sums.add(outer, left_error, exact + right_error) + layer.sums.add(
            outer, np.abs(left), right_error
        )
        # SLOP alone covers sums of up to 8000 terms, and a batch of long sequences has more.
        return finite(
            ((1.0 + gamma) * moved + rounded + underflow) * (SLOP + terms * 2.0**-52),
            magnitude,
            rounding,
        )

    read = np.broadcast_to(layer.error.read, layer.trace.read.shape)
    ones = np.ones((*sums.shape[:-1], 1))
    before = np.where(layer.alive, layer.error.states[:, :-1], 0.0)
    return named(
        layer.problem,
        index,
        bound_sum(sums, error.sums, layer.trace.read, read),
        bound_sum(sums, error.sums, layer.trace.states[:, :-1], before),
        bound_sum(sums, error.sums, ones, np.zeros_like(ones))[..., 0],
        None
        if layer.trace.weights.hr is None
        else bound_sum(
            *(
                np.where(layer.alive, values, 0.0)
                for values in (
                    layer.adjoint.states,
                    error.states,
                    layer.trace.fresh,
                    layer.error.fresh,
                )
            )
        ),
    )

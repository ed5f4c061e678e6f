"""Local certificates: each step of a call, from the states that the layer itself returned.

The bound on a whole trajectory grows with every step, so that at the sizes of real models it
excludes no number: it is 1.4 for an LSTM with 128 features, 256 units and 64 steps, whose states
lie in [-1, 1]. But a layer shows its own states. If a step is computed again using the hidden state
y_(t-1) that the layer returned, no error has accumulated:

    |y_t - f(W x_t + R y_(t-1) + b)| <= e_t

Here e_t is the bound of a single step, which does not grow with the number of steps. The proof is
the proof of `rnnspec.oracle.bounds`, except that E, the error of the hidden state before a step, is
not the error of the step before. It is a single rounding of y_(t-1), since a layer may use a state
that is wider than the returned state, or round it once more.

The cell state of an LSTM is not visible. It is carried on by gates that are computed from visible
hidden states, so its error follows E_c(t) = f E_c(t-1) + local errors. It has no factor |R| in it,
and f < 1. The final cell state is visible, and closes the proof.

In a packed sequence, the first step of each direction starts from the initial state. The states of
a layer below the last are in no output. After a call of a single step, they are visible as rows of
the final states. So a call of a single step is certified as a whole, and a longer call if it has a
single layer.

Gradients belong to the same steps: the backward pass of the reference runs on the visible states,
so only the backward pass itself accumulates errors. Its proved bound still grows with each step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from rnnspec.oracle.backward import Cotangents, compute_gradients
from rnnspec.oracle.bounds import Sums, bound_layer, mask_error, product
from rnnspec.oracle.catalogue import cell_of
from rnnspec.oracle.cells import Cell
from rnnspec.oracle.gradient_bounds import propagate_backward
from rnnspec.oracle.layers import Array, Flags, LayerError, LayerTrace, LayerWeights, StateArrays
from rnnspec.oracle.problem import Bound, Problem, Trace
from rnnspec.oracle.rounding import SLOP, Rounding
from rnnspec.oracle.stack import (
    collect_results,
    find_alive_steps,
    keep_if_padded,
    masked,
    outputs,
    rows_of_layer,
    split,
    stack_weights,
    to_steps,
)


@dataclass(frozen=True)
class Certificate:
    """The required results, given the states that the layer returned before each step.

    results  by name, as in `Trace`
    bound    the largest difference allowed for each
    """

    results: Mapping[str, Array]
    bound: Bound


def name_shown(problem: Problem) -> str | None:
    """Return the name of the result that shows every hidden state of a call, or None."""
    kind = problem.config.kind_data
    if problem.config.num_layers == 1 and not kind.is_cell:
        return "output"
    return kind.final[0] if len(problem.input) == 1 else None


def certify(
    problem: Problem, shown: Array, rounding: Rounding, *, is_usual: bool = False
) -> Certificate:
    """Compute each step from the hidden state that the layer itself returned before it.

    `shown` is the result of the layer that `name_shown` names. The bound covers the errors of the
    layer under test and of this computation. It is inf, never NaN, where a value is not finite or
    an intermediate may exceed the largest number of the dtype. If you set `is_usual`, it is the
    bound that accurate sums do not exceed, though no proof excludes that correct sums do.
    """
    steps = _retrace(problem, shown, rounding, is_usual=is_usual)
    alive = steps[0].alive
    required = [(step.after, *step.layer.carried[1:]) for step in steps]
    return Certificate(
        collect_results(problem, required, alive),
        Bound(collect_results(problem, [step.error.carried for step in steps], alive)),
    )


def certify_gradients(
    problem: Problem,
    shown: Array,
    cotangents: Cotangents,
    rounding: Rounding,
    *,
    is_usual: bool = False,
) -> Certificate:
    """Compute all gradients using the hidden states that the layer itself returned.

    The arguments are the same as in `certify`, and the names the same as in `compute_gradients`.
    """
    steps = _retrace(problem, shown, rounding, is_usual=is_usual)
    alive = steps[0].alive
    results = collect_results(problem, [step.layer.carried for step in steps], alive)
    trace = Trace(results, tuple(step.layer for step in steps), alive)
    # A step starts from the returned state, so its error is the error of that state, not of the
    # step before.
    errors = [replace(step.error, carried=(step.seen, *step.error.carried[1:])) for step in steps]
    bound = propagate_backward(problem, trace, cotangents, errors, Sums(rounding, is_usual))
    return Certificate(
        compute_gradients(problem, trace, cotangents),
        # An infinite error times 0 is NaN, which means that there is no bound as well.
        Bound({name: np.where(np.isnan(each), np.inf, each) for name, each in bound.items()}),
    )


@dataclass(frozen=True)
class _Steps:
    """The steps of a layer, each from the hidden state that the layer returned before it.

    layer  the values of the layer; its hidden states are the returned states
    after  (D, T + 1, N, P) the initial hidden state, and the result of each step
    seen   (D, T + 1, N, P) the largest difference between the returned states and the states that
           which the layer continued
    error  the bounds on the errors of `after`, and of everything else in `layer`
    alive  (D, T, N, 1) as in `Trace`
    """

    layer: LayerTrace
    after: Array
    seen: Array
    error: LayerError
    alive: Flags


def _retrace(problem: Problem, shown: Array, rounding: Rounding, *, is_usual: bool) -> list[_Steps]:
    """Return the steps of each layer, from the first layer to the last."""
    config = problem.config
    cell, kind = cell_of(config), config.kind_data
    alive = find_alive_steps(problem)
    found: list[_Steps] = []
    with np.errstate(all="ignore"):
        read = problem.input if alive.all() else np.where(alive[0], problem.input, 0.0)
        read_error = np.zeros((1, 1, 1, 1))
        for index in range(config.num_layers):
            weights = stack_weights(problem, cell, index)
            first = rows_of_layer(problem, problem.initial, kind.initial, index)
            own = _collect_own_states(problem, shown, first[0], index, alive)
            given = to_steps(read, config.num_directions)
            layer, after = _follow(cell, weights, given, (own, *first[1:]), alive)
            seen = _round_once(own, rounding)
            error = bound_layer(cell, layer, read_error, alive, rounding, seen, is_usual=is_usual)
            found.append(_Steps(layer, after, seen, error, alive))
            values, moved = (outputs(each[:, 1:], alive) for each in (own, seen))
            if index in problem.masks:
                moved = mask_error(problem.masks[index], values, moved, rounding)
            read = masked(problem, index, values)
            read_error = to_steps(moved, config.num_directions)
    return found


def _round_once(states: Array, rounding: Rounding) -> Array:
    """Return the largest difference between a state and the number from which it was rounded.

    If y is h rounded, then |y - h| <= u |h| <= u / (1 - u) |y|.
    """
    unit = rounding.u_st / (1.0 - rounding.u_st)
    return (unit * np.abs(states) + rounding.eta) * SLOP


def _collect_own_states(
    problem: Problem, shown: Array, first: Array, layer: int, alive: Flags
) -> Array:
    """Return the initial hidden state and the state after each step, as the layer returned them.

    The shape is (D, T + 1, N, P), in step order. At padding, the state of the step before is kept.
    """
    directions = problem.config.num_directions
    after = (
        split(shown, directions)
        if name_shown(problem) == "output"
        else shown[layer * directions : (layer + 1) * directions, None]
    )
    return _keep_at_padding(np.concatenate([first[:, None], after], axis=1), alive)


def _keep_at_padding(states: Array, alive: Flags) -> Array:
    if not alive.all():
        for step in range(alive.shape[1]):
            (states[:, step + 1],) = keep_if_padded(
                alive[:, step], (states[:, step + 1],), (states[:, step],)
            )
    return states


def _follow(
    cell: Cell, weights: LayerWeights, read: Array, states: StateArrays, alive: Flags
) -> tuple[LayerTrace, Array]:
    """Return the values of a layer in which each step starts from the given hidden state.

    `states` contains the hidden states (D, T + 1, N, P), and the other states before the first
    step. The second result contains the hidden states computed by the steps, in the same form.
    """
    own, *others = states
    before = own[:, :-1]
    directions, steps, batch, _ = read.shape
    # All hidden states are known, so the sums of all steps are a single product.
    sums = (
        _multiply(read, weights.ih)
        + _multiply(before, weights.hh)
        + weights.biases.sum(axis=1)[:, None, None]
    )
    units = weights.ih.shape[1] // cell.blocks
    fresh = np.empty((directions, steps, batch, units))
    carried = [np.empty((directions, steps + 1, *each.shape[1:])) for each in others]
    for values, value in zip(carried, others, strict=True):
        values[:, 0] = value
    padded = not alive.all()
    for step in range(steps):
        earlier = tuple(each[:, step] for each in carried)
        state, *others = cell.advance(sums[:, step], (before[:, step], *earlier))
        fresh[:, step] = state
        kept = keep_if_padded(alive[:, step], tuple(others), earlier) if padded else others
        for values, value in zip(carried, kept, strict=True):
            values[:, step + 1] = value
    after = fresh if weights.hr is None else _multiply(fresh, weights.hr)
    shown = _keep_at_padding(np.concatenate([own[:, :1], after], axis=1), alive)
    return LayerTrace(read, sums, (own, *carried), fresh, weights), shown


def _multiply(values: Array, weights: Array) -> Array:
    """Multiply (D, T, N, A) values by (D, B, A) weights, to (D, T, N, B)."""
    return product(values, weights.swapaxes(1, 2))

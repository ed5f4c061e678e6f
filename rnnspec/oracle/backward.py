"""The gradients of the reference, by backpropagation through time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rnnspec.contract.shapes import name_place
from rnnspec.oracle.catalogue import cell_of
from rnnspec.oracle.layers import Array, Flags, LayerAdjoint, LayerTrace, StateArrays
from rnnspec.oracle.problem import Problem, Trace
from rnnspec.oracle.stack import keep_if_padded, masked, rows_of_layer, split

Cotangents = Mapping[str, Array]
"""The factor of each result in the loss, by the names of `Trace.results`."""


def compute_gradients(problem: Problem, trace: Trace, cotangents: Cotangents) -> dict[str, Array]:
    """Return the gradients of the sum of all <cotangents[name], results[name]>, by name.

    The names are "input", and the names of the initial states and of the parameters. The cotangents
    have the shapes of the results; the cotangent of the output is not read at padding. The slope of
    relu at 0 is 0.
    """
    adjoints = layer_adjoints(problem, trace, cotangents)
    found = {
        "input": adjoints[0].read,
        **name_initial(problem, [adjoint.first for adjoint in adjoints]),
    }
    with np.errstate(all="ignore"):
        for index, (layer, adjoint) in enumerate(zip(trace.layers, adjoints, strict=True)):
            products = (
                outer(adjoint.sums, layer.read),
                outer(adjoint.sums, layer.states[:, :-1]),
                adjoint.sums.sum(axis=(1, 2)),
            )
            # At padding, adjoint.states holds the gradient of h_n on its way to the last step. The
            # weights do not receive it.
            projection = (
                None
                if layer.weights.hr is None
                else outer(np.where(trace.alive, adjoint.states, 0.0), layer.fresh)
            )
            found.update(named(problem, index, *products, projection))
    return found


def layer_adjoints(problem: Problem, trace: Trace, cotangents: Cotangents) -> list[LayerAdjoint]:
    """Return the adjoints of every layer, from the first layer to the last."""
    directions, names = problem.config.num_directions, problem.config.kind_data.final
    adjoints: list[LayerAdjoint] = []
    received = get_output_cotangent(trace, cotangents)
    with np.errstate(all="ignore"):
        for index in reversed(range(len(trace.layers))):
            last = rows_of_layer(problem, cotangents, names, index)
            adjoints.append(
                _compute_layer_adjoint(
                    problem, trace.layers[index], split(received, directions), last, trace.alive
                )
            )
            received = masked(problem, index - 1, adjoints[-1].read)
    return adjoints[::-1]


def get_output_cotangent(trace: Trace, cotangents: Cotangents) -> Array:
    """Return the cotangent of the output, or zeros for a cell, which has no output."""
    if "output" in cotangents:
        return cotangents["output"]
    return np.zeros_like(trace.layers[-1].states[0, 1:])


def name_initial(problem: Problem, first: list[StateArrays]) -> dict[str, Array]:
    """Return values for the initial states of every layer, by the names of the states."""
    pairs = zip(problem.config.kind_data.initial, zip(*first, strict=True), strict=True)
    return {name: np.concatenate(layers) for name, layers in pairs}


def named(
    problem: Problem, layer: int, ih: Array, hh: Array, bias: Array, hr: Array | None
) -> dict[str, Array]:
    """Return values for the parameters of a layer, by the names of the parameters.

    The values are stacked by direction and have a row for each sum, except the values for the
    projection. Both biases of a sum have the same value.
    """
    cell, found = cell_of(problem.config), dict[str, Array]()
    for direction in range(len(ih)):
        place = name_place(problem.config, layer, direction)
        found[f"weight_ih{place}"] = cell.select_input_rows(ih[direction])
        found[f"weight_hh{place}"] = cell.select_hidden_rows(hh[direction])
        if problem.config.bias:
            found[f"bias_ih{place}"] = cell.select_input_rows(bias[direction])
            found[f"bias_hh{place}"] = cell.select_hidden_rows(bias[direction])
        if hr is not None:
            found[f"weight_hr{place}"] = hr[direction]
    return found


def outer(left: Array, right: Array) -> Array:
    """Multiply (D, T, N, H) by (D, T, N, W) and sum over steps and batch, to (D, H, W)."""
    directions = len(left)
    summed: Array = left.reshape(directions, -1, left.shape[-1]).swapaxes(1, 2) @ right.reshape(
        directions, -1, right.shape[-1]
    )
    return summed


def gathered(sums: Array, weights: Array) -> Array:
    """Return the gradient that both directions send to the layer below through (D, H, W) weights.

    The result has shape (T, N, W) and is in time order.
    """
    directions, steps, batch, hidden = sums.shape
    sent = (sums.reshape(directions, steps * batch, hidden) @ weights).reshape(
        directions, steps, batch, weights.shape[-1]
    )
    # The backward direction is in step order, so reverse it before adding it to the forward
    # direction.
    summed: Array = sent[0] if directions == 1 else sent[0] + sent[1, ::-1]
    return summed


def _compute_layer_adjoint(
    problem: Problem, layer: LayerTrace, outputs: Array, last: StateArrays, alive: Flags
) -> LayerAdjoint:
    step_back, hr = cell_of(problem.config).go_back(layer), layer.weights.hr
    states, sums = np.empty_like(outputs), np.empty_like(layer.sums)
    fresh = states if hr is None else np.empty_like(layer.fresh)
    others = tuple(np.empty_like(layer.fresh) for _ in layer.carried[1:])
    direct: Array | None = None
    # h_n is the state after the last step, so its cotangent enters as if it came from a next step.
    carried, padded = last, not alive.all()
    for step in reversed(range(outputs.shape[1])):
        received = carried[0] + outputs[:, step]
        states[:, step] = received
        if hr is not None:
            fresh[:, step] = received = received @ hr
        if others:
            for values, value in zip(others, carried[1:], strict=True):
                values[:, step] = value
        sent, more, passed = step_back(step, (received, *carried[1:]))
        sums[:, step] = np.where(alive[:, step], sent, 0.0) if padded else sent
        below = sent @ layer.weights.hh
        if more is not None:
            direct = np.empty_like(states) if direct is None else direct
            direct[:, step] = more
            below += more
        passed = (below, *passed)
        carried = keep_if_padded(alive[:, step], passed, carried) if padded else passed
    return LayerAdjoint(
        outputs,
        states,
        (fresh, *others),
        sums,
        direct,
        carried,
        gathered(sums, layer.weights.ih),
    )

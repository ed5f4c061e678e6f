"""The gradients of the reference, by backpropagation through time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rnnspec.oracle.cells import activation_of
from rnnspec.oracle.problem import Array, Flags, LayerTrace, Problem, Trace
from rnnspec.oracle.stack import SUFFIXES, masked, split


@dataclass(frozen=True)
class LayerAdjoint:
    """The gradients with respect to the values of one layer, in step order as in LayerTrace.

    outputs  (D, T, N, H) for the layer's output, received from the layer above
    states   (D, T, N, H) for the hidden state after each step, the sum of all contributions
    sums     (D, T, N, H) for the pre-activation; zero at padding
    first    (D, N, H) for the initial state
    read     (T, N, W) for the layer's input, in time order
    """

    outputs: Array
    states: Array
    sums: Array
    first: Array
    read: Array


def compute_gradients(
    problem: Problem, trace: Trace, d_output: Array, d_h_n: Array
) -> dict[str, Array]:
    """Return the gradients of <d_output, output> + <d_h_n, h_n>, by name.

    The names are "input", "h_0" and those of the parameters. `d_output` has shape (T, N, D * H) and
    is not read at padding. `d_h_n` has shape (D * num_layers, N, H). The slope of relu at 0 is 0.
    """
    adjoints = layer_adjoints(problem, trace, d_output, d_h_n)
    found = {
        "input": adjoints[0].read,
        "h_0": np.concatenate([adjoint.first for adjoint in adjoints]),
    }
    with np.errstate(all="ignore"):
        for index, (layer, adjoint) in enumerate(zip(trace.layers, adjoints, strict=True)):
            products = (
                outer(adjoint.sums, layer.read),
                outer(adjoint.sums, layer.states[:, :-1]),
                adjoint.sums.sum(axis=(1, 2)),
            )
            found.update(named(problem, index, *products))
    return found


def layer_adjoints(
    problem: Problem, trace: Trace, d_output: Array, d_h_n: Array
) -> list[LayerAdjoint]:
    """Return the adjoints of every layer, from the first layer to the last."""
    directions = problem.config.num_directions
    adjoints: list[LayerAdjoint] = []
    received = d_output
    with np.errstate(all="ignore"):
        for index in reversed(range(len(trace.layers))):
            last = d_h_n[index * directions : (index + 1) * directions]
            adjoints.append(
                _compute_layer_adjoint(
                    problem, trace.layers[index], split(received, directions), last, trace.alive
                )
            )
            received = masked(problem, index - 1, adjoints[-1].read)
    return adjoints[::-1]


def named(problem: Problem, layer: int, ih: Array, hh: Array, bias: Array) -> dict[str, Array]:
    """Return values that belong to the parameters of a layer by the names of the parameters.

    The values are stacked by direction. Both biases of a direction have the same value.
    """
    found: dict[str, Array] = {}
    for direction, suffix in enumerate(SUFFIXES[: len(ih)]):
        found[f"weight_ih_l{layer}{suffix}"] = ih[direction]
        found[f"weight_hh_l{layer}{suffix}"] = hh[direction]
        if problem.config.bias:
            found[f"bias_ih_l{layer}{suffix}"] = bias[direction]
            found[f"bias_hh_l{layer}{suffix}"] = bias[direction]
    return found


def outer(left: Array, right: Array) -> Array:
    """Multiply (D, T, N, H) by (D, T, N, W) and sum over steps and batch, to (D, H, W)."""
    directions = len(left)
    summed: Array = left.reshape(directions, -1, left.shape[-1]).swapaxes(1, 2) @ right.reshape(
        directions, -1, right.shape[-1]
    )
    return summed


def gathered(sums: Array, weights: Array) -> Array:
    """Return what both directions send to the layer below through (D, H, W) weights.

    The result has shape (T, N, W) and is in time order.
    """
    directions, steps, batch, hidden = sums.shape
    sent = (sums.reshape(directions, steps * batch, hidden) @ weights).reshape(
        directions, steps, batch, weights.shape[-1]
    )
    summed: Array = sent[0] if directions == 1 else sent[0] + sent[1, ::-1]
    return summed


def _compute_layer_adjoint(
    problem: Problem, layer: LayerTrace, received: Array, last: Array, alive: Flags
) -> LayerAdjoint:
    slope = activation_of(problem.config).slope(layer.states[:, 1:])
    states, sums = np.empty_like(layer.sums), np.empty_like(layer.sums)
    carried, padded = last, not alive.all()
    for step in reversed(range(received.shape[1])):
        states[:, step] = carried + received[:, step]
        fresh = states[:, step] * slope[:, step]
        sums[:, step] = np.where(alive[:, step], fresh, 0.0) if padded else fresh
        below = fresh @ layer.weights.hh
        carried = np.where(alive[:, step], below, carried) if padded else below
    return LayerAdjoint(received, states, sums, carried, gathered(sums, layer.weights.ih))

"""Gradients of the reference by back-propagation through time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rnnspec.oracle.cells import activation_of
from rnnspec.oracle.problem import Array, Flags, LayerTrace, Problem, Trace
from rnnspec.oracle.stack import SUFFIXES, masked, split


@dataclass(frozen=True)
class LayerAdjoint:
    """One layer's adjoints in step order.

    outputs  (D, T, N, H) what the layer's output receives from above
    states   (D, T, N, H) of the state after each step, in all
    sums     (D, T, N, H) of the pre-activation; zero at padding
    first    (D, N, H) of the initial state
    read     (T, N, W) of what the layer read, in time order
    """

    outputs: Array
    states: Array
    sums: Array
    first: Array
    read: Array


def compute_gradients(
    problem: Problem, trace: Trace, d_output: Array, d_h_n: Array
) -> dict[str, Array]:
    """The gradients of <d_output, output> + <d_h_n, h_n> by "input", "h_0" and the name of every parameter.

    d_output (T, N, D * H) is not read at padding; d_h_n (D * num_layers, N, H). The slope of relu at 0 is 0.
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
    """The adjoints of every intermediate of every layer, in the order of the layers."""
    directions = problem.config.num_directions
    adjoints: list[LayerAdjoint] = []
    received = d_output
    with np.errstate(all="ignore"):
        for index in reversed(range(len(trace.layers))):
            last = d_h_n[index * directions : (index + 1) * directions]
            adjoints.append(
                _layer_adjoint(
                    problem, trace.layers[index], split(received, directions), last, trace.alive
                )
            )
            received = masked(problem, index - 1, adjoints[-1].read)
    return adjoints[::-1]


def named(problem: Problem, layer: int, ih: Array, hh: Array, bias: Array) -> dict[str, Array]:
    """What belongs to a layer's parameters, stacked by direction, by their names; both biases receive the same."""
    found: dict[str, Array] = {}
    for direction, suffix in enumerate(SUFFIXES[: len(ih)]):
        found[f"weight_ih_l{layer}{suffix}"] = ih[direction]
        found[f"weight_hh_l{layer}{suffix}"] = hh[direction]
        if problem.config.bias:
            found[f"bias_ih_l{layer}{suffix}"] = bias[direction]
            found[f"bias_hh_l{layer}{suffix}"] = bias[direction]
    return found


def outer(left: Array, right: Array) -> Array:
    """(D, T, N, H) and (D, T, N, W) summed over steps and batch: (D, H, W)."""
    directions = len(left)
    summed: Array = left.reshape(directions, -1, left.shape[-1]).swapaxes(1, 2) @ right.reshape(
        directions, -1, right.shape[-1]
    )
    return summed


def gathered(sums: Array, weights: Array) -> Array:
    """What both directions send down through (D, H, W) weights: (T, N, W) in time order."""
    directions, steps, batch, hidden = sums.shape
    sent = (sums.reshape(directions, steps * batch, hidden) @ weights).reshape(
        directions, steps, batch, weights.shape[-1]
    )
    summed: Array = sent[0] if directions == 1 else sent[0] + sent[1, ::-1]
    return summed


def _layer_adjoint(
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

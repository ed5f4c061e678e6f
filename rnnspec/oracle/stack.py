"""The reference: the published equations over layers, directions and sequences of any length."""

from __future__ import annotations

import numpy as np

from rnnspec.oracle.cells import Activation, activation_of
from rnnspec.oracle.problem import Array, Flags, LayerTrace, LayerWeights, Problem, Trace

SUFFIXES = ("", "_reverse")


def run_layers(problem: Problem) -> Trace:
    """Evaluate the forward pass in float64, and return its results and all intermediate values.

    Infinity and NaN propagate as in IEEE 754, without warnings. The hidden state changes only at
    t < lengths[n], so the backward direction starts at the end of each sequence.

    Source: the equation on the nn.RNN page; *Variables* on that page for stacking and directions.
    """
    with np.errstate(all="ignore"):
        activation = activation_of(problem.config)
        directions = problem.config.num_directions
        alive = _find_alive_steps(problem)
        inside = alive[0]
        read = problem.input if inside.all() else np.where(inside, problem.input, 0.0)
        layers: list[LayerTrace] = []
        for layer in range(problem.config.num_layers):
            if layer:
                read = masked(problem, layer - 1, outputs(layers[-1].states[:, 1:], alive))
            first = problem.h_0[layer * directions : (layer + 1) * directions]
            layers.append(
                _run_layer(
                    activation,
                    _stack_weights(problem, layer),
                    to_steps(read, directions),
                    first,
                    alive,
                )
            )
        h_n = np.concatenate([layer.states[:, -1] for layer in layers])
        return Trace(outputs(layers[-1].states[:, 1:], alive), h_n, tuple(layers), alive)


def to_steps(values: Array, directions: int) -> Array:
    """Return (T, N, W) in time order as (D, T, N, W) in step order, for directions that read it."""
    return np.stack((values, values[::-1])[:directions])


def split(values: Array, directions: int) -> Array:
    """Return (T, N, D * H) in time order as (D, T, N, H) in step order."""
    if directions == 1:
        return values[None]
    half = values.shape[-1] // 2
    return np.stack((values[..., :half], values[::-1, :, half:]))


def joined(values: Array) -> Array:
    """Return (D, T, N, H) in step order as (T, N, D * H) in time order."""
    return values[0] if len(values) == 1 else np.concatenate((values[0], values[1, ::-1]), axis=-1)


def outputs(states: Array, alive: Flags) -> Array:
    """Return the output of a layer from its hidden state after each step; zero at padding."""
    return joined(states if alive.all() else np.where(alive, states, 0.0))


def masked(problem: Problem, layer: int, values: Array) -> Array:
    """Return what the next layer reads: the output of this layer, times its mask if it has one."""
    return values * problem.masks[layer] if layer in problem.masks else values


def _find_alive_steps(problem: Problem) -> Flags:
    inside = (np.arange(len(problem.input))[:, None] < problem.lengths)[..., None]
    return np.stack((inside, inside[::-1])[: problem.config.num_directions])


def _stack_weights(problem: Problem, layer: int) -> LayerWeights:
    names = [f"l{layer}{suffix}" for suffix in SUFFIXES[: problem.config.num_directions]]
    parts = ("bias_ih", "bias_hh") if problem.config.bias else ()
    stacked = np.array(
        [[problem.weights[f"{part}_{name}"] for part in parts] for name in names], dtype=np.float64
    )
    return LayerWeights(
        ih=np.array([problem.weights[f"weight_ih_{name}"] for name in names], dtype=np.float64),
        hh=np.array([problem.weights[f"weight_hh_{name}"] for name in names], dtype=np.float64),
        biases=stacked.reshape(len(names), len(parts), problem.config.hidden_size),
    )


def _run_layer(
    activation: Activation, weights: LayerWeights, read: Array, first: Array, alive: Flags
) -> LayerTrace:
    directions, steps, batch, width = read.shape
    hidden = first.shape[-1]
    flat = (
        read.reshape(directions, steps * batch, width) @ weights.ih.swapaxes(1, 2)
        + weights.biases.sum(axis=1)[:, None]
    )
    sums = flat.reshape(directions, steps, batch, hidden)
    states = np.empty((directions, steps + 1, batch, hidden))
    states[:, 0] = state = first
    recurrent = np.ascontiguousarray(weights.hh.swapaxes(1, 2))
    padded = not alive.all()
    for step in range(steps):
        sums[:, step] += state @ recurrent
        fresh = activation.value(sums[:, step])
        states[:, step + 1] = state = np.where(alive[:, step], fresh, state) if padded else fresh
    return LayerTrace(weights, read, sums, states)

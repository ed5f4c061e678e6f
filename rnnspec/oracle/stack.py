"""The reference: the published equations over layers, directions and sequences of any length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rnnspec.contract.shapes import name_place
from rnnspec.oracle.catalogue import cell_of
from rnnspec.oracle.cells import Cell
from rnnspec.oracle.layers import Array, Flags, LayerTrace, LayerWeights, StateArrays
from rnnspec.oracle.problem import Problem, Trace


def run_layers(problem: Problem) -> Trace:
    """Evaluate the forward pass using float64, and return its results and all intermediate values.

    Infinity and NaN propagate as in IEEE 754, without warnings. The hidden state changes only at
    t < lengths[n], so the backward direction starts at the end of each sequence.

    Source: the equations on the nn.RNN, nn.LSTM and nn.GRU pages; *Variables* on these pages for
    stacking and directions.
    """
    with np.errstate(all="ignore"):
        cell, kind = cell_of(problem.config), problem.config.kind_data
        directions = problem.config.num_directions
        alive = find_alive_steps(problem)
        inside = alive[0]
        # Sums are computed at padding too, where the input may hold anything, such as NaN.
        read = problem.input if inside.all() else np.where(inside, problem.input, 0.0)
        layers: list[LayerTrace] = []
        for layer in range(problem.config.num_layers):
            if layer:
                read = masked(problem, layer - 1, outputs(layers[-1].states[:, 1:], alive))
            layers.append(
                _run_layer(
                    cell,
                    stack_weights(problem, cell, layer),
                    to_steps(read, directions),
                    rows_of_layer(problem, problem.initial, kind.initial, layer),
                    alive,
                )
            )
        return Trace(
            collect_results(problem, [layer.carried for layer in layers], alive),
            tuple(layers),
            alive,
        )


def rows_of_layer(
    problem: Problem, states: Mapping[str, Array], names: Sequence[str], layer: int
) -> StateArrays:
    """Return the rows (D, N, ...) of a layer of the named states (D * num_layers, N, ...)."""
    directions = problem.config.num_directions
    first = layer * directions
    return tuple(states[name][first : first + directions] for name in names)


def collect_results(
    problem: Problem, carried: Sequence[StateArrays], alive: Flags
) -> dict[str, Array]:
    """Return the results of a call by name, from the states of every layer before and after."""
    kind = problem.config.kind_data
    finals = zip(kind.final, zip(*carried, strict=True), strict=True)
    found = {name: np.concatenate([each[:, -1] for each in states]) for name, states in finals}
    return found if kind.is_cell else {"output": outputs(carried[-1][0][:, 1:], alive), **found}


def to_steps(values: Array, directions: int) -> Array:
    """Return (T, N, W) in time order as (D, T, N, W) in step order, for directions that read it."""
    return values[None] if directions == 1 else np.stack((values, values[::-1]))


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
    """Return the input of the next layer: the output of this layer, times its mask if any."""
    return values * problem.masks[layer] if layer in problem.masks else values


def find_alive_steps(problem: Problem) -> Flags:
    """Return which steps (D, T, N, 1), in step order, have a value to read."""
    inside = (np.arange(len(problem.input))[:, None] < problem.lengths)[..., None]
    return inside[None] if problem.config.num_directions == 1 else np.stack((inside, inside[::-1]))


def stack_weights(problem: Problem, cell: Cell, layer: int) -> LayerWeights:
    """Return the parameters of a layer, stacked by direction."""
    places = [
        name_place(problem.config, layer, direction)
        for direction in range(problem.config.num_directions)
    ]

    def stack(part: str) -> Array:
        return np.array([problem.weights[f"{part}{place}"] for place in places], dtype=np.float64)

    ih, hh = cell.expand_input_rows(stack("weight_ih")), cell.expand_hidden_rows(stack("weight_hh"))
    biases = np.empty((len(places), 2 if problem.config.bias else 0, ih.shape[1]))
    if problem.config.bias:
        biases[:, 0] = cell.expand_input_rows(stack("bias_ih"))
        biases[:, 1] = cell.expand_hidden_rows(stack("bias_hh"))
    return LayerWeights(ih, hh, biases, stack("weight_hr") if problem.config.proj_size else None)


def _run_layer(
    cell: Cell, weights: LayerWeights, read: Array, first: StateArrays, alive: Flags
) -> LayerTrace:
    directions, steps, batch, width = read.shape
    # The input and the biases are added for all steps at once, the hidden state step by step.
    flat = (
        read.reshape(directions, steps * batch, width) @ weights.ih.swapaxes(1, 2)
        + weights.biases.sum(axis=1)[:, None]
    )
    sums = flat.reshape(directions, steps, batch, weights.ih.shape[1])
    hidden, *others = [np.empty((directions, steps + 1, *state.shape[1:])) for state in first]
    for states, state in zip((hidden, *others), first, strict=True):
        states[:, 0] = state
    raw = hidden[:, 1:]
    if weights.hr is not None:
        raw = np.empty((directions, steps, batch, weights.hr.shape[2]))
    # The loop multiplies by W_hh at every step, so copy its transpose once.
    recurrent = np.ascontiguousarray(weights.hh.swapaxes(1, 2))
    projection = None if weights.hr is None else weights.hr.swapaxes(1, 2)
    before, padded = first, not alive.all()
    for step in range(steps):
        current = sums[:, step]
        # `current` is a view, so this completes the pre-activations in `sums`.
        current += before[0] @ recurrent
        after = cell.advance(current, before)
        if projection is not None:
            raw[:, step] = after[0]
            after = (after[0] @ projection, *after[1:])
        if padded:
            after = keep_if_padded(alive[:, step], after, before)
        hidden[:, step + 1] = after[0]
        if others:
            for states, state in zip(others, after[1:], strict=True):
                states[:, step + 1] = state
        before = after
    return LayerTrace(read, sums, (hidden, *others), raw, weights)


def keep_if_padded(alive: Flags, after: StateArrays, before: StateArrays) -> StateArrays:
    """Return the states after a step, or the states before it where there is no value to read."""
    return tuple([np.where(alive, *pair) for pair in zip(after, before, strict=True)])

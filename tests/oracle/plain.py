"""A second implementation of the published equations, in ball arithmetic.

Every value comes with a proven error bound. The code shares nothing with the oracle: it uses plain
loops over lists of flint.arb, one sequence at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flint
import numpy as np

from rnnspec.contract.config import Config
from rnnspec.oracle import Array, Problem

flint.ctx.prec = 200

Ball = Any
Vector = list[Ball]
Values = dict[str, Any]


def exact(problem: Problem) -> Values:
    """Return every number of a problem as a ball of radius zero, in nested lists by name."""
    named = {**problem.weights, "input": problem.input, **problem.initial}
    return {name: _to_balls(values) for name, values in named.items()}


def forward(problem: Problem, values: Values) -> dict[str, list[list[Vector]]]:
    """Return the results of a problem with these values as its numbers, by name.

    They are output[t][n][...], h_n[k][n][...] and, for an LSTM, c_n[k][n][...]. The lists of the
    output are empty at padding.
    """
    config = problem.config
    batch = len(problem.lengths)
    rows = config.num_layers * config.num_directions
    finals: dict[str, list[list[Vector]]] = {
        letter: [[[] for _ in range(batch)] for _ in range(rows)]
        for letter in config.kind_data.states
    }
    output: list[list[Vector]] = [[[] for _ in range(batch)] for _ in range(len(problem.input))]
    for sample in range(batch):
        sequence = [values["input"][t][sample] for t in range(int(problem.lengths[sample]))]
        for layer in range(config.num_layers):
            halves = []
            for direction in range(config.num_directions):
                row = layer * config.num_directions + direction
                first = [values[f"{letter}_0"][row][sample] for letter in config.kind_data.states]
                name = f"l{layer}" + ("_reverse" if direction else "")
                steps, last = _run_direction(config, values, name, sequence, first)
                for letter, state in zip(config.kind_data.states, last, strict=True):
                    finals[letter][row][sample] = state
                halves.append(steps)
            sequence = [
                [value for half in halves for value in half[t]] for t in range(len(sequence))
            ]
            if layer in problem.masks:
                mask = problem.masks[layer]
                sequence = [
                    [value * float(mask[t, sample, unit]) for unit, value in enumerate(row)]
                    for t, row in enumerate(sequence)
                ]
        for t, row in enumerate(sequence):
            output[t][sample] = row
    return {"output": output, **{f"{letter}_n": states for letter, states in finals.items()}}


def distance(ball: Ball, value: float) -> float:
    """Return an upper bound on |ball - value|."""
    return float(abs(ball - flint.arb(value)).upper())


def _run_direction(
    config: Config, values: Values, name: str, sequence: Sequence[Vector], first: list[Vector]
) -> tuple[list[Vector], list[Vector]]:
    """Return the hidden state at each time step, and the states after the last one computed."""
    order = range(len(sequence))
    states, found = first, {}
    for t in reversed(order) if name.endswith("_reverse") else order:
        states = STEPS[config.kind](config, values, name, sequence[t], states)
        found[t] = states[0]
    return [found[t] for t in order], states


def _step_rnn(
    config: Config, values: Values, name: str, read: Vector, states: list[Vector]
) -> list[Vector]:
    sums = [
        from_input + from_state
        for from_input, from_state in zip(
            _affine(config, values, "ih", name, read),
            _affine(config, values, "hh", name, states[0]),
            strict=True,
        )
    ]
    if config.nonlinearity == "tanh":
        return [[value.tanh() for value in sums]]
    return [[value.max(flint.arb(0)) for value in sums]]


def _step_gru(
    config: Config, values: Values, name: str, read: Vector, states: list[Vector]
) -> list[Vector]:
    hidden = config.hidden_size
    given = _affine(config, values, "ih", name, read)
    kept = _affine(config, values, "hh", name, states[0])
    fresh = []
    for unit in range(hidden):
        r = _sigmoid(given[unit] + kept[unit])
        z = _sigmoid(given[hidden + unit] + kept[hidden + unit])
        n = (given[2 * hidden + unit] + r * kept[2 * hidden + unit]).tanh()
        fresh.append((1 - z) * n + z * states[0][unit])
    return [fresh]


def _step_lstm(
    config: Config, values: Values, name: str, read: Vector, states: list[Vector]
) -> list[Vector]:
    hidden = config.hidden_size
    given = _affine(config, values, "ih", name, read)
    kept = _affine(config, values, "hh", name, states[0])
    sums = [left + right for left, right in zip(given, kept, strict=True)]
    shown, cells = [], []
    for unit in range(hidden):
        i, f, o = (_sigmoid(sums[gate * hidden + unit]) for gate in (0, 1, 3))
        g = sums[2 * hidden + unit].tanh()
        cells.append(f * states[1][unit] + i * g)
        shown.append(o * cells[-1].tanh())
    if config.proj_size:
        shown = [_dot(row, shown) for row in values[f"weight_hr_{name}"]]
    return [shown, cells]


STEPS = {"rnn": _step_rnn, "gru": _step_gru, "lstm": _step_lstm}


def _affine(config: Config, values: Values, part: str, name: str, read: Vector) -> Vector:
    products = [_dot(row, read) for row in values[f"weight_{part}_{name}"]]
    if not config.bias:
        return products
    return [
        total + bias for total, bias in zip(products, values[f"bias_{part}_{name}"], strict=True)
    ]


def _dot(row: Vector, read: Vector) -> Ball:
    total = flint.arb(0)
    for weight, value in zip(row, read, strict=True):
        total = total + weight * value
    return total


def _sigmoid(value: Ball) -> Ball:
    return 1 / (1 + (-value).exp())


def _to_balls(values: Array) -> Any:
    return flint.arb(float(values)) if np.ndim(values) == 0 else [_to_balls(row) for row in values]

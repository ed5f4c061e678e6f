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
    named = {**problem.weights, "input": problem.input, "h_0": problem.h_0}
    return {name: _to_balls(values) for name, values in named.items()}


def forward(problem: Problem, values: Values) -> tuple[list[list[Vector]], list[list[Vector]]]:
    """Return output[t][n][...] and h_n[k][n][...] of a problem with these values as its numbers.

    The lists are empty at padding.
    """
    config = problem.config
    batch = len(problem.lengths)
    finals: list[list[Vector]] = [
        [[] for _ in range(batch)] for _ in range(config.num_layers * config.num_directions)
    ]
    output: list[list[Vector]] = [[[] for _ in range(batch)] for _ in range(len(problem.input))]
    for sample in range(batch):
        sequence = [values["input"][t][sample] for t in range(int(problem.lengths[sample]))]
        for layer in range(config.num_layers):
            halves = []
            for direction in range(config.num_directions):
                state = layer * config.num_directions + direction
                steps = _run_direction(
                    config, values, layer, direction, sequence, values["h_0"][state][sample]
                )
                finals[state][sample] = steps[0] if direction else steps[-1]
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
    return output, finals


def distance(ball: Ball, value: float) -> float:
    """Return an upper bound on |ball - value|."""
    return float(abs(ball - flint.arb(value)).upper())


def _run_direction(
    config: Config,
    values: Values,
    layer: int,
    direction: int,
    sequence: Sequence[Vector],
    first: Vector,
) -> list[Vector]:
    name = f"l{layer}" + ("_reverse" if direction else "")
    w_ih, w_hh = values[f"weight_ih_{name}"], values[f"weight_hh_{name}"]
    state, found = first, {}
    for t in reversed(range(len(sequence))) if direction else range(len(sequence)):
        fresh = []
        for unit in range(config.hidden_size):
            total = flint.arb(0)
            if config.bias:
                total = total + values[f"bias_ih_{name}"][unit] + values[f"bias_hh_{name}"][unit]
            for weight, read in zip(w_ih[unit], sequence[t], strict=True):
                total = total + weight * read
            for weight, before in zip(w_hh[unit], state, strict=True):
                total = total + weight * before
            fresh.append(total.tanh() if config.nonlinearity == "tanh" else total.max(flint.arb(0)))
        state = found[t] = fresh
    return [found[t] for t in range(len(sequence))]


def _to_balls(values: Array) -> Any:
    return flint.arb(float(values)) if np.ndim(values) == 0 else [_to_balls(row) for row in values]

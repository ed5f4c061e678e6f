"""If no sum rounds, torch returns exactly the values of the reference in every dtype."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rnnspec.contract.config import Config
from rnnspec.contract.shapes import Shape, parameter_shapes
from rnnspec.oracle import (
    Array,
    Problem,
    compute_gradients,
    is_exact,
    is_exact_gradient,
    run_layers,
)
from rnnspec.oracle.exact_values import unit
from tests.oracle.drawn import DTYPES, CheckedCase, check

LIMITS = {"float64": 2.0**53, "float32": 2.0**24, "float16": 2.0**11, "bfloat16": 2.0**8}


def integers(seed: int, nonlinearity: str) -> Problem:
    """Draw a problem whose values are small integers.

    For tanh they are -1, 0 and 1, and all weights and biases are multiplied by 64.
    """
    rng = np.random.default_rng(seed)
    config = Config(
        int(rng.integers(1, 6)),
        int(rng.integers(1, 6)),
        int(rng.integers(1, 3)),
        nonlinearity,
        bidirectional=bool(seed % 2),
    )
    factor, reach = (64.0, 1) if nonlinearity == "tanh" else (1.0, 2)

    def whole(shape: Shape) -> Array:
        values: Array = rng.integers(-reach, reach + 1, shape).astype(np.float64)
        return values

    def one_a_row(name: str, shape: Shape) -> Array:
        if nonlinearity == "tanh" or not name.startswith("weight_hh"):
            return factor * whole(shape)
        permuted: Array = np.eye(shape[0])[rng.permutation(shape[0])] * rng.choice(
            [-1.0, 1.0], (shape[0], 1)
        )
        return permuted

    steps, batch = int(rng.integers(1, 9)), int(rng.integers(1, 4))
    lengths = rng.integers(1, steps + 1, batch)
    lengths[0] = steps
    shape = (steps, batch, config.num_directions * config.hidden_size)
    return Problem(
        config=config,
        weights={name: one_a_row(name, shape) for name, shape in parameter_shapes(config).items()},
        input=whole((steps, batch, config.input_size)),
        initial={
            "h_0": whole((config.num_directions * config.num_layers, batch, config.hidden_size))
        },
        lengths=lengths,
        masks={0: 2.0 * rng.integers(0, 2, shape).astype(np.float64)}
        if config.num_layers > 1 and seed % 3 == 0 and nonlinearity == "relu"
        else {},
    )


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@pytest.mark.parametrize("name", DTYPES)
def test_torch_and_the_reference_agree_exactly_on_exact_problems(
    name: str, nonlinearity: str
) -> None:
    accepted = 0
    for seed in range(60):
        problem = integers(seed, nonlinearity)
        trace = run_layers(problem)
        if not is_exact(problem, trace, LIMITS[name]):
            continue
        accepted += 1
        for key, got in check(problem, DTYPES[name]).items():
            np.testing.assert_array_equal(got, trace.results[key], err_msg=f"seed {seed}: {key}")
    assert accepted >= 40


@pytest.mark.parametrize("name", ["float64", "float32", "bfloat16"])
def test_torch_and_the_reference_agree_exactly_on_exact_gradients(name: str) -> None:
    accepted = 0
    for seed in range(60):
        problem = integers(seed, "relu")
        rng = np.random.default_rng(seed)
        trace = run_layers(problem)
        seeds = {
            key: rng.integers(-2, 3, values.shape).astype(np.float64)
            for key, values in trace.results.items()
        }
        if not is_exact_gradient(problem, trace, seeds, LIMITS[name]):
            continue
        accepted += 1
        expected = compute_gradients(problem, trace, seeds)
        for key, got in CheckedCase(problem, DTYPES[name], grad=True).gradients(seeds).items():
            np.testing.assert_array_equal(got, expected[key], err_msg=f"seed {seed}: {key}")
    assert accepted >= 25


def test_a_problem_that_rounds_is_not_exact() -> None:
    problem = integers(1, "relu")
    limit = LIMITS["float32"]
    assert is_exact(problem, run_layers(problem), limit)
    changes: tuple[dict[str, Any], ...] = (
        {"input": problem.input + 0.1},
        {"input": problem.input * np.nan},
        {"initial": {"h_0": problem.h_0 + 2.0**30}},
    )
    for change in changes:
        changed = replace(problem, **change)
        assert not is_exact(changed, run_layers(changed), limit)
    tanh = integers(1, "tanh")
    weak = replace(tanh, weights={name: values / 64.0 for name, values in tanh.weights.items()})
    assert not is_exact(weak, run_layers(weak), limit)
    masks = {
        0: np.full(
            (len(problem.input), len(problem.lengths), 2 * problem.config.hidden_size), 4.0 / 3.0
        )
    }
    assert not is_exact(replace(problem, masks=masks), run_layers(problem), limit)


def test_gradients_through_tanh_are_never_exact() -> None:
    problem = integers(1, "tanh")
    trace = run_layers(problem)
    seeds = {key: np.zeros_like(values) for key, values in trace.results.items()}
    assert not is_exact_gradient(problem, trace, seeds, 2.0**24)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3.0, 5.0], 1.0),
        ([64.0, -192.0], 64.0),
        ([0.75], 0.25),
        ([0.0], np.inf),
        ([np.inf], np.nan),
    ],
)
def test_unit_is_the_largest_power_of_two_that_divides_all_values(
    values: list[float], expected: float
) -> None:
    np.testing.assert_equal(unit(np.array(values)), expected)

"""The reference agrees with ball arithmetic, central differences and IEEE 754."""

from __future__ import annotations

import warnings
from dataclasses import replace
from itertools import product
from typing import Any

import flint
import numpy as np
import pytest

from rnnspec.contract.config import Config
from rnnspec.contract.shapes import parameter_shapes
from rnnspec.oracle import (
    ROUNDINGS,
    Array,
    Problem,
    compute_bound,
    compute_gradient_bound,
    compute_gradients,
    run_layers,
)
from tests.oracle import plain
from tests.oracle.drawn import cotangents, state_rows

STEP = flint.arb(2) ** -60
FLOAT64 = ROUNDINGS["float64"]

every_stack = pytest.mark.parametrize(
    ("cell", "bidirectional", "packed", "masked", "bias"),
    [
        *product(["tanh", "relu"], [False, True], [False, True], [False, True], [True]),
        ("tanh", True, True, True, False),
        *product(["gru", "lstm", "projected"], [False, True], [True], [True], [True]),
        *((cell, True, False, False, False) for cell in ("gru", "lstm", "projected")),
    ],
)
CELLS: dict[str, dict[str, Any]] = {
    "tanh": {},
    "relu": {"nonlinearity": "relu"},
    "gru": {"kind": "gru"},
    "lstm": {"kind": "lstm"},
    "projected": {"kind": "lstm", "proj_size": 1},
}


def small(
    cell: str = "tanh",
    bidirectional: bool = True,
    packed: bool = True,
    masked: bool = True,
    bias: bool = True,
    *,
    layers: int = 2,
    hidden: int = 3,
) -> Problem:
    rng = np.random.default_rng(7)
    config = Config(2, hidden, layers, bias=bias, bidirectional=bidirectional, **CELLS[cell])
    steps, batch = 4, 2
    shape = (steps, batch, config.num_directions * config.output_size)
    return Problem(
        config=config,
        weights={
            name: rng.uniform(-0.9, 0.9, shape) for name, shape in parameter_shapes(config).items()
        },
        input=rng.standard_normal((steps, batch, 2)),
        initial={
            f"{letter}_0": rng.standard_normal(state_rows(config, batch, letter))
            for letter in config.kind_data.states
        },
        lengths=np.array([2, 4] if packed else [4, 4]),
        masks={layer: (rng.random(shape) < 0.7) / 0.7 for layer in range(layers - 1)}
        if masked
        else {},
    )


def seeds(problem: Problem) -> dict[str, Array]:
    return cotangents(np.random.default_rng(8), problem)


@every_stack
def test_the_forward_pass_agrees_with_ball_arithmetic(
    cell: str, bidirectional: bool, packed: bool, masked: bool, bias: bool
) -> None:
    problem = small(cell, bidirectional, packed, masked, bias, layers=3)
    trace = run_layers(problem)
    allowed = compute_bound(problem, trace, FLOAT64)
    expected = plain.forward(problem, plain.exact(problem))
    assert tuple(trace.results) == tuple(allowed.results) == problem.config.kind_data.results
    for name, found in trace.results.items():
        for first, second, unit in np.ndindex(found.shape):
            row = expected[name][first][second]
            if not row:
                assert found[first, second, unit] == allowed.results[name][first, second, unit] == 0
                continue
            assert (
                plain.distance(row[unit], float(found[first, second, unit]))
                <= allowed.results[name][first, second, unit]
                <= 1e-12
            )
    padding = np.arange(4)[:, None] >= problem.lengths
    assert not trace.output[padding].any()


@pytest.mark.mostly_slow
@every_stack
def test_gradients_agree_with_central_differences(
    cell: str, bidirectional: bool, packed: bool, masked: bool, bias: bool
) -> None:
    problem = small(cell, bidirectional, packed, masked, bias, hidden=2)
    trace, seed = run_layers(problem), seeds(problem)
    found, allowed = (
        compute_gradients(problem, trace, seed),
        compute_gradient_bound(problem, trace, seed, FLOAT64),
    )
    assert set(found) == set(allowed) == {"input", *problem.initial, *problem.weights}
    values = plain.exact(problem)
    for name, gradient in found.items():
        assert gradient.shape == allowed[name].shape
        assert allowed[name].max() <= 1e-11
        for index in np.ndindex(gradient.shape):
            slope = central_difference(problem, values, seed, name, index)
            assert plain.distance(slope, float(gradient[index])) <= allowed[name][index] + 1e-30


def central_difference(
    problem: Problem,
    values: dict[str, Any],
    seed: dict[str, Array],
    name: str,
    index: tuple[int, ...],
) -> Any:
    row = values[name]
    for position in index[:-1]:
        row = row[position]
    centre = row[index[-1]]
    ends = []
    for step in (STEP, -STEP):
        row[index[-1]] = centre + step
        ends.append(loss(plain.forward(problem, values), seed))
    row[index[-1]] = centre
    return (ends[0] - ends[1]) / (2 * STEP)


def loss(results: dict[str, list[list[list[Any]]]], seed: dict[str, Array]) -> Any:
    total = flint.arb(0)
    for result, answer in results.items():
        for outer, rows in enumerate(answer):
            for inner, row in enumerate(rows):
                for unit, value in enumerate(row):
                    total = total + value * float(seed[result][outer, inner, unit])
    return total


@pytest.mark.parametrize("cell", CELLS)
def test_padding_is_never_read(cell: str) -> None:
    problem = small(cell)
    spoiled = problem.input.copy()
    spoiled[2:, 0] = np.nan
    trace, other = run_layers(problem), run_layers(replace(problem, input=spoiled))
    for name, values in trace.results.items():
        np.testing.assert_array_equal(values, other.results[name], err_msg=name)
    seed = seeds(problem)
    expected = compute_gradients(problem, trace, seed)
    allowed = compute_gradient_bound(problem, trace, seed, FLOAT64)
    seed["output"][2:, 0] = np.nan
    for name, gradient in compute_gradients(problem, other, seed).items():
        np.testing.assert_array_equal(gradient, expected[name], err_msg=name)
    for name, bound in compute_gradient_bound(problem, other, seed, FLOAT64).items():
        np.testing.assert_array_equal(bound, allowed[name], err_msg=name)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_a_planted_value_stays_in_its_sample_without_a_warning(cell: str, value: float) -> None:
    problem = small(cell, packed=False, masked=False)
    spoiled = problem.input.copy()
    spoiled[1, 0] = value
    planted = replace(problem, input=spoiled)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trace = run_layers(planted)
        allowed = compute_bound(planted, trace, ROUNDINGS["float32"])
        compute_gradients(planted, trace, seeds(planted))
        allowances = compute_gradient_bound(planted, trace, seeds(planted), ROUNDINGS["float32"])
    clean = run_layers(problem)
    np.testing.assert_array_equal(trace.output[:, 1], clean.output[:, 1])
    np.testing.assert_array_equal(
        allowed.output[:, 1], compute_bound(problem, clean, ROUNDINGS["float32"]).output[:, 1]
    )
    assert np.isinf(allowed.output[:, 0]).all()
    assert not any(np.isnan(values).any() for values in allowances.values())


def test_relu_propagates_nan() -> None:
    problem = small("relu", bidirectional=False, packed=False, masked=False)
    spoiled = problem.input.copy()
    spoiled[1, 0, 0] = np.nan
    output = run_layers(replace(problem, input=spoiled)).output
    assert np.isnan(output[1:, 0]).all()
    assert not np.isnan(output[0]).any()


def test_an_empty_batch_has_empty_results() -> None:
    problem = small(packed=False, masked=False)
    empty = replace(
        problem,
        input=problem.input[:, :0],
        initial={"h_0": problem.h_0[:, :0]},
        lengths=problem.lengths[:0],
    )
    trace = run_layers(empty)
    assert trace.output.shape == (4, 0, 6)
    assert compute_bound(empty, trace, FLOAT64).h_n.shape == (4, 0, 3)
    seed = {"output": np.zeros((4, 0, 6)), "h_n": np.zeros((4, 0, 3))}
    assert not compute_gradients(empty, trace, seed)["weight_hh_l0"].any()
    assert np.isfinite(compute_gradient_bound(empty, trace, seed, FLOAT64)["weight_hh_l0"]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input": np.zeros((4, 2, 5))}, r"input must have shape \(T, N, 2\), got \(4, 2, 5\)"),
        (
            {"initial": {"h_0": np.zeros((1, 2, 3))}},
            r"h_0 must have shape \(4, 2, 3\), got \(1, 2, 3\)",
        ),
        (
            {"initial": {"h_0": np.zeros((4, 2, 3)), "c_0": np.zeros((4, 2, 3))}},
            "initial must have the names h_0, got h_0, c_0",
        ),
        (
            {"initial": {"h_0": np.zeros((4, 2, 3), dtype=np.float32)}},
            "h_0 must be float64, got float32",
        ),
        ({"lengths": np.array([4])}, r"lengths must have 2 entries, got array\(\[4\]\)"),
    ],
)
def test_a_problem_rejects_values_that_do_not_match(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(small(), **change)


def test_the_cell_of_a_projected_state_has_the_hidden_size() -> None:
    problem = small("projected")
    message = r"c_0 must have shape \(4, 2, 3\), got \(4, 2, 1\)"
    with pytest.raises(ValueError, match=message):
        replace(problem, initial={**problem.initial, "c_0": problem.h_0})

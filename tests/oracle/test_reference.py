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

STEP = flint.arb(2) ** -60
FLOAT64 = ROUNDINGS["float64"]

every_stack = pytest.mark.parametrize(
    ("nonlinearity", "bidirectional", "packed", "masked", "bias"),
    [
        *product(["tanh", "relu"], [False, True], [False, True], [False, True], [True]),
        ("tanh", True, True, True, False),
    ],
)


def small(
    nonlinearity: str = "tanh",
    bidirectional: bool = True,
    packed: bool = True,
    masked: bool = True,
    bias: bool = True,
    *,
    layers: int = 2,
    hidden: int = 3,
) -> Problem:
    rng = np.random.default_rng(7)
    config = Config(2, hidden, layers, nonlinearity, bias, bidirectional=bidirectional)
    steps, batch = 4, 2
    shape = (steps, batch, config.num_directions * hidden)
    return Problem(
        config=config,
        weights={
            name: rng.uniform(-0.9, 0.9, shape) for name, shape in parameter_shapes(config).items()
        },
        input=rng.standard_normal((steps, batch, 2)),
        h_0=rng.standard_normal((config.num_directions * layers, batch, hidden)),
        lengths=np.array([2, 4] if packed else [4, 4]),
        masks={layer: (rng.random(shape) < 0.7) / 0.7 for layer in range(layers - 1)}
        if masked
        else {},
    )


def seeds(problem: Problem) -> tuple[Array, Array]:
    rng = np.random.default_rng(8)
    steps, batch, _ = problem.input.shape
    return rng.standard_normal(
        (steps, batch, problem.config.num_directions * problem.config.hidden_size)
    ), rng.standard_normal(problem.h_0.shape)


@every_stack
def test_the_forward_pass_agrees_with_ball_arithmetic(
    nonlinearity: str, bidirectional: bool, packed: bool, masked: bool, bias: bool
) -> None:
    problem = small(nonlinearity, bidirectional, packed, masked, bias, layers=3)
    trace = run_layers(problem)
    allowed = compute_bound(problem, trace, FLOAT64)
    output, h_n = plain.forward(problem, plain.exact(problem))
    for t, n in np.ndindex(trace.output.shape[:2]):
        for unit, ball in enumerate(output[t][n]):
            assert (
                plain.distance(ball, float(trace.output[t, n, unit]))
                <= allowed.output[t, n, unit]
                <= 1e-12
            )
        if t >= problem.lengths[n]:
            assert not trace.output[t, n].any()
            assert not allowed.output[t, n].any()
    for k, n, unit in np.ndindex(trace.h_n.shape):
        assert (
            plain.distance(h_n[k][n][unit], float(trace.h_n[k, n, unit]))
            <= allowed.h_n[k, n, unit]
            <= 1e-12
        )


@every_stack
def test_gradients_agree_with_central_differences(
    nonlinearity: str, bidirectional: bool, packed: bool, masked: bool, bias: bool
) -> None:
    problem = small(nonlinearity, bidirectional, packed, masked, bias, hidden=2)
    trace, seed = run_layers(problem), seeds(problem)
    found, allowed = (
        compute_gradients(problem, trace, *seed),
        compute_gradient_bound(problem, trace, *seed, FLOAT64),
    )
    assert set(found) == set(allowed) == {"input", "h_0", *problem.weights}
    values = plain.exact(problem)
    for name, gradient in found.items():
        assert allowed[name].max() <= 1e-11
        for index in np.ndindex(gradient.shape):
            slope = central_difference(problem, values, seed, name, index)
            assert plain.distance(slope, float(gradient[index])) <= allowed[name][index] + 1e-30


def central_difference(
    problem: Problem,
    values: dict[str, Any],
    seed: tuple[Array, Array],
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


def loss(
    answers: tuple[list[list[list[Any]]], list[list[list[Any]]]], seed: tuple[Array, Array]
) -> Any:
    total = flint.arb(0)
    for answer, cotangent in zip(answers, seed, strict=True):
        for outer, rows in enumerate(answer):
            for inner, row in enumerate(rows):
                for unit, value in enumerate(row):
                    total = total + value * float(cotangent[outer, inner, unit])
    return total


def test_padding_is_never_read() -> None:
    problem = small()
    spoiled = problem.input.copy()
    spoiled[2:, 0] = np.nan
    trace, other = run_layers(problem), run_layers(replace(problem, input=spoiled))
    np.testing.assert_array_equal(trace.output, other.output)
    np.testing.assert_array_equal(trace.h_n, other.h_n)
    d_output, d_h_n = seeds(problem)
    expected = compute_gradients(problem, trace, d_output, d_h_n)
    d_output[2:, 0] = np.nan
    for name, gradient in compute_gradients(problem, other, d_output, d_h_n).items():
        np.testing.assert_array_equal(gradient, expected[name], err_msg=name)


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_a_planted_value_stays_in_its_sample_without_a_warning(
    nonlinearity: str, value: float
) -> None:
    problem = small(nonlinearity, packed=False, masked=False)
    spoiled = problem.input.copy()
    spoiled[1, 0] = value
    planted = replace(problem, input=spoiled)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trace = run_layers(planted)
        allowed = compute_bound(planted, trace, ROUNDINGS["float32"])
        compute_gradients(planted, trace, *seeds(planted))
        allowances = compute_gradient_bound(planted, trace, *seeds(planted), ROUNDINGS["float32"])
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
        problem, input=problem.input[:, :0], h_0=problem.h_0[:, :0], lengths=problem.lengths[:0]
    )
    trace = run_layers(empty)
    assert trace.output.shape == (4, 0, 6)
    assert compute_bound(empty, trace, FLOAT64).h_n.shape == (4, 0, 3)
    d_output, d_h_n = np.zeros((4, 0, 6)), np.zeros((4, 0, 3))
    assert not compute_gradients(empty, trace, d_output, d_h_n)["weight_hh_l0"].any()
    assert np.isfinite(
        compute_gradient_bound(empty, trace, d_output, d_h_n, FLOAT64)["weight_hh_l0"]
    ).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input": np.zeros((4, 2, 5))}, r"input must have shape \(T, N, 2\), got \(4, 2, 5\)"),
        ({"h_0": np.zeros((1, 2, 3))}, r"h_0 must have shape \(4, 2, 3\), got \(1, 2, 3\)"),
        (
            {"h_0": np.zeros((4, 2, 3), dtype=np.float32)},
            "input and h_0 must be float64, got float32",
        ),
        ({"lengths": np.array([4])}, r"lengths must have 2 entries, got array\(\[4\]\)"),
    ],
)
def test_a_problem_rejects_values_that_do_not_match(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(small(), **change)

"""Cells with gates: exact cases, large states, and how small an error exceeds the bound."""

from __future__ import annotations

from dataclasses import replace
from operator import mul
from typing import Any

import numpy as np
import pytest

from rnnspec.contract.config import Config
from rnnspec.contract.kinds import LAYER_KINDS
from rnnspec.contract.shapes import Shape, parameter_shapes
from rnnspec.oracle import (
    FLOAT32_SUMS,
    ROUNDINGS,
    Array,
    Problem,
    compute_bound,
    compute_gradient_bound,
    is_exact,
    is_exact_gradient,
    run_layers,
)
from rnnspec.oracle.enclosures import (
    ElementRounding,
    allow_separate_slopes,
    apply_to_each,
    mix,
    sigmoid,
)
from tests.oracle.drawn import DTYPES, check, cotangents, excess, state_rows
from tests.oracle.test_exact import LIMITS
from tests.oracle.variants import SIGMOID, VARIANTS, Arithmetic, bits, evaluate, mix_in_order

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")

GATED = [name for name, kind in LAYER_KINDS.items() if len(kind.gates) > 1]
CELL_GATE = {"gru": 2, "lstm": 2}
"""The gate that is activated by tanh."""


def saturated(seed: int, kind: str) -> Problem:
    """Draw a problem whose gates are all saturated and whose states h are -1, 0 and 1.

    The memory of an LSTM either is never forgotten, so that it stays near -64 or 64, or is given
    no input, so that it stays -64, 0 or 64.
    """
    rng = np.random.default_rng(seed)
    config = Config(
        int(rng.integers(1, 6)),
        int(rng.integers(2, 6)),
        int(rng.integers(1, 3)),
        bidirectional=bool(seed % 2),
        kind=kind,
        proj_size=1 if kind == "lstm" and seed % 3 == 0 else 0,
    )

    def whole(*shape: int) -> Array:
        values: Array = rng.integers(-1, 2, shape).astype(np.float64)
        return values

    def draw_parameter(name: str, shape: Shape) -> Array:
        if name.startswith("weight_hr"):
            chosen: Array = np.eye(shape[0], shape[1]) * rng.choice([-1.0, 1.0], (shape[0], 1))
            return chosen
        gates = np.split(
            np.zeros(shape) if name.startswith("bias_hh") else whole(*shape),
            len(config.kind_data.gates),
        )
        for gate, rows in enumerate(gates):
            if name.startswith("bias_ih"):
                rows[:] = rng.choice([-1.0, 1.0], rows.shape)
            rows *= 64.0 if gate == CELL_GATE[kind] else 1024.0
            if name.startswith("weight") and gate != CELL_GATE[kind]:
                rows *= 2.0
        if kind == "lstm":
            fixed, sign = (1, 1.0) if seed % 2 else (0, -1.0)
            gates[fixed][:] = sign * 1024.0 * name.startswith("bias_ih")
        return np.concatenate(gates)

    steps, batch = int(rng.integers(1, 9)), int(rng.integers(1, 4))
    lengths = rng.integers(1, steps + 1, batch)
    lengths[0] = steps
    initial = {"h_0": whole(*state_rows(config, batch, "h"))}
    if kind == "lstm":
        shape = state_rows(config, batch, "c")
        initial["c_0"] = 64.0 * (rng.choice([-1.0, 1.0], shape) if seed % 2 else whole(*shape))
    return Problem(
        config=config,
        weights={
            name: draw_parameter(name, shape) for name, shape in parameter_shapes(config).items()
        },
        input=whole(steps, batch, config.input_size),
        initial=initial,
        lengths=lengths,
    )


@pytest.mark.parametrize("kind", GATED)
@pytest.mark.parametrize("name", DTYPES)
def test_torch_and_the_reference_agree_exactly_if_gates_are_saturated(name: str, kind: str) -> None:
    accepted = 0
    for seed in range(60):
        problem = saturated(seed, kind)
        trace = run_layers(problem)
        if not is_exact(problem, trace, LIMITS[name]):
            continue
        accepted += 1
        for key, got in check(problem, DTYPES[name]).items():
            np.testing.assert_array_equal(got, trace.results[key], err_msg=f"seed {seed}: {key}")
    assert accepted >= 55


@pytest.mark.mostly_slow
@pytest.mark.parametrize("kind", GATED)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_arithmetic_gives_the_same_if_gates_are_saturated(variant: str, kind: str) -> None:
    way = VARIANTS[variant]
    for seed in range(12):
        problem = saturated(seed, kind)
        trace = run_layers(problem)
        assert is_exact(problem, trace, 2.0 ** min(way.operand, way.partial, way.stored))
        for key, got in evaluate(problem, way, np.random.default_rng(seed)).items():
            np.testing.assert_array_equal(got, trace.results[key], err_msg=f"seed {seed}: {key}")


@pytest.mark.parametrize("kind", GATED)
def test_a_problem_with_a_gate_that_rounds_is_not_exact(kind: str) -> None:
    problem = saturated(1, kind)
    limit = LIMITS["float32"]
    assert is_exact(problem, run_layers(problem), limit)
    changes: list[dict[str, Any]] = [
        {"weights": {name: values / 64.0 for name, values in problem.weights.items()}},
        {"weights": {name: values / 2.0 for name, values in problem.weights.items()}},
        {"input": problem.input * np.nan},
        {"initial": {name: values + 2.0**-30 for name, values in problem.initial.items()}},
    ]
    for change in changes:
        changed = replace(problem, **change)
        assert not is_exact(changed, run_layers(changed), limit)
    seeds = cotangents(np.random.default_rng(0), problem)
    assert not is_exact_gradient(problem, run_layers(problem), seeds, limit)


def test_the_memory_of_an_exact_lstm_saturates_tanh() -> None:
    problem = saturated(1, "lstm")
    small = replace(problem, initial={**problem.initial, "c_0": problem.initial["c_0"] / 64.0})
    assert not is_exact(small, run_layers(small), LIMITS["float64"])


@pytest.mark.parametrize("formula", SIGMOID)
@pytest.mark.parametrize(("name", "size"), [("float32", 24), ("bfloat16", 8), ("float16", 11)])
def test_the_bound_of_a_sigmoid_covers_every_formula(name: str, size: int, formula: str) -> None:
    sums = np.concatenate([np.linspace(-30.0, 30.0, 4001), [0.0]])
    sums = bits(sums, size)
    enclosed = ElementRounding.from_rounding(ROUNDINGS[name]).enclose(sums, np.zeros_like(sums))
    bound, value = enclosed.sigmoid().bound(), enclosed.sigmoid().value
    assert (np.abs(SIGMOID[formula](sums, size) - value) <= bound).all()
    assert bound.max() <= 12.0 * ROUNDINGS[name].u_st
    slopes = SIGMOID[formula](sums, size)
    slopes = bits(slopes * bits(1.0 - slopes, size), size)
    allowed = enclosed.sigmoid().sigmoid_slope()
    assert (np.abs(slopes - allowed.value) <= allowed.bound()).all()


@pytest.mark.parametrize("order", ["forwards", "backwards", "pairwise", "shuffled"])
def test_the_bound_covers_every_order_of_mixing_a_large_state_with_a_new_one(order: str) -> None:
    rng = np.random.default_rng(0)
    gate, new, state = rng.random((3, 5000))
    gate, new, state = (
        bits(values, 11) for values in (gate**4, 2.0 * new - 1.0, 2000.0 * (state - 0.5))
    )
    enclose = ElementRounding.from_rounding(ROUNDINGS["float16"]).enclose
    zero = np.zeros_like(gate)
    expected = mix(*(enclose(values, zero) for values in (gate, new, state)))
    way = Arithmetic("float16", 11, 11, 11, order=order)
    found = mix_in_order(gate, new, state, way)
    assert (np.abs(found - expected.value) <= expected.bound()).all()


@pytest.mark.parametrize("formula", SIGMOID)
def test_the_bound_covers_the_gradient_of_a_gate_and_of_its_remainder_by_two_sigmoids(
    formula: str,
) -> None:
    rng = np.random.default_rng(0)
    sums, received, new, near = rng.uniform(-1.0, 1.0, (4, 5000))
    # The states before and after are nearly equal, so their difference is small. Large sums make
    # the error of 1 - z, which cancels, larger than the slope.
    sums, received, new, before = (
        bits(values, 24) for values in (15.0 * sums, received, new, new + 1e-4 * near)
    )

    def weight(value: Array, x: Array) -> Array:
        gate = SIGMOID[formula](x, 24)
        return bits(bits(received * value, 24) * bits(gate * bits(1.0 - gate, 24), 24), 24)

    found = bits(weight(before, sums) - weight(new, -sums), 24)
    zero = np.zeros_like(sums)
    enclose = ElementRounding.from_rounding(ROUNDINGS["float32"]).enclose
    slope = enclose(sums, zero).sigmoid().sigmoid_slope()
    dh, difference = enclose(received, zero), enclose(before, zero) - enclose(new, zero)
    shared = dh * difference * slope
    allowed = allow_separate_slopes(shared, dh, difference, slope)
    assert (np.abs(found - allowed.value) <= allowed.bound()).all()
    assert not (np.abs(found - shared.value) <= shared.bound()).all()


@pytest.mark.parametrize("kind", LAYER_KINDS)
@pytest.mark.parametrize("name", DTYPES)
def test_an_error_of_some_dozen_roundoffs_exceeds_the_bound(name: str, kind: str) -> None:
    rounding = FLOAT32_SUMS.get(name, ROUNDINGS[name])
    config = Config(3, 3, kind=kind)
    seen = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        problem = Problem(
            config,
            {
                name: rng.uniform(-0.5, 0.5, shape)
                for name, shape in parameter_shapes(config).items()
            },
            rng.standard_normal((2, 2, 3)),
            {
                f"{letter}_0": rng.standard_normal(state_rows(config, 2, letter))
                for letter in config.kind_data.states
            },
            np.array([2, 2]),
        )
        trace = run_layers(problem)
        allowed = compute_bound(problem, trace, rounding)
        seen += any(
            excess(values * (1.0 + 128.0 * rounding.u_st), values, allowed.results[key]) > 1.0
            for key, values in trace.results.items()
        )
    assert seen >= 36


@pytest.mark.parametrize("kind", GATED)
@pytest.mark.parametrize(
    ("name", "scale"), [("float16", 1e6), ("float32", 1e40), ("bfloat16", 1e40)]
)
def test_the_bound_is_infinite_if_a_state_or_a_sum_may_overflow(
    name: str, scale: float, kind: str
) -> None:
    problem = saturated(2, kind)
    state = problem.config.kind_data.initial[-1]
    large = np.where(problem.initial[state] < 0.0, -scale, scale)
    for changed in (
        replace(problem, input=np.sign(problem.input) * scale + scale),
        replace(problem, initial={**problem.initial, state: large}),
    ):
        trace = run_layers(changed)
        allowed = compute_bound(changed, trace, ROUNDINGS[name])
        seeds = cotangents(np.random.default_rng(0), changed)
        bounds = compute_gradient_bound(changed, trace, seeds, ROUNDINGS[name])
        assert np.isinf(allowed.h_n).any()
        for values in (*allowed.results.values(), *bounds.values()):
            assert not np.isnan(values).any()
        assert any(np.isinf(values).any() for values in bounds.values())


def test_a_gru_that_resets_before_the_product_exceeds_the_bound() -> None:
    problem = Problem(
        Config(1, 1, kind="gru"),
        {
            "weight_ih_l0": np.zeros((3, 1)),
            "weight_hh_l0": np.array([[0.0], [0.0], [1.0]]),
            "bias_ih_l0": np.zeros(3),
            "bias_hh_l0": np.array([0.0, -40.0, 1.0]),
        },
        np.zeros((1, 1, 1)),
        {"h_0": np.zeros((1, 1, 1))},
        np.array([1]),
    )
    trace = run_layers(problem)
    allowed = compute_bound(problem, trace, ROUNDINGS["bfloat16"])
    after, before = np.tanh(0.5), np.tanh(1.0)
    assert abs(trace.output[0, 0, 0] - after) <= 1e-15
    assert before - after > allowed.output[0, 0, 0]


def test_functions_of_blocks_side_by_side_are_those_of_each_block() -> None:
    rng = np.random.default_rng(0)
    enclose = ElementRounding.from_rounding(ROUNDINGS["float16"]).enclose
    first, second = (
        [enclose(rng.standard_normal((2, 3)) * 300, 0.1 * rng.random((2, 3))) for _ in range(3)]
        for _ in range(2)
    )
    for function, blocks in ((sigmoid, [first]), (mul, [first, second])):
        together = apply_to_each(function, *blocks)
        for one, arguments in zip(together, zip(*blocks, strict=True), strict=True):
            np.testing.assert_array_equal(one.parts, function(*arguments).parts)

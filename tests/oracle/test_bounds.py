"""Test that bounds hold for torch.nn.RNN and any valid arithmetic, and reveal invalid ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch

from rnnspec.contract.config import Config
from rnnspec.contract.kinds import LAYER_KINDS
from rnnspec.contract.shapes import parameter_shapes
from rnnspec.oracle import (
    FLOAT32_SUMS,
    ROUNDINGS,
    Array,
    Bound,
    Problem,
    Rounding,
    Trace,
    compute_bound,
    compute_gradient_bound,
    compute_gradients,
    run_layers,
)
from rnnspec.selftest import CORRECT
from tests.oracle.drawn import DTYPES, CheckedCase, cast, check, cotangents, draw, excess
from tests.oracle.loops import LOOPS
from tests.oracle.variants import VARIANTS, evaluate

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")

CONFIGURATIONS = {"rnn": 120, "gru": 40, "lstm": 40}
"""How many are drawn for each kind; `benchmarks/bound_holds.py` draws many more."""
EVERY_ROUNDING = {each.name: each for each in (*ROUNDINGS.values(), *FLOAT32_SUMS.values())}
SHORT_SUMS = [CORRECT[f"SumsIn16Bits{order}"] for order in ("", "Reversed", "Pairwise")]


def worst(answers: Mapping[str, Array], trace: Trace, allowed: Bound) -> float:
    return max(
        excess(answers[name], expected, allowed.results[name])
        for name, expected in trace.results.items()
    )


def checked_excess(problem: Problem, answers: Mapping[str, Array], rounding: Rounding) -> float:
    trace = run_layers(problem)
    return worst(answers, trace, compute_bound(problem, trace, rounding))


@pytest.mark.parametrize("kind", LAYER_KINDS)
@pytest.mark.parametrize("name", DTYPES)
def test_torch_stays_within_the_bound(name: str, kind: str) -> None:
    rounding = FLOAT32_SUMS.get(name, ROUNDINGS[name])
    for seed in range(CONFIGURATIONS[kind]):
        problem = draw(np.random.default_rng(seed), DTYPES[name], kind=kind)
        assert checked_excess(problem, check(problem, DTYPES[name]), rounding) <= 1.0, (
            f"seed {seed}: {problem.config}"
        )


def assert_gradients_within(
    seed: int,
    name: str,
    rounding: Rounding,
    layer: type[torch.nn.Module] | None = None,
    kind: str = "rnn",
) -> None:
    rng, dtype = np.random.default_rng(seed), DTYPES[name]
    problem = draw(rng, dtype, kind=kind)
    trace, seeds = run_layers(problem), cotangents(rng, problem, dtype)
    expected, allowed = (
        compute_gradients(problem, trace, seeds),
        compute_gradient_bound(problem, trace, seeds, rounding),
    )
    found = CheckedCase(problem, dtype, grad=True, layer=layer).gradients(seeds)
    assert set(found) == set(expected)
    for key, got in found.items():
        assert excess(got, expected[key], allowed[key]) <= 1.0, (
            f"seed {seed}: {key} of {problem.config}"
        )


@pytest.mark.mostly_slow
@pytest.mark.parametrize("kind", LAYER_KINDS)
@pytest.mark.parametrize("name", ["float64", "float32"])
def test_gradients_of_torch_stay_within_the_bound(name: str, kind: str) -> None:
    for seed in range(CONFIGURATIONS[kind]):
        assert_gradients_within(seed, name, ROUNDINGS[name], kind=kind)


@pytest.mark.mostly_slow
@pytest.mark.parametrize("kind", ["gru", "lstm"])
@pytest.mark.parametrize("name", FLOAT32_SUMS)
def test_gradients_of_torch_in_16_bits_stay_within_the_bound(name: str, kind: str) -> None:
    for seed in range(15):
        assert_gradients_within(seed, name, FLOAT32_SUMS[name], kind=kind)


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("layer", LOOPS)
def test_a_loop_of_single_operations_stays_within_the_bound(
    name: str, layer: type[torch.nn.RNNBase]
) -> None:
    rounding, kind = FLOAT32_SUMS.get(name, ROUNDINGS[name]), LOOPS[layer]
    for seed in range(6):
        problem = draw(np.random.default_rng(seed), DTYPES[name], kind=kind, steps=8)
        checked = CheckedCase(problem, DTYPES[name], layer=layer)
        assert checked_excess(problem, checked.results, rounding) <= 1.0, f"seed {seed}"
        assert_gradients_within(seed, name, rounding, layer, kind)


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name", FLOAT32_SUMS)
@pytest.mark.parametrize("layer", SHORT_SUMS)
def test_sums_in_16_bits_stay_within_the_bound(name: str, layer: type[torch.nn.Module]) -> None:
    for seed in range(10):
        problem = draw(np.random.default_rng(seed), DTYPES[name])
        checked = CheckedCase(problem, DTYPES[name], layer=layer)
        assert checked_excess(problem, checked.results, ROUNDINGS[name]) <= 1.0, f"seed {seed}"
        assert_gradients_within(seed, name, ROUNDINGS[name], layer)


@pytest.mark.mostly_slow
@pytest.mark.parametrize("kind", LAYER_KINDS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_valid_arithmetic_stays_within_its_bound(variant: str, kind: str) -> None:
    way = VARIANTS[variant]
    for seed in range(12 if kind == "rnn" else 6):
        rng = np.random.default_rng(seed)
        problem = draw(
            rng,
            DTYPES.get(way.checked_by.split()[0], torch.float32),
            largest=13,
            steps=8,
            kind=kind,
        )
        assert (
            checked_excess(problem, evaluate(problem, way, rng), EVERY_ROUNDING[way.checked_by])
            <= 1.0
        ), f"seed {seed}: {problem.config}"


def ordinary(seed: int, dtype: str = "float64", kind: str = "rnn") -> Problem:
    """Draw a problem with weights of ordinary size and without padding."""
    rng = np.random.default_rng(seed)
    problem = draw(rng, DTYPES[dtype], largest=13, steps=8, kind=kind)
    weights = {
        name: cast(rng.uniform(-0.5, 0.5, values.shape), DTYPES[dtype])
        for name, values in problem.weights.items()
    }
    values = cast(rng.standard_normal(problem.input.shape), DTYPES[dtype])
    return replace(
        problem,
        weights=weights,
        input=values,
        lengths=np.full(len(problem.lengths), len(values)),
        masks={},
    )


@pytest.mark.mostly_slow
@pytest.mark.parametrize("kind", LAYER_KINDS)
def test_tf32_in_place_of_float32_exceeds_the_bound(kind: str) -> None:
    refused = 0
    for seed in range(40):
        problem = ordinary(seed, "float32", kind)
        answers = evaluate(problem, VARIANTS["tf32"], np.random.default_rng(seed))
        assert checked_excess(problem, answers, ROUNDINGS["tf32"]) <= 1.0
        refused += checked_excess(problem, answers, ROUNDINGS["float32"]) > 1.0
    assert refused >= 36


@pytest.mark.parametrize("kind", LAYER_KINDS)
def test_a_change_of_one_weight_by_a_billionth_exceeds_the_bound_in_float64(kind: str) -> None:
    seen = 0
    for seed in range(40):
        problem = ordinary(seed, kind=kind)
        problem = replace(problem, config=replace(problem.config, nonlinearity="tanh"))
        name = sorted(problem.weights)[seed % len(problem.weights)]
        changed = problem.weights[name].copy()
        changed[(0,) * changed.ndim] *= 1.0 + 1e-9
        other = run_layers(replace(problem, weights={**problem.weights, name: changed}))
        seen += checked_excess(problem, other.results, ROUNDINGS["float64"]) > 1.0
    assert seen >= 38


@pytest.mark.parametrize("kind", LAYER_KINDS)
@pytest.mark.parametrize("name", EVERY_ROUNDING)
def test_a_bound_is_positive_and_never_nan(name: str, kind: str) -> None:
    for seed in range(20 if kind == "rnn" else 6):
        problem = ordinary(seed, kind=kind)
        trace = run_layers(problem)
        seeds = cotangents(np.random.default_rng(seed), problem, DTYPES["float64"])
        allowed = compute_bound(problem, trace, EVERY_ROUNDING[name])
        for values in (
            *allowed.results.values(),
            *compute_gradient_bound(problem, trace, seeds, EVERY_ROUNDING[name]).values(),
        ):
            assert (values > 0.0).all()


@pytest.mark.parametrize("name", EVERY_ROUNDING)
def test_gamma_is_not_lost_to_cancellation(name: str) -> None:
    rounding = EVERY_ROUNDING[name]
    assert (
        rounding.gamma(3)
        >= 3 * rounding.u_acc + 2 * rounding.u_op + rounding.c_st * rounding.u_st
        > 0.0
    )
    assert rounding.gamma(3) < rounding.gamma(4) < rounding.gamma(4, stores=1)
    assert rounding.factor(2) > 2 * rounding.u_st


def test_sums_of_very_many_terms_in_16_bits_have_no_bound() -> None:
    config = Config(1, 1, nonlinearity="relu", bias=False)
    weights = {name: np.ones(shape) for name, shape in parameter_shapes(config).items()}
    batch = 200_000
    problem = Problem(
        config,
        weights,
        np.full((1, batch, 1), 2.0**-9),
        {"h_0": np.zeros((1, batch, 1))},
        np.ones(batch, dtype=np.int64),
    )
    trace = run_layers(problem)
    seeds = {"output": np.ones((1, batch, 1)), "h_n": np.zeros((1, batch, 1))}
    wide, narrow = (
        compute_gradient_bound(problem, trace, seeds, each)["weight_ih_l0"]
        for each in (ROUNDINGS["bfloat16"], FLOAT32_SUMS["bfloat16"])
    )
    assert np.isinf(wide).all()
    assert np.isfinite(narrow).all()


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_the_bound_does_not_grow_with_time_if_the_rows_contract(nonlinearity: str) -> None:
    rng = np.random.default_rng(0)
    config = Config(16, 16, nonlinearity=nonlinearity)
    weights = {
        name: rng.uniform(-1.0, 1.0, shape) for name, shape in parameter_shapes(config).items()
    }
    weights = {
        name: values * 0.9 / np.abs(values).sum(axis=-1, keepdims=True)
        for name, values in weights.items()
    }
    problem = Problem(
        config,
        weights,
        rng.standard_normal((200, 2, 16)),
        {"h_0": rng.standard_normal((1, 2, 16))},
        np.array([200, 200]),
    )
    allowed = compute_bound(problem, run_layers(problem), ROUNDINGS["float32"]).output.max(
        axis=(1, 2)
    )
    assert allowed.max() <= 1e-4
    assert allowed[100:].max() <= 1.5 * allowed[20:100].max()


def test_a_wider_dtype_has_a_smaller_bound() -> None:
    problem = ordinary(3)
    trace = run_layers(problem)
    sizes = [
        compute_bound(problem, trace, ROUNDINGS[name]).output.max()
        for name in ("float64", "float32", "tf32", "float16", "bfloat16")
    ]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("name", FLOAT32_SUMS)
def test_the_bound_of_sums_in_float32_is_nowhere_larger(name: str) -> None:
    for seed in range(40):
        problem = ordinary(seed, name)
        trace = run_layers(problem)
        narrow, wide = (
            compute_bound(problem, trace, each) for each in (FLOAT32_SUMS[name], ROUNDINGS[name])
        )
        assert (narrow.output <= wide.output).all()
        assert (narrow.h_n <= wide.h_n).all()


def test_the_bound_is_infinite_if_a_partial_sum_may_overflow() -> None:
    config = Config(3, 1, nonlinearity="relu", bias=False)
    weights = {"weight_ih_l0": np.ones((1, 3)), "weight_hh_l0": np.zeros((1, 1))}
    large = np.array([[[40000.0, 40000.0, -60000.0]]])
    problem = Problem(config, weights, large, {"h_0": np.zeros((1, 1, 1))}, np.array([1]))
    trace = run_layers(problem)
    assert trace.output[0, 0, 0] == 20000.0
    assert np.isinf(compute_bound(problem, trace, ROUNDINGS["float16"]).output).all()
    halved = replace(problem, input=large / 4)
    assert np.isfinite(compute_bound(halved, run_layers(halved), ROUNDINGS["float16"]).output).all()


@pytest.mark.parametrize(
    ("name", "scale"), [("float16", 1e6), ("float32", 1e40), ("bfloat16", 1e40), ("float64", 8e307)]
)
@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_the_bound_is_infinite_beyond_the_largest_number(
    name: str, scale: float, nonlinearity: str
) -> None:
    problem = ordinary(5)
    problem = replace(
        problem,
        config=replace(problem.config, nonlinearity=nonlinearity),
        input=np.sign(problem.input) * 2.0 * scale,
    )
    trace = run_layers(problem)
    allowed = compute_bound(problem, trace, ROUNDINGS[name])
    seeds = cotangents(np.random.default_rng(0), problem, DTYPES["float64"])
    assert np.isinf(allowed.h_n).all()
    for values in compute_gradient_bound(problem, trace, seeds, ROUNDINGS[name]).values():
        assert not np.isnan(values).any()
        assert np.isinf(values).any()


def test_the_bound_of_an_exploding_relu_is_finite_until_it_overflows() -> None:
    config = Config(2, 2, nonlinearity="relu", bias=False)
    weights = {name: np.full(shape, 1e9) for name, shape in parameter_shapes(config).items()}
    problem = Problem(
        config, weights, np.ones((8, 1, 2)), {"h_0": np.ones((1, 1, 2))}, np.array([8])
    )
    trace = run_layers(problem)
    allowed = compute_bound(problem, trace, ROUNDINGS["float32"])
    assert np.isfinite(allowed.output[:3]).all()
    assert np.isinf(allowed.output[5:]).all()


def test_the_bound_is_infinite_if_the_dropout_scale_overflows() -> None:
    config = Config(1, 1, 2, "relu", bias=False)
    weights = {name: np.ones(shape) for name, shape in parameter_shapes(config).items()}
    masks = {0: np.full((1, 2, 1), 10.0)}
    problem = Problem(
        config,
        weights,
        np.array([[[8000.0], [80.0]]]),
        {"h_0": np.zeros((2, 2, 1))},
        np.array([1, 1]),
        masks,
    )
    allowed = compute_bound(problem, run_layers(problem), ROUNDINGS["float16"])
    assert np.isinf(allowed.output[0, 0])
    assert np.isfinite(allowed.output[0, 1])
    assert np.isfinite(allowed.h_n[0]).all()


def test_the_slope_of_relu_at_zero_counts_as_unknown() -> None:
    problem = ordinary(5)
    config = replace(problem.config, nonlinearity="relu")
    zero = {name: np.zeros_like(values) for name, values in problem.weights.items()}
    problem = replace(problem, config=config, weights=zero)
    trace = run_layers(problem)
    seeds = cotangents(np.random.default_rng(0), problem, DTYPES["float64"])
    last = (
        f"bias_hh_l{config.num_layers - 1}"
        if config.bias
        else f"weight_hh_l{config.num_layers - 1}"
    )
    assert not compute_gradients(problem, trace, seeds)[last].any()
    assert compute_gradient_bound(problem, trace, seeds, ROUNDINGS["float64"])[last].max() > 0.1

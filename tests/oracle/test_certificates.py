"""Certificates hold for every valid arithmetic, and find errors that a whole trajectory hides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from rnnspec.contract.config import Config
from rnnspec.contract.kinds import KINDS, LAYER_KINDS
from rnnspec.contract.shapes import parameter_shapes
from rnnspec.oracle import (
    FLOAT32_SUMS,
    ROUNDINGS,
    Array,
    Problem,
    Rounding,
    certify,
    certify_gradients,
    compute_bound,
    name_shown,
    run_layers,
)
from tests.oracle.drawn import (
    DTYPES,
    CheckedCase,
    cast,
    check,
    cotangents,
    draw,
    excess,
    state_rows,
)
from tests.oracle.loops import LOOPS
from tests.oracle.plain import exact, forward
from tests.oracle.test_bounds import EVERY_ROUNDING, SHORT_SUMS
from tests.oracle.variants import VARIANTS, evaluate

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")

SEEDS = 30
"""How many problems are drawn of a kind; `benchmarks/bound_holds.py` draws many more."""


def measure_excess(problem: Problem, results: dict[str, Array], rounding: Rounding) -> float:
    """Return the largest error of a step, in units of the certificate's bound."""
    shown = name_shown(problem)
    assert shown is not None
    found = certify(problem, results[shown], rounding)
    return max(
        excess(results[name], found.results[name], found.bound.results[name]) for name in results
    )


def draw_shown(seed: int, dtype: str, kind: str, **sizes: int) -> Problem:
    """Draw a problem whose results show all hidden states: of one layer, or of one step."""
    problem = draw(np.random.default_rng(seed), DTYPES[dtype], kind=kind, **sizes)
    if name_shown(problem) is None:
        problem = replace(
            problem,
            input=problem.input[:1],
            lengths=np.ones_like(problem.lengths),
            masks={layer: mask[:1] for layer, mask in problem.masks.items()},
        )
    return problem


def draw_real(kind: str, steps: int = 16, dtype: str = "float32") -> Problem:
    """Draw a layer with 128 features and 256 units, with the weights of a new one."""
    rng, config = np.random.default_rng(0), Config(128, 256, kind=kind)
    weights = {
        name: cast(rng.uniform(-1.0, 1.0, shape) / 16.0, DTYPES[dtype])
        for name, shape in parameter_shapes(config).items()
    }
    initial = {
        name: cast(rng.standard_normal(state_rows(config, 2, name[0])), DTYPES[dtype])
        for name in config.kind_data.initial
    }
    values = cast(rng.standard_normal((steps, 2, 128)), DTYPES[dtype])
    return Problem(config, weights, values, initial, np.full(2, steps))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", DTYPES)
def test_torch_stays_within_its_certificate(name: str, kind: str) -> None:
    rounding = FLOAT32_SUMS.get(name, ROUNDINGS[name])
    for seed in range(SEEDS):
        problem = draw_shown(seed, name, kind)
        found = measure_excess(problem, check(problem, DTYPES[name]), rounding)
        assert found <= 1.0, f"seed {seed}: {problem.config}"


@pytest.mark.mostly_slow
@pytest.mark.parametrize("kind", LAYER_KINDS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_valid_arithmetic_stays_within_its_certificate(variant: str, kind: str) -> None:
    way = VARIANTS[variant]
    dtype = way.checked_by.split()[0]
    for seed in range(8):
        problem = draw_shown(
            seed, dtype if dtype in DTYPES else "float32", kind, largest=13, steps=8
        )
        results = evaluate(problem, way, np.random.default_rng(seed))
        found = measure_excess(problem, results, EVERY_ROUNDING[way.checked_by])
        assert found <= 1.0, f"seed {seed}: {problem.config}"


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name", FLOAT32_SUMS)
@pytest.mark.parametrize("layer", SHORT_SUMS)
def test_sums_in_16_bits_stay_within_their_certificate(
    name: str, layer: type[torch.nn.RNNBase]
) -> None:
    for seed in range(8):
        problem = draw_shown(seed, name, "rnn", steps=8)
        results = CheckedCase(problem, DTYPES[name], layer=layer).results
        assert measure_excess(problem, results, ROUNDINGS[name]) <= 1.0, f"seed {seed}"


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("layer", LOOPS)
def test_a_loop_of_single_operations_stays_within_its_certificate(
    name: str, layer: type[torch.nn.RNNBase]
) -> None:
    rounding = FLOAT32_SUMS.get(name, ROUNDINGS[name])
    for seed in range(8):
        problem = draw_shown(seed, name, LOOPS[layer], steps=8)
        results = CheckedCase(problem, DTYPES[name], layer=layer).results
        assert measure_excess(problem, results, rounding) <= 1.0, f"seed {seed}"


@pytest.mark.parametrize("kind", LAYER_KINDS)
@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_states_may_be_wider_than_the_output(name: str, kind: str) -> None:
    rounding = FLOAT32_SUMS.get(name, ROUNDINGS[name])
    for seed in range(SEEDS):
        problem = draw_shown(seed, name, kind)
        wide = run_layers(problem).results
        results = {each: cast(values, DTYPES[name]) for each, values in wide.items()}
        assert measure_excess(problem, results, rounding) <= 1.0, f"seed {seed}: {problem.config}"


@pytest.mark.parametrize("kind", LAYER_KINDS)
def test_results_with_60_digits_stay_within_the_certificate_of_float64(kind: str) -> None:
    config = Config(3, 4, kind=kind, bidirectional=True)
    rng = np.random.default_rng(0)
    weights = {name: rng.standard_normal(shape) for name, shape in parameter_shapes(config).items()}
    initial = {name: rng.standard_normal((2, 2, 4)) for name in config.kind_data.initial}
    problem = Problem(config, weights, rng.standard_normal((12, 2, 3)), initial, np.full(2, 12))
    results = {
        name: np.array(balls, dtype=np.float64)
        for name, balls in forward(problem, exact(problem)).items()
    }
    assert measure_excess(problem, results, ROUNDINGS["float64"]) <= 1.0
    unit = results["output"][7, 1, 2]
    results["output"][7, 1, 2] = unit + 1e-13
    assert measure_excess(problem, results, ROUNDINGS["float64"]) > 1.0


@pytest.mark.parametrize("kind", LAYER_KINDS)
def test_an_error_at_a_real_size_is_found_in_the_step_where_it_arises(kind: str) -> None:
    problem = draw_real(kind)
    results = check(problem, torch.float32)
    rounding = ROUNDINGS["float32"]
    assert measure_excess(problem, results, rounding) <= 0.02
    results["output"][5, 1, 128] += 1e-3
    trace = run_layers(problem)
    whole = compute_bound(problem, trace, rounding).output
    found = certify(problem, results["output"], rounding)
    wrong = np.abs(results["output"] - found.results["output"]) > found.bound.output
    assert (np.abs(results["output"] - trace.output) <= whole).all()
    assert np.argwhere(wrong).tolist()[0] == [5, 1, 128]


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_a_lost_step_of_a_long_sequence_exceeds_the_certificate(name: str) -> None:
    problem = draw_real("lstm", dtype=name)
    spoiled = problem.input.copy()
    spoiled[9] = 0.0
    other = check(replace(problem, input=spoiled), DTYPES[name])
    assert measure_excess(problem, other, FLOAT32_SUMS.get(name, ROUNDINGS[name])) > 1.0


def test_the_certificate_does_not_grow_with_time() -> None:
    problem = draw_real("lstm", steps=48)
    shown = check(problem, torch.float32)["output"]
    allowed = certify(problem, shown, ROUNDINGS["float32"]).bound.output.max(axis=(1, 2))
    assert allowed.max() <= 2.0 * allowed[0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("kind", LAYER_KINDS)
def test_a_state_that_is_not_finite_is_the_only_one_that_is_wrong(kind: str, value: float) -> None:
    problem = draw_real(kind, steps=4)
    results = check(problem, torch.float32)
    results["output"][1] = value
    found = certify(problem, results["output"], ROUNDINGS["float32"])
    allowed = found.bound.output
    assert not any(np.isnan(each).any() for each in found.bound.results.values())
    assert np.isfinite(allowed[:2]).all()
    assert np.isinf(allowed[2:]).all()


def test_a_stack_shows_its_states_in_a_call_of_one_step_only() -> None:
    config = Config(3, 4, num_layers=2)
    weights = {name: np.ones(shape) for name, shape in parameter_shapes(config).items()}
    first = {"h_0": np.zeros((2, 1, 4))}
    names = [
        name_shown(Problem(config, weights, np.zeros((steps, 1, 3)), first, np.array([steps])))
        for steps in (1, 2)
    ]
    assert names == ["h_n", None]


@pytest.mark.parametrize("row", [0, 1])
def test_each_layer_of_a_stack_is_certified_in_a_call_of_one_step(row: int) -> None:
    config = Config(64, 128, num_layers=2)
    rng = np.random.default_rng(0)
    weights = {
        name: cast(rng.uniform(-0.1, 0.1, shape), torch.float32)
        for name, shape in parameter_shapes(config).items()
    }
    values = cast(rng.standard_normal((1, 2, 64)), torch.float32)
    first = {"h_0": cast(rng.standard_normal((2, 2, 128)), torch.float32)}
    problem = Problem(config, weights, values, first, np.ones(2, dtype=np.int64))
    results = check(problem, torch.float32)
    assert measure_excess(problem, results, ROUNDINGS["float32"]) <= 1.0
    results["h_n"][row, 1, 100] += 1e-3
    assert measure_excess(problem, results, ROUNDINGS["float32"]) > 1.0


def measure_gradient_excess(
    problem: Problem,
    checked: CheckedCase,
    rounding: Rounding,
    *,
    is_usual: bool,
    error: float = 0.0,
) -> float:
    """Return the largest error of a gradient, in units of its bound.

    Each gradient of the layer is too large by a relative `error`.
    """
    given = cotangents(np.random.default_rng(1), problem, torch.float32)
    shown = checked.results[str(name_shown(problem))]
    found = certify_gradients(problem, shown, given, rounding, is_usual=is_usual)
    return max(
        excess(got * (1.0 + error), found.results[name], found.bound.results[name])
        for name, got in checked.gradients(given).items()
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["float64", "float32"])
def test_gradients_of_torch_stay_within_their_certificate(name: str, kind: str) -> None:
    for seed in range(SEEDS // 3):
        problem = draw_shown(seed, name, kind)
        checked = CheckedCase(problem, DTYPES[name], grad=True)
        found = measure_gradient_excess(problem, checked, ROUNDINGS[name], is_usual=False)
        assert found <= 1.0, f"seed {seed}: {problem.config}"


@pytest.mark.mostly_slow
@pytest.mark.parametrize("layer", LOOPS)
def test_gradients_of_a_loop_stay_within_their_certificate(layer: type[torch.nn.RNNBase]) -> None:
    for seed in range(8):
        problem = draw_shown(seed, "float32", LOOPS[layer], steps=8)
        checked = CheckedCase(problem, torch.float32, layer=layer, grad=True)
        found = measure_gradient_excess(problem, checked, ROUNDINGS["float32"], is_usual=False)
        assert found <= 1.0, f"seed {seed}: {problem.config}"


@pytest.mark.parametrize("kind", LAYER_KINDS)
def test_errors_of_gradients_at_a_real_size_are_unusual(kind: str) -> None:
    problem, rounding = draw_real(kind), ROUNDINGS["float32"]

    def measure(error: float, is_usual: bool) -> float:
        fresh = CheckedCase(problem, torch.float32, grad=True)
        return measure_gradient_excess(problem, fresh, rounding, is_usual=is_usual, error=error)

    assert measure(0.0, is_usual=True) <= 0.25
    assert measure(1e-4, is_usual=True) > 1.0
    assert measure(1e-4, is_usual=False) <= 1.0

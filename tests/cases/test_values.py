"""The numbers of a case: the same for the same case, all different, away from zero, and numbers of its dtype."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rnnspec import strategies
from rnnspec.cases.axes import LAWS, Distribution, InitialState, MemoryLayout, Mode
from rnnspec.cases.case import Case
from rnnspec.cases.values import Values, draw_values, round_to_dtype
from rnnspec.contract.config import Config
from rnnspec.contract.shapes import parameter_shapes

Array = NDArray[np.float64]
DTYPES = ("float64", "float32", "bfloat16", "float16")
BASE = Case(
    config=Config(4, 5, num_layers=2, bidirectional=True), steps=6, batch=3, initial_state=InitialState.GIVEN, seed=11
)
LAW_CASES = {
    "integer": BASE.replace(distribution=Distribution.INTEGER, nonlinearity="relu"),
    **{
        law: BASE.replace(values=law, dropout=0.5, mode=Mode.TRAIN)
        for law in ("readable", "solvable", "deaf")
    },
}


def arrays(values: Values) -> dict[str, Array]:
    return {
        **values.weights,
        "input": values.input,
        "h_0": values.h_0,
        "d_output": values.d_output,
        "d_h_n": values.d_h_n,
    }


def same(first: Values, second: Values) -> bool:
    return all(np.array_equal(array, arrays(second)[name]) for name, array in arrays(first).items())


@pytest.mark.parametrize("law", LAWS)
def test_the_same_case_has_the_same_numbers_and_another_seed_has_others(law: str) -> None:
    case = LAW_CASES.get(law, BASE.replace(values=law))
    first = draw_values(case)
    draw_values.cache_clear()
    assert draw_values(case) is not first
    assert same(draw_values(case), first)
    assert not same(draw_values(case.replace(seed=12)), first)


def test_the_arrays_have_the_documented_shapes_and_cannot_be_written() -> None:
    values = draw_values(BASE)
    assert {name: array.shape for name, array in values.weights.items()} == parameter_shapes(
        BASE.config
    )
    assert (values.input.shape, values.h_0.shape, values.d_output.shape, values.d_h_n.shape) == (
        (6, 3, 4),
        (4, 3, 5),
        (6, 3, 10),
        (4, 3, 5),
    )
    with pytest.raises(ValueError, match="read-only"):
        values.input[0] = 0


def test_all_numbers_differ_and_keep_away_from_zero() -> None:
    values = draw_values(BASE)
    entries = np.concatenate([array.ravel() for array in arrays(values).values()])
    assert len(np.unique(np.abs(entries))) == len(entries)
    assert np.abs(entries).min() > 0.004
    assert np.abs(np.concatenate([values.input.ravel(), values.h_0.ravel()])).min() >= 0.2
    assert (
        np.abs(
            np.concatenate([array for name, array in values.weights.items() if "bias" in name])
        ).min()
        >= 0.1
    )


def test_every_layer_and_direction_has_its_own_state_and_both_biases_differ() -> None:
    values = draw_values(BASE)
    assert len({row.tobytes() for row in values.h_0}) == 4
    for layer, end in ((layer, end) for layer in (0, 1) for end in ("", "_reverse")):
        ih, hh = values.weights[f"bias_ih_l{layer}{end}"], values.weights[f"bias_hh_l{layer}{end}"]
        assert not np.isclose(ih, hh).any()


def test_where_no_state_is_given_it_is_zero() -> None:
    assert not draw_values(BASE.replace(initial_state=InitialState.ABSENT)).h_0.any()


@pytest.mark.parametrize("hidden", [1, 2, 17, 256])
@pytest.mark.parametrize("law", ["plain", "large", "spread", "deaf"])
def test_the_recurrence_contracts(hidden: int, law: str) -> None:
    case = BASE.replace(
        hidden_size=hidden,
        values=law,
        **({"dropout": 0.5, "mode": Mode.TRAIN} if law == "deaf" else {}),
    )
    for name, array in draw_values(case).weights.items():
        if name.startswith("weight_hh"):
            assert np.abs(array).sum(axis=1).max() <= 0.9 + 1e-12
            assert np.abs(array).sum(axis=0).max() <= 0.9 + 1e-12


@pytest.mark.parametrize("dtype", DTYPES)
@hypothesis.settings(max_examples=25, database=None)
@hypothesis.given(data=hypothesis.strategies.data())
def test_every_number_is_one_of_the_dtype(
    dtype: str, data: hypothesis.strategies.DataObject
) -> None:
    values = draw_values(data.draw(strategies.cases(dtype=dtype)))
    for name, array in arrays(values).items():
        there_and_back = torch.from_numpy(array.copy()).to(getattr(torch, dtype)).double().numpy()
        assert np.array_equal(there_and_back, array), name


def test_rounding_to_bfloat16_is_that_of_torch() -> None:
    numbers = np.random.default_rng(0).standard_normal(10_000) * np.exp2(
        np.random.default_rng(1).integers(-30, 30, 10_000)
    )
    once = numbers.astype(np.float32).astype(np.float64)
    assert np.array_equal(
        round_to_dtype(once, "bfloat16"), torch.from_numpy(once).bfloat16().double().numpy()
    )


def test_a_sparse_law_has_exact_zeros_and_a_plain_one_has_none() -> None:
    wide = BASE.replace(input_size=30)
    assert (draw_values(wide.replace(distribution=Distribution.SPREAD)).input == 0).any()
    assert (draw_values(wide).input != 0).all()


def test_integers_are_small_integers() -> None:
    for name, array in arrays(draw_values(LAW_CASES["integer"])).items():
        assert np.array_equal(array, np.round(array)), name
        assert np.abs(array).max() <= 4, name


def test_ternary_weights_saturate_tanh_or_vanish() -> None:
    for name, array in draw_values(BASE.replace(distribution=Distribution.TERNARY)).weights.items():
        assert set(np.unique(array)) <= {-64.0, 0.0, 64.0}, name


def test_upper_layers_are_deaf_and_only_they() -> None:
    weights = draw_values(LAW_CASES["deaf"]).weights
    assert {name for name, array in weights.items() if not array.any()} == {
        "weight_ih_l1",
        "weight_ih_l1_reverse",
    }


@pytest.mark.parametrize(("batch", "axis"), [(3, 1), (1, 0)])
def test_an_expanded_input_repeats_one_slice(batch: int, axis: int) -> None:
    values = draw_values(BASE.replace(memory_layout=MemoryLayout.EXPANDED, batch=batch))
    assert len(np.unique(values.input, axis=axis).squeeze().shape) >= 1
    assert np.array_equal(
        values.input, np.broadcast_to(values.input.take([0], axis), values.input.shape)
    )
    assert not np.array_equal(values.input, draw_values(BASE.replace(batch=batch)).input)


def test_rounding_leaves_the_numbers_of_the_dtype_alone() -> None:
    numbers = np.array([0.1, 1.0, 3.1415926535])
    for dtype in DTYPES:
        once = round_to_dtype(numbers, dtype)
        assert np.array_equal(round_to_dtype(once, dtype), once)
        assert (dtype == "float64") == np.array_equal(once, numbers)

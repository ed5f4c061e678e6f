"""The numbers of a case: reproducible, distinct, not close to zero, and numbers of its dtype."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rnnspec import strategies
from rnnspec.cases.axes import Distribution, DType, InitialState, Layout, MemoryLayout, Mode
from rnnspec.cases.case import Case
from rnnspec.cases.values import Values, draw_values, round_to_dtype
from rnnspec.contract.config import Config
from rnnspec.contract.shapes import parameter_shapes

Array = NDArray[np.float64]
BASE = Case(
    config=Config(4, 5, num_layers=2, bidirectional=True),
    steps=6,
    batch=3,
    initial_state=InitialState.GIVEN,
    seed=11,
)


def make_case(distribution: Distribution) -> Case:
    """Return a consistent case with this distribution."""
    if distribution is Distribution.INTEGER:
        return BASE.replace(distribution=distribution, nonlinearity="relu")
    if distribution.needs_dropout:
        return BASE.replace(distribution=distribution, dropout=0.5, mode=Mode.TRAIN)
    return BASE.replace(distribution=distribution)


def list_arrays(values: Values) -> dict[str, Array]:
    return {
        **values.weights,
        "input": values.input,
        "h_0": values.initial,
        "d_output": values.d_output,
        "d_h_n": values.d_final,
    }


def are_equal(first: Values, second: Values) -> bool:
    arrays = list_arrays(second)
    return all(np.array_equal(array, arrays[name]) for name, array in list_arrays(first).items())


@pytest.mark.parametrize("distribution", Distribution, ids=str)
def test_equal_cases_have_equal_numbers_and_other_seeds_have_others(
    distribution: Distribution,
) -> None:
    case = make_case(distribution)
    first = draw_values(case)
    draw_values.cache_clear()
    assert draw_values(case) is not first
    assert are_equal(draw_values(case), first)
    assert not are_equal(draw_values(case.replace(seed=12)), first)


def test_the_arrays_have_the_documented_shapes_and_cannot_be_written() -> None:
    values = draw_values(BASE)
    assert {name: array.shape for name, array in values.weights.items()} == parameter_shapes(
        BASE.config
    )
    assert values.input.shape == (6, 3, 4)
    assert values.initial.shape == (4, 3, 5)
    assert values.d_output.shape == (6, 3, 10)
    assert values.d_final.shape == (4, 3, 5)
    with pytest.raises(ValueError, match="read-only"):
        values.input[0] = 0


def test_all_numbers_differ_and_are_not_close_to_zero() -> None:
    values = draw_values(BASE)
    entries = np.concatenate([array.ravel() for array in list_arrays(values).values()])
    assert len(np.unique(np.abs(entries))) == len(entries)
    assert np.abs(entries).min() > 0.004
    assert np.abs(np.concatenate([values.input.ravel(), values.initial.ravel()])).min() >= 0.2
    biases = np.concatenate([array for name, array in values.weights.items() if "bias" in name])
    assert np.abs(biases).min() >= 0.1


def test_states_of_layers_and_directions_differ_and_so_do_the_two_biases() -> None:
    values = draw_values(BASE)
    assert len({row.tobytes() for row in values.initial}) == 4
    for layer, end in ((layer, end) for layer in (0, 1) for end in ("", "_reverse")):
        ih, hh = values.weights[f"bias_ih_l{layer}{end}"], values.weights[f"bias_hh_l{layer}{end}"]
        assert not np.isclose(ih, hh).any()


def test_the_initial_state_is_zero_if_none_is_given() -> None:
    assert not draw_values(BASE.replace(initial_state=InitialState.ABSENT)).initial.any()


@pytest.mark.parametrize("hidden", [1, 2, 17, 256])
@pytest.mark.parametrize(
    "distribution",
    [Distribution.PLAIN, Distribution.LARGE, Distribution.SPREAD, Distribution.DEAF],
    ids=str,
)
def test_the_recurrence_is_contractive(hidden: int, distribution: Distribution) -> None:
    case = make_case(distribution).replace(hidden_size=hidden)
    for name, array in draw_values(case).weights.items():
        if name.startswith("weight_hh"):
            assert np.abs(array).sum(axis=1).max() <= 0.9 + 1e-12
            assert np.abs(array).sum(axis=0).max() <= 0.9 + 1e-12


@pytest.mark.parametrize("dtype", DType, ids=str)
@hypothesis.settings(max_examples=25, database=None)
@hypothesis.given(data=hypothesis.strategies.data())
def test_all_numbers_are_numbers_of_the_dtype(
    dtype: DType, data: hypothesis.strategies.DataObject
) -> None:
    values = draw_values(data.draw(strategies.cases(dtype=dtype)))
    for name, array in list_arrays(values).items():
        there_and_back = torch.from_numpy(array.copy()).to(dtype.torch_dtype).double().numpy()
        assert np.array_equal(there_and_back, array), name


def test_rounding_to_bfloat16_is_the_same_as_in_torch() -> None:
    numbers = np.random.default_rng(0).standard_normal(10_000) * np.exp2(
        np.random.default_rng(1).integers(-30, 30, 10_000)
    )
    once = numbers.astype(np.float32).astype(np.float64)
    assert np.array_equal(
        round_to_dtype(once, DType.BFLOAT16), torch.from_numpy(once).bfloat16().double().numpy()
    )


def test_the_distribution_spread_has_exact_zeros_and_plain_has_none() -> None:
    wide = BASE.replace(input_size=30)
    assert (draw_values(wide.replace(distribution=Distribution.SPREAD)).input == 0).any()
    assert (draw_values(wide).input != 0).all()


def test_integers_are_small_integers() -> None:
    for name, array in list_arrays(draw_values(make_case(Distribution.INTEGER))).items():
        assert np.array_equal(array, np.round(array)), name
        assert np.abs(array).max() <= 4, name


def test_ternary_weights_saturate_tanh_or_vanish() -> None:
    for name, array in draw_values(BASE.replace(distribution=Distribution.TERNARY)).weights.items():
        assert set(np.unique(array)) <= {-64.0, 0.0, 64.0}, name


def test_with_the_distribution_deaf_upper_layers_ignore_the_layer_below() -> None:
    weights = draw_values(make_case(Distribution.DEAF)).weights
    assert {name for name, array in weights.items() if not array.any()} == {
        "weight_ih_l1",
        "weight_ih_l1_reverse",
    }


@pytest.mark.parametrize(("batch", "axis"), [(3, 1), (1, 0)])
def test_an_expanded_input_has_equal_slices(batch: int, axis: int) -> None:
    values = draw_values(BASE.replace(memory_layout=MemoryLayout.EXPANDED, batch=batch, seed=0))
    assert len(np.unique(values.input, axis=axis).squeeze().shape) >= 1
    assert np.array_equal(
        values.input, np.broadcast_to(values.input.take([0], axis), values.input.shape)
    )
    assert not np.array_equal(values.input, draw_values(BASE.replace(batch=batch, seed=0)).input)


@pytest.mark.parametrize(
    ("seed", "layout", "expanded"),
    [
        (0, Layout.BATCHED, {"input", "initial"}),
        (1, Layout.BATCHED, {"initial"}),
        (2, Layout.BATCHED, {"input"}),
        (2, Layout.PACKED, {"initial"}),
    ],
)
def test_input_states_or_both_are_expanded(seed: int, layout: Layout, expanded: set[str]) -> None:
    case = BASE.replace(
        memory_layout=MemoryLayout.EXPANDED,
        initial_state=InitialState.GIVEN,
        layout=layout,
        batch=3,
        seed=seed,
    )
    values = draw_values(case)
    arrays = {"input": values.input, "initial": values.initial}
    equal = {name for name, array in arrays.items() if np.array_equal(array[:, 0], array[:, 1])}
    assert equal == expanded


def test_rounding_does_not_change_numbers_of_the_dtype() -> None:
    numbers = np.array([0.1, 1.0, 3.1415926535])
    for dtype in DType:
        once = round_to_dtype(numbers, dtype)
        assert np.array_equal(round_to_dtype(once, dtype), once)
        assert (dtype is DType.FLOAT64) == np.array_equal(once, numbers)

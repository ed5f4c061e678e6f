"""Bounds that were computed before for the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

from rnnspec import oracle
from rnnspec.cases.axes import DType, GradMode
from rnnspec.cases.case import Case
from rnnspec.cases.values import draw_values
from rnnspec.contract.config import Config
from rnnspec.observe import expected
from rnnspec.observe.expected import MOST_NUMBERS, Expected, KeptBounds

CASE = Case(config=Config(2, 3, kind="lstm"), steps=3, batch=2)


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> KeptBounds:
    empty = KeptBounds(most=2)
    monkeypatch.setattr(expected, "BOUNDS", empty)
    return empty


def expect(case: Case) -> Expected:
    return Expected(case, draw_values(case))


def test_the_same_numbers_have_the_same_bound_however_the_layer_is_called(
    kept: KeptBounds,
) -> None:
    first, second = expect(CASE), expect(CASE.replace(grad_mode=GradMode.NO_GRAD))
    assert first.bound is second.bound
    assert first.gradient_bound is second.gradient_bound
    assert len(kept) == 2


def test_each_rounding_has_a_bound_of_its_own() -> None:
    few_digits = expect(CASE.replace(dtype=DType.BFLOAT16))
    assert few_digits.bound is not few_digits.float32_sums_bound


@pytest.mark.parametrize("change", [{"seed": 1}, {"bias": False}, {"num_layers": 2}, {"steps": 2}])
def test_other_numbers_have_a_bound_of_their_own(change: dict[str, int]) -> None:
    other = expect(CASE.replace(**change))
    assert other.bound is not expect(CASE).bound
    fresh = oracle.compute_bound(other.problem, other.trace, other.rounding)
    for name, array in other.bound.results.items():
        np.testing.assert_array_equal(array, fresh.results[name])


def test_other_cotangents_have_a_gradient_bound_of_their_own() -> None:
    whole = expect(CASE)
    assert whole.gradient_bound is not whole.restrict_to(("output",)).gradient_bound


def test_the_bounds_used_last_are_kept(kept: KeptBounds) -> None:
    bounds = [expect(CASE.replace(seed=seed)).bound for seed in range(3)]
    assert len(kept) == 2
    assert expect(CASE.replace(seed=2)).bound is bounds[2]
    assert expect(CASE.replace(seed=0)).bound is not bounds[0]


def test_bounds_of_many_numbers_are_not_kept(kept: KeptBounds) -> None:
    assert expect(CASE.replace(batch=MOST_NUMBERS)).bound is not None
    assert len(kept) == 0

"""Sizes from a pool: they are few, they are large where a row wants it, and no case is left out."""

from __future__ import annotations

from functools import lru_cache

from rnnspec.cases.axes import Distribution, Layout
from rnnspec.cases.case import Case, is_consistent
from rnnspec.cases.drawing import draw_cases, draw_examples
from rnnspec.cases.plan import PROFILES, PlanRow, Scope, plan_rows
from rnnspec.cases.sizes import (
    BEYOND_POOL,
    DIMENSIONS,
    MAX_CELL_CALLS,
    POOL,
    POOL_LARGE,
    READABLE_UNITS,
    draw_from_pool,
    list_pool_lengths,
)
from rnnspec.options import SizeSource

WHOLE_POOL = (*POOL, *BEYOND_POOL)
SIMPLE = plan_rows(PROFILES["quick"], 0, Scope())[0].row


@lru_cache
def draw_quick(source: SizeSource, profile: str = "quick") -> tuple[tuple[int, Case], ...]:
    rows = plan_rows(PROFILES[profile], 0, Scope())
    return tuple(draw_cases(rows, 0, source=source))


def list_shapes(source: SizeSource) -> set[tuple[int, ...]]:
    return {tuple(case.size(name) for name in DIMENSIONS) for _, case in draw_quick(source)}


def test_sizes_of_a_pool_are_few() -> None:
    assert len(list_shapes(SizeSource.FREE)) > 150
    assert len(list_shapes(SizeSource.POOL)) < 3 * len(WHOLE_POOL)
    whole = [
        tuple(case.size(name) for name in DIMENSIONS) for _, case in draw_quick(SizeSource.POOL)
    ]
    assert (
        sum(dict(zip(DIMENSIONS, shape, strict=True)) in WHOLE_POOL for shape in whole)
        > len(whole) // 2
    )


def test_the_other_choices_and_the_numbers_are_those_of_free_sizes() -> None:
    free, pool = draw_quick(SizeSource.FREE), draw_quick(SizeSource.POOL)
    assert [index for index, _ in free] == [index for index, _ in pool]
    for (_, one), (_, other) in zip(free, pool, strict=True):
        assert one.seed == other.seed
        assert is_consistent(other)
        for name in ("layout", "prior_use", "dtype", "num_layers", "mode", "distribution"):
            assert one.get_choice(name) == other.get_choice(name)


def test_a_pool_that_is_smaller_than_a_row_is_used_again() -> None:
    row = PlanRow(SIMPLE, 9, ("steps",))
    drawn = list(draw_cases([row], 4, source=SizeSource.POOL))
    assert [index for index, _ in drawn] == list(range(9))
    assert {case.steps for _, case in drawn} <= {POOL_LARGE, 129, 257}
    assert len({case.seed for _, case in drawn}) == 9
    assert drawn[5:] == list(draw_cases([row], 4, 5, source=SizeSource.POOL))


def test_lengths_of_packed_batches_depend_on_the_sizes_alone() -> None:
    packed = [
        case for _, case in draw_quick(SizeSource.POOL) if case.layout is Layout.PACKED_UNSORTED
    ]
    known: dict[tuple[int, int], tuple[int, ...]] = {}
    for case in packed:
        assert known.setdefault((case.steps, case.batch), case.lengths) == case.lengths
    assert list_pool_lengths(3, 2) == (2, 3)
    assert list_pool_lengths(3, 5) == (2, 3, 1, 2, 3)
    assert list_pool_lengths(1, 3) == (1, 1, 1)
    assert list_pool_lengths(33, 2) == (33, 3)
    assert any(list(case.lengths) != sorted(case.lengths, reverse=True) for case in packed)


def test_every_dimension_is_large_in_some_cases_and_limits_hold() -> None:
    cases = [case for _, case in draw_quick(SizeSource.POOL)]
    for name in DIMENSIONS:
        assert any(case.size(name) >= POOL_LARGE for case in cases)
    for case in cases:
        directions = case.config.num_directions
        assert case.steps * case.config.num_layers * directions <= MAX_CELL_CALLS
        if case.distribution is Distribution.READABLE and not case.dtype.is_half:
            assert case.config.hidden_size * directions <= READABLE_UNITS


def test_a_row_gets_the_sizes_that_fit_it_best() -> None:
    for wanted in ((), ("hidden_size",), ("hidden_size", "steps")):
        for sizes in draw_examples(draw_from_pool(SIMPLE, wanted), 9, 0):
            assert {name for name in DIMENSIONS if sizes[name] >= POOL_LARGE} == set(wanted)

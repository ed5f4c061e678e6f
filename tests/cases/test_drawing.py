"""Cases from a plan: indices, ranges, sizes and lengths."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import lru_cache

import pytest

from rnnspec.cases.axes import AXES, Distribution, Layout
from rnnspec.cases.case import Case, is_consistent
from rnnspec.cases.drawing import draw_cases
from rnnspec.cases.plan import PROFILES, PlanRow, Scope, plan_rows
from rnnspec.cases.sizes import DIMENSIONS, MOST_CELL_CALLS, MOST_MULTIPLICATIONS, READABLE_UNITS

THRESHOLDS = (8, 16, 17, 31, 33, 64, 65, 256)
Indexed = Sequence[tuple[int, Case]]


@lru_cache(maxsize=2)
def drawn(profile: str) -> tuple[tuple[int, Case], ...]:
    return tuple(draw_cases(plan_rows(PROFILES[profile], 0, Scope()), 0))


def stretches() -> list[PlanRow]:
    return plan_rows(PROFILES["quick"], 3, Scope())[:40]


def test_the_ranges_of_a_cut_campaign_concatenate_to_the_whole() -> None:
    whole = list(draw_cases(stretches(), 3))
    for cuts in ([0, 17, 10_000], [0, 1, 2, 3, 50, 51, 10_000], [0, 0, 10_000]):
        parts = [
            found
            for start, stop in itertools.pairwise(cuts)
            for found in draw_cases(stretches(), 3, start, stop)
        ]
        assert parts == whole


def test_a_range_has_the_indices_that_it_says() -> None:
    assert [index for index, _ in draw_cases(stretches(), 3, 5, 12)] == list(range(5, 12))
    assert list(draw_cases(stretches(), 3, 7, 7)) == []


def test_the_same_seed_gives_the_same_cases_and_another_gives_others() -> None:
    assert list(draw_cases(stretches(), 3)) == list(draw_cases(stretches(), 3))
    assert [case for _, case in draw_cases(stretches(), 3)] != [
        case for _, case in draw_cases(stretches(), 4)
    ]


def test_every_case_is_sound_and_has_the_choices_of_its_row() -> None:
    first = 0
    for stretch in stretches():
        for _, case in draw_cases(stretches(), 3, first, first + stretch.cases):
            assert is_consistent(case)
            assert {axis.name: case.axis(axis.name) for axis in AXES} == dict(stretch.row)
        first += stretch.cases


def test_no_two_cases_have_the_same_seed() -> None:
    seeds = [case.seed for _, case in drawn("quick")]
    assert len(set(seeds)) == len(seeds)


def test_packed_lengths_fit_their_batch() -> None:
    packed = [case for _, case in drawn("quick") if case.is_packed]
    assert len(packed) > 80
    for case in packed:
        assert len(case.lengths) == case.batch
        assert max(case.lengths) == case.steps
        assert min(case.lengths) >= 1
        assert case.layout is not Layout.PACKED or list(case.lengths) == sorted(case.lengths, reverse=True)
    assert any(len(set(case.lengths)) > 1 for case in packed)
    assert any(
        case.layout is Layout.PACKED_UNSORTED
        and list(case.lengths) != sorted(case.lengths, reverse=True)
        for case in packed
    )
    assert all(not case.lengths for _, case in drawn("quick") if not case.is_packed)


def test_unbatched_cases_have_one_sample() -> None:
    assert {case.batch for _, case in drawn("quick") if case.layout is Layout.UNBATCHED} == {1}


def test_the_work_of_a_case_is_capped() -> None:
    for _, case in drawn("quick"):
        deep = case.config.num_layers * case.config.num_directions
        width = case.config.input_size + (case.config.num_directions + 1) * case.config.hidden_size
        assert case.steps * deep <= MOST_CELL_CALLS
        assert (
            case.steps * case.batch * case.config.hidden_size * width * deep <= MOST_MULTIPLICATIONS
        )
        assert (
            case.distribution is not Distribution.READABLE
            or case.config.hidden_size * case.config.num_directions <= READABLE_UNITS
        )


def test_in_a_third_of_the_cases_both_sizes_are_equal() -> None:
    equal = sum(case.config.input_size == case.config.hidden_size for _, case in drawn("quick"))
    assert 0.2 < equal / len(drawn("quick")) < 0.45


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_quick_has_large_and_small_sizes_in_every_dimension(dimension: str) -> None:
    found = [case.size(dimension) for _, case in drawn("quick")]
    assert min(found) == 1
    assert max(found) > 128
    assert sum(size <= 6 for size in found) > len(found) / 2


@pytest.mark.slow
@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_default_hits_every_threshold_in_every_dimension(dimension: str) -> None:
    assert {case.size(dimension) for _, case in drawn("default")} >= set(THRESHOLDS)


def test_a_case_survives_being_stored() -> None:
    for _, case in drawn("quick")[:50]:
        assert Case.from_dict(case.as_dict()) == case

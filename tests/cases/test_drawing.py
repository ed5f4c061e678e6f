"""The cases of a plan: their indices, ranges of them, their sizes and their lengths."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cache, lru_cache

import pytest
from hypothesis import strategies as st

from rnnspec.cases.axes import AXES, Distribution, Layout
from rnnspec.cases.case import Case, is_consistent
from rnnspec.cases.drawing import draw_cases, draw_examples
from rnnspec.cases.plan import PROFILES, PlanRow, Scope, plan_rows
from rnnspec.cases.sizes import DIMENSIONS, MAX_CELL_CALLS, MAX_MULTIPLICATIONS, READABLE_UNITS
from rnnspec.contract.kinds import CELLS, KINDS, Kind

THRESHOLDS = (8, 16, 17, 31, 33, 64, 65, 256)
Indexed = Sequence[tuple[int, Case]]


@lru_cache(maxsize=2)
def draw_profile(profile: str) -> tuple[tuple[int, Case], ...]:
    return tuple(draw_cases(plan_rows(PROFILES[profile], 0, Scope()), 0))


@cache
def list_some_rows() -> list[PlanRow]:
    return plan_rows(PROFILES["quick"], 3, Scope())[:40]


def test_ranges_of_a_plan_concatenate_to_the_whole() -> None:
    whole = list(draw_cases(list_some_rows(), 3))
    for cuts in ([0, 17, 10_000], [0, 1, 2, 3, 50, 51, 10_000], [0, 0, 10_000]):
        parts = [
            indexed
            for start, stop in itertools.pairwise(cuts)
            for indexed in draw_cases(list_some_rows(), 3, start, stop)
        ]
        assert parts == whole


def test_a_range_has_the_indices_from_start_to_stop() -> None:
    assert [index for index, _ in draw_cases(list_some_rows(), 3, 5, 12)] == list(range(5, 12))
    assert list(draw_cases(list_some_rows(), 3, 7, 7)) == []


def test_equal_seeds_give_equal_cases_and_other_seeds_give_others() -> None:
    planned_again = plan_rows(PROFILES["quick"], 3, Scope())[:40]
    assert list(draw_cases(list_some_rows(), 3)) == list(draw_cases(planned_again, 3))
    assert [case for _, case in draw_cases(list_some_rows(), 3)] != [
        case for _, case in draw_cases(list_some_rows(), 4)
    ]


def test_every_case_is_consistent_and_has_the_values_of_its_row() -> None:
    first = 0
    for row in list_some_rows():
        for _, case in draw_cases(list_some_rows(), 3, first, first + row.cases):
            assert is_consistent(case)
            found = {axis.name: case.get_choice(axis.name) for axis in AXES}
            rest = {"kind": case.config.kind, "history": case.history}
            assert {**found, **rest} == dict(row.row)
        first += row.cases


def test_no_two_cases_have_the_same_seed() -> None:
    seeds = [case.seed for _, case in draw_profile("quick")]
    assert len(set(seeds)) == len(seeds)


def test_packed_lengths_fit_their_batch() -> None:
    packed = [case for _, case in draw_profile("quick") if case.is_packed]
    assert len(packed) > 80
    for case in packed:
        assert len(case.lengths) == case.batch
        assert max(case.lengths) == case.steps
        assert min(case.lengths) >= 1
        assert case.layout is not Layout.PACKED or list(case.lengths) == sorted(
            case.lengths, reverse=True
        )
    assert any(len(set(case.lengths)) > 1 for case in packed)
    assert any(
        case.layout is Layout.PACKED_UNSORTED
        and list(case.lengths) != sorted(case.lengths, reverse=True)
        for case in packed
    )
    assert all(not case.lengths for _, case in draw_profile("quick") if not case.is_packed)


def test_unbatched_cases_have_one_sample() -> None:
    assert {case.batch for _, case in draw_profile("quick") if case.layout is Layout.UNBATCHED} == {
        1
    }


def test_the_work_of_a_case_is_limited() -> None:
    for _, case in draw_profile("quick"):
        cells = case.config.num_layers * case.config.num_directions
        width = case.config.input_size + (case.config.num_directions + 1) * case.config.hidden_size
        assert case.steps * cells <= MAX_CELL_CALLS
        assert (
            case.steps * case.batch * case.config.hidden_size * width * cells <= MAX_MULTIPLICATIONS
        )
        assert (
            case.distribution is not Distribution.READABLE
            or case.dtype.is_half
            or case.config.hidden_size * case.config.num_directions <= READABLE_UNITS
        )


def test_input_size_equals_hidden_size_in_a_third_of_the_cases() -> None:
    equal = sum(
        case.config.input_size == case.config.hidden_size for _, case in draw_profile("quick")
    )
    assert 0.2 < equal / len(draw_profile("quick")) < 0.45


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_quick_has_large_and_small_sizes_in_every_dimension(dimension: str) -> None:
    sizes = [case.size(dimension) for _, case in draw_profile("quick")]
    assert min(sizes) == 1
    assert max(sizes) > 128
    assert sum(size <= 6 for size in sizes) > len(sizes) / 2


@pytest.mark.slow
@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_default_has_every_threshold_in_every_dimension(dimension: str) -> None:
    # Only a layer of one state is within the limits at 256 steps: too few cases of the default
    # profile have one for all of its seeds to draw exactly 256.
    expected = set(THRESHOLDS) - ({256} if dimension == "steps" else set())
    assert {case.size(dimension) for _, case in draw_profile("default")} >= expected


@pytest.mark.mostly_slow
@pytest.mark.parametrize("kind", CELLS, ids=lambda kind: kind.name)
def test_a_cell_often_has_as_many_samples_as_units_or_features(kind: Kind) -> None:
    """The cell must not find the batch dimension by its size."""
    rows = plan_rows(PROFILES["quick"], 0, Scope(kind=kind.name))
    batches = [case for _, case in draw_cases(rows, 0) if case.batch > 1]
    for size in ("hidden_size", "input_size"):
        equal = sum(case.size(size) == case.batch for case in batches)
        assert equal > len(batches) / 16


@pytest.mark.mostly_slow
@pytest.mark.parametrize("kind", [each for each in KINDS.values() if each.is_gated])
def test_weights_for_the_input_of_layers_with_gates_are_square_in_some_cases(kind: Kind) -> None:
    rows = plan_rows(PROFILES["quick"], 0, Scope(kind=kind.name))
    cases = [case.config for _, case in draw_cases(rows, 0)]
    square = sum(each.input_size == len(kind.gates) * each.hidden_size for each in cases)
    assert square > len(cases) / 25


def test_an_interrupt_that_hypothesis_hides_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: object) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr("hypothesis.core.function_digest", interrupt)
    with pytest.raises(KeyboardInterrupt):
        draw_examples(st.integers(), 1, 0)

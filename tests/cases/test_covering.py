"""Every few values of different axes that the ties allow together occur together."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from rnnspec.cases.axes import AXES, AXIS, DType
from rnnspec.cases.case import CONSTRAINTS, Constraint
from rnnspec.cases.covering import build_covering_array
from rnnspec.cases.plan import (
    FEW_WIDE_AXES,
    PROFILES,
    WIDE_AXES,
    Profile,
    Scope,
    build_covering_rows,
    find_simplest_row,
    plan_rows,
)
from rnnspec.cases.sizes import LARGE_PAIRS

Combination = frozenset[tuple[str, Any]]
TIED = sorted({name for tie in CONSTRAINTS for name in tie.axes})


def rows_of(profile: Profile, seed: int, scope: Scope = Scope()) -> list[Mapping[str, Any]]:  # noqa: B008
    return [stretch.row for stretch in plan_rows(profile, seed, scope) if stretch.large_dimensions is None]


def allowed(strength: int, names: Iterable[str] = AXIS) -> set[Combination]:
    """Every combination of `strength` values that some row without a broken tie has."""
    candidates = (
        dict(zip(TIED, values, strict=True))
        for values in itertools.product(*(AXIS[name].values for name in TIED))
    )
    sound = [row for row in candidates if all(tie.holds(row) for tie in CONSTRAINTS)]
    found: set[Combination] = set()
    for group in itertools.combinations(names, strength):
        free = [name for name in group if name not in TIED]
        bound = {tuple((name, row[name]) for name in group if name in TIED) for row in sound}
        for part, values in itertools.product(
            bound, itertools.product(*(AXIS[name].values for name in free))
        ):
            found.add(frozenset((*part, *zip(free, values, strict=True))))
    return found


def shown(rows: Iterable[Mapping[str, Any]], strength: int) -> set[Combination]:
    return {
        frozenset(part) for row in rows for part in itertools.combinations(row.items(), strength)
    }


@pytest.mark.parametrize("seed", [0, 2, 4])
def test_quick_shows_every_pair_that_the_ties_allow(seed: int) -> None:
    pairs = allowed(2)
    assert len(pairs) > 1800
    assert shown(rows_of(PROFILES["quick"], seed), 2) >= pairs


@pytest.mark.slow
def test_thorough_shows_every_triple_that_the_ties_allow() -> None:
    triples = allowed(3)
    assert len(triples) > 30_000
    assert shown(rows_of(PROFILES["thorough"], 0), 3) >= triples


def test_the_search_for_pairs_can_miss() -> None:
    rows = rows_of(PROFILES["quick"], 0)
    assert not shown(rows[: len(rows) // 2], 2) >= allowed(2)


@pytest.mark.parametrize("name", ["quick", "default"])
def test_no_row_breaks_a_tie(name: str) -> None:
    rows = [stretch.row for stretch in plan_rows(PROFILES[name], 1, Scope())]
    assert all(tie.holds(row) for tie in CONSTRAINTS for row in rows)
    assert any(row["values"] == "readable" for row in rows)


@pytest.mark.parametrize(("profile", "axes"), [("quick", FEW_WIDE_AXES), ("default", WIDE_AXES)])
def test_large_sizes_have_rows_with_every_value_of_what_matters_to_a_kernel(
    profile: str, axes: tuple[str, ...]
) -> None:
    wide = [
        {**stretch.row, "wide": stretch.large_dimensions}
        for stretch in plan_rows(PROFILES[profile], 0, Scope())
        if stretch.large_dimensions
    ]
    for name in axes:
        pairs = {(row[name], row["wide"]) for row in wide}
        assert pairs >= set(itertools.product(AXIS[name].values, LARGE_PAIRS[1:])), name


def test_a_refused_feature_and_a_pinned_axis_are_in_no_row() -> None:
    scope = Scope(frozenset({"packed", "float64"}), (("num_layers", 4), ("bias", False)))
    rows = [stretch.row for stretch in plan_rows(PROFILES["quick"], 0, scope)]
    assert {row["layout"] for row in rows} == {"batched", "unbatched"}
    assert {row["dtype"] for row in rows} == {"float32", "bfloat16", "float16"}
    assert {(row["num_layers"], row["bias"]) for row in rows} == {(4, False)}
    assert find_simplest_row(scope) == {
        **{axis.name: axis.simplest for axis in AXES},
        "num_layers": 4,
        "bias": False,
        "dtype": DType.FLOAT32,
    }


def test_the_plan_begins_with_the_smallest_case_and_is_a_function_of_its_arguments() -> None:
    first = plan_rows(PROFILES["quick"], 7, Scope())
    build_covering_rows.cache_clear()
    assert (
        plan_rows(PROFILES["quick"], 7, Scope())
        == first
        != plan_rows(PROFILES["quick"], 8, Scope())
    )
    assert (first[0].row, first[0].large_dimensions, first[0].cases) == (find_simplest_row(Scope()), (), 1)


@pytest.mark.parametrize("seed", [-1, -(10**30), 10**30])
def test_any_integer_is_a_seed(seed: int) -> None:
    assert shown(rows_of(PROFILES["quick"], seed), 1) == allowed(1)


def test_ties_that_leave_nothing_are_told() -> None:
    impossible = Constraint(("a", "b"), lambda row: row["a"] != row["b"])
    with pytest.raises(ValueError, match="a, b"):
        build_covering_array({"a": (1,), "b": (1,)}, [impossible], 2, 0)


def test_an_array_without_ties_is_small() -> None:
    domains = {name: tuple(range(3)) for name in "abcdef"}
    rows = build_covering_array(domains, [], 2, 0)
    assert 9 <= len(rows) <= 22
    assert len(shown(rows, 2)) == 15 * 9


def test_a_combination_that_random_rows_hardly_show_gets_a_row_of_its_own() -> None:
    names = [f"a{place}" for place in range(12)]
    together = Constraint(tuple(names), lambda row: len(set(row.values())) == 1 or row["a0"] == 0)
    rows = build_covering_array(
        {**dict.fromkeys(names, (0, 1)), "b": tuple(range(40))}, [together], 2, 0
    )
    assert shown(rows, 2) >= {frozenset({("a0", 1), ("b", value)}) for value in range(40)}

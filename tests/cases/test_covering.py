"""Covering arrays: any few values of different axes that the constraints allow occur together."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from rnnspec.cases.axes import AXES, AXIS, KERNEL_AXES, Distribution, DType, Feature, Layout
from rnnspec.cases.case import CONSTRAINTS, Constraint
from rnnspec.cases.covering import build_covering_array
from rnnspec.cases.plan import (
    DEPTHS,
    LARGE_AXES,
    PROFILES,
    Profile,
    Scope,
    build_covering_rows,
    find_simplest_row,
    plan_rows,
)
from rnnspec.cases.sizes import LARGE_PAIRS

Combination = frozenset[tuple[str, Any]]
CONSTRAINED = sorted({name for constraint in CONSTRAINTS for name in constraint.axes})


def list_regular_rows(profile: Profile, seed: int) -> list[Mapping[str, Any]]:
    """Return the rows of a plan that are not for large sizes."""
    planned = plan_rows(profile, seed, Scope())
    return [row.row for row in planned if row.large_dimensions is None]


def list_allowed(strength: int, names: Iterable[str] = AXIS) -> set[Combination]:
    """Return every combination of `strength` values that occurs in a row without contradictions."""
    candidates = (
        dict(zip(CONSTRAINED, values, strict=True))
        for values in itertools.product(*(Scope().list_drawn(AXIS[name]) for name in CONSTRAINED))
    )
    rows = [row for row in candidates if all(each.allows(row) for each in CONSTRAINTS)]
    allowed: set[Combination] = set()
    for group in itertools.combinations(names, strength):
        free = [name for name in group if name not in CONSTRAINED]
        constrained = {
            tuple((name, row[name]) for name in group if name in CONSTRAINED) for row in rows
        }
        for part, values in itertools.product(
            constrained, itertools.product(*(Scope().list_drawn(AXIS[name]) for name in free))
        ):
            allowed.add(frozenset((*part, *zip(free, values, strict=True))))
    return allowed


def list_covered(rows: Iterable[Mapping[str, Any]], strength: int) -> set[Combination]:
    """Return every combination of `strength` values that occurs in the rows."""
    return {
        frozenset(part) for row in rows for part in itertools.combinations(row.items(), strength)
    }


@pytest.mark.mostly_slow
@pytest.mark.parametrize("seed", [0, 2, 4])
def test_quick_covers_every_allowed_pair(seed: int) -> None:
    pairs = list_allowed(2)
    assert len(pairs) > 1800
    assert list_covered(list_regular_rows(PROFILES["quick"], seed), 2) >= pairs


@pytest.mark.slow
def test_thorough_covers_every_allowed_triple() -> None:
    triples = list_allowed(3)
    assert len(triples) > 30_000
    assert list_covered(list_regular_rows(PROFILES["thorough"], 0), 3) >= triples


def test_half_of_the_rows_do_not_cover_every_pair() -> None:
    rows = list_regular_rows(PROFILES["quick"], 0)
    assert not list_covered(rows[: len(rows) // 2], 2) >= list_allowed(2)


@pytest.mark.parametrize("name", ["quick", "default"])
def test_every_row_fulfils_the_constraints(name: str) -> None:
    rows = [row.row for row in plan_rows(PROFILES[name], 1, Scope())]
    assert all(constraint.allows(row) for constraint in CONSTRAINTS for row in rows)
    assert any(row["distribution"] is Distribution.READABLE for row in rows)


@pytest.mark.parametrize(("profile", "axes"), [("quick", KERNEL_AXES), ("default", LARGE_AXES)])
def test_large_sizes_occur_with_every_value_on_which_kernels_depend(
    profile: str, axes: tuple[str, ...]
) -> None:
    rows = [
        {**row.row, "large": row.large_dimensions}
        for row in plan_rows(PROFILES[profile], 0, Scope())
        if row.large_dimensions
    ]
    for name in axes:
        pairs = {(row[name], row["large"]) for row in rows}
        assert pairs >= set(itertools.product(Scope().list_drawn(AXIS[name]), LARGE_PAIRS[1:])), (
            name
        )


def test_unsupported_features_and_other_values_of_pinned_axes_are_in_no_row() -> None:
    unsupported = frozenset({Feature.PACKED, Feature.FLOAT64})
    scope = Scope(unsupported, (("num_layers", 4), ("bias", False)))
    rows = [row.row for row in plan_rows(PROFILES["quick"], 0, scope)]
    assert {row["layout"] for row in rows} == {Layout.BATCHED, Layout.UNBATCHED}
    assert {row["dtype"] for row in rows} == {DType.FLOAT32, DType.BFLOAT16, DType.FLOAT16}
    assert {(row["num_layers"], row["bias"]) for row in rows} == {(4, False)}
    assert find_simplest_row(scope) == {
        **{axis.name: axis.simplest for axis in AXES},
        "num_layers": 4,
        "bias": False,
        "dtype": DType.FLOAT32,
    }


def test_a_plan_begins_with_the_simplest_row_and_depends_on_its_arguments_only() -> None:
    first = plan_rows(PROFILES["quick"], 7, Scope())
    build_covering_rows.cache_clear()
    assert plan_rows(PROFILES["quick"], 7, Scope()) == first
    assert plan_rows(PROFILES["quick"], 8, Scope()) != first
    assert first[0].row == {**find_simplest_row(Scope()), "kind": "rnn", "history": ()}
    assert (first[0].large_dimensions, first[0].cases) == ((), 1)


@pytest.mark.parametrize("seed", [-1, -(10**30), 10**30])
def test_any_integer_is_a_seed(seed: int) -> None:
    assert list_covered(list_regular_rows(PROFILES["quick"], seed), 1) >= list_allowed(1)


@pytest.mark.parametrize(("name", "times"), [("quick", 1), ("default", 2)])
def test_numbers_of_layers_between_the_last_two_values_occur(name: str, times: int) -> None:
    layers = [row["num_layers"] for row in list_regular_rows(PROFILES[name], 4)]
    assert [layers.count(depth) for depth in DEPTHS] == [times] * 5
    assert set(layers) == {*AXIS["num_layers"].values, 6, 7, 8, 9, 10}


def test_a_pinned_number_of_layers_is_the_only_one() -> None:
    rows = plan_rows(PROFILES["quick"], 4, Scope(pinned=(("num_layers", 11),)))
    assert {row.row["num_layers"] for row in rows} == {11}


def test_constraints_that_allow_no_row_are_an_error() -> None:
    impossible = Constraint(("a", "b"), lambda row: row["a"] != row["b"])
    with pytest.raises(ValueError, match=r"^no values of a, b fulfil the constraints \(a: 1; b: 1"):
        build_covering_array({"a": (1,), "b": (1,)}, [impossible], 2, 0)


def test_an_array_without_constraints_is_small() -> None:
    domains = {name: tuple(range(3)) for name in "abcdef"}
    rows = build_covering_array(domains, [], 2, 0)
    assert 9 <= len(rows) <= 22
    assert len(list_covered(rows, 2)) == 15 * 9


def test_combinations_that_are_rare_in_random_rows_get_rows_of_their_own() -> None:
    names = [f"a{place}" for place in range(12)]
    together = Constraint(tuple(names), lambda row: len(set(row.values())) == 1 or row["a0"] == 0)
    rows = build_covering_array(
        {**dict.fromkeys(names, (0, 1)), "b": tuple(range(40))}, [together], 2, 0
    )
    rare = {frozenset({("a0", 1), ("b", value)}) for value in range(40)}
    assert list_covered(rows, 2) >= rare

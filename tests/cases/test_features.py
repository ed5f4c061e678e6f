"""Each pair of features occurs with generic numbers in several cases of a quick run."""

from __future__ import annotations

import pytest

from rnnspec.cases.axes import Distribution, Feature
from rnnspec.cases.axes.dtype import HALF_DTYPES
from rnnspec.cases.case import list_constraints
from rnnspec.cases.plan import (
    FEATURES,
    OFTEN,
    PROFILES,
    Scope,
    build_covering_rows,
    list_rare_pairs,
    plan_rows,
)
from rnnspec.contract.kinds import KINDS

WITHOUT_TF32 = frozenset({Feature.TF32})


@pytest.mark.parametrize("kind", KINDS)
def test_no_pair_of_features_is_rare_in_a_quick_run(kind: str) -> None:
    for seed in range(2):
        scope = Scope(kind=kind, unsupported=WITHOUT_TF32)
        rows = [each.row for each in plan_rows(PROFILES["quick"], seed, scope)]
        assert not list_rare_pairs(rows, 1)
        assert all(each.allows(row) for row in rows for each in list_constraints(kind))


def test_covering_arrays_alone_have_rare_pairs() -> None:
    scope = Scope(kind="lstm", unsupported=WITHOUT_TF32)
    axes = tuple(dict.fromkeys(axis for values in FEATURES.values() for axis in values))
    assert list_rare_pairs(build_covering_rows(scope, 2, 0, (*axes, "distribution")), 1)


def test_rows_with_exact_numbers_do_not_count() -> None:
    row = {axis: values[0] for feature in FEATURES.values() for axis, values in feature.items()}
    generic, exact = (
        [{**row, "distribution": each}] * OFTEN
        for each in (Distribution.PLAIN, Distribution.TERNARY)
    )
    assert not list_rare_pairs(generic, 1)
    assert list_rare_pairs(generic[1:], 1)
    assert list_rare_pairs(exact, 1)
    assert row["dtype"] in HALF_DTYPES

"""The rows that a campaign runs through: covering arrays over the axes, and rows reserved for large sizes."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from rnnspec.cases.axes import AXES, AXIS, Axis, Feature
from rnnspec.cases.case import CONSTRAINTS
from rnnspec.cases.covering import Row, build_covering_array
from rnnspec.cases.sizes import LARGE_PAIRS

FEW_LARGE_AXES = ("nonlinearity", "bidirectional", "layout", "initial_state", "mode", "dtype")
LARGE_AXES = (*FEW_LARGE_AXES, "bias", "dropout", "memory_layout", "distribution")
"""The axes that vary with large sizes; in quick only those on which kernels choose their way."""


@dataclass(frozen=True)
class PlanRow:
    """One row of a covering array and how many cases are drawn in it; `large_dimensions` names the sizes that are large (None: by chance)."""

    row: Mapping[str, Any]
    cases: int
    large_dimensions: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Profile:
    """How thorough a campaign is: the strength of its covering arrays, how many, and how many cases a row.

    `minimum` is how often a rule must have been reached before it may pass, `large_axes` what varies in the rows of large sizes.
    """

    name: str
    arrays: int
    strength: int
    cases: int
    large_arrays: int
    minimum: int
    large_axes: tuple[str, ...] = LARGE_AXES


PROFILES = {
    "quick": Profile(
        "quick", arrays=1, strength=2, cases=1, large_arrays=1, minimum=1, large_axes=FEW_LARGE_AXES
    ),
    "default": Profile("default", arrays=2, strength=2, cases=2, large_arrays=2, minimum=3),
    "thorough": Profile("thorough", arrays=2, strength=3, cases=6, large_arrays=12, minimum=10),
}


@dataclass(frozen=True)
class Scope:
    """What may be drawn: features that the subject refused, and axes pinned to one value by the user."""

    unsupported: frozenset[Feature] = frozenset()
    pinned: tuple[tuple[str, Any], ...] = ()

    def values(self, axis: Axis) -> tuple[Any, ...]:
        """The values of an axis within this scope, the simplest first; never empty."""
        pinned = dict(self.pinned)
        if axis.name in pinned:
            return (pinned[axis.name],)
        allowed = [v for v in axis.values if axis.needed_feature(v) not in self.unsupported]
        return tuple(allowed) or (axis.simplest,)


def plan_rows(profile: Profile, seed: int, scope: Scope) -> list[PlanRow]:
    """The stretches of a campaign, shuffled so that every part of it is a sample of the whole; a pure function of its arguments."""
    smallest = PlanRow(find_simplest_row(scope), 1, ())
    narrow = [
        PlanRow(row, profile.cases)
        for salt in range(profile.arrays)
        for row in build_covering_rows(scope, profile.strength, _mixed(seed, salt), tuple(AXIS))
    ]
    large_dimensions = [
        PlanRow({name: value for name, value in row.items() if name != "large_dimensions"}, 1, row["large_dimensions"])
        for salt in range(profile.large_arrays)
        for row in build_covering_rows(scope, 2, _mixed(seed, salt), profile.large_axes, LARGE_PAIRS)
    ]
    drawn = [*narrow, *large_dimensions]
    random.Random(seed).shuffle(drawn)
    return [smallest, *drawn]


def _mixed(seed: int, salt: int) -> int:
    return (seed * 1009 + salt) % 2**64


def find_simplest_row(scope: Scope) -> Row:
    """The row with the simplest value in scope on every axis."""
    return {axis.name: scope.values(axis)[0] for axis in AXES}


@lru_cache(maxsize=64)
def build_covering_rows(
    scope: Scope,
    strength: int,
    seed: int,
    varied: Sequence[str],
    large_dimensions: Sequence[tuple[str, ...]] = (),
) -> tuple[Row, ...]:
    """Rows in which every `strength` values of the varied axes occur together unless they contradict each other.

    The other axes keep their simplest value in scope; `large_dimensions` adds an axis of that name. The seed chooses among the many arrays.
    """
    domains = {axis.name: _domain(scope, axis, varied) for axis in AXES} | (
        {"large_dimensions": tuple(large_dimensions)} if large_dimensions else {}
    )
    return tuple(build_covering_array(domains, CONSTRAINTS, strength, seed))


def _domain(scope: Scope, axis: Axis, varied: Sequence[str]) -> tuple[Any, ...]:
    values = scope.values(axis)
    if axis.name == "num_layers" and axis.name not in varied:
        return values[:2]
    return values if axis.name in varied else values[:1]

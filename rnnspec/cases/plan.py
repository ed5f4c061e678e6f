"""The rows that a campaign runs through: covering arrays over the axes, and rows reserved for large sizes."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from rnnspec.cases.axes import AXES, AXIS, Axis
from rnnspec.cases.case import CONSTRAINTS
from rnnspec.cases.covering import Row, build_covering_array
from rnnspec.cases.sizes import LARGE_PAIRS

FEW_WIDE_AXES = ("nonlinearity", "bidirectional", "layout", "state", "mode", "dtype")
WIDE_AXES = (*FEW_WIDE_AXES, "bias", "dropout", "memory", "values")
"""The axes that vary with large sizes; in quick only those on which kernels choose their way."""


@dataclass(frozen=True)
class PlanRow:
    """One row of a covering array and how many cases are drawn in it; `wide` names the sizes that are large (None: by chance)."""

    row: Mapping[str, Any]
    cases: int
    wide: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Profile:
    """How thorough a campaign is: the strength of its covering arrays, how many, and how many cases a row.

    `minimum` is how often a rule must have been reached before it may pass, `wide_axes` what varies in the rows of large sizes.
    """

    name: str
    arrays: int
    strength: int
    cases: int
    wide_arrays: int
    minimum: int
    wide_axes: tuple[str, ...] = WIDE_AXES


PROFILES = {
    "quick": Profile(
        "quick", arrays=1, strength=2, cases=1, wide_arrays=1, minimum=1, wide_axes=FEW_WIDE_AXES
    ),
    "default": Profile("default", arrays=2, strength=2, cases=2, wide_arrays=2, minimum=3),
    "thorough": Profile("thorough", arrays=2, strength=3, cases=6, wide_arrays=12, minimum=10),
}


@dataclass(frozen=True)
class Scope:
    """What may be drawn: features that the subject refused, and axes pinned to one value by the user."""

    refused: frozenset[str] = frozenset()
    pinned: tuple[tuple[str, Any], ...] = ()

    def values(self, axis: Axis) -> tuple[Any, ...]:
        """The values of an axis within this scope, the simplest first; never empty."""
        pinned = dict(self.pinned)
        if axis.name in pinned:
            return (pinned[axis.name],)
        return tuple(
            value for value in axis.values if axis.needs.get(value) not in self.refused
        ) or (axis.simplest,)


def plan_rows(profile: Profile, seed: int, scope: Scope) -> list[PlanRow]:
    """The stretches of a campaign, shuffled so that every part of it is a sample of the whole; a pure function of its arguments."""
    smallest = PlanRow(find_simplest_row(scope), 1, ())
    narrow = [
        PlanRow(row, profile.cases)
        for salt in range(profile.arrays)
        for row in build_covering_rows(scope, profile.strength, _mixed(seed, salt), tuple(AXIS))
    ]
    wide = [
        PlanRow({name: value for name, value in row.items() if name != "wide"}, 1, row["wide"])
        for salt in range(profile.wide_arrays)
        for row in build_covering_rows(scope, 2, _mixed(seed, salt), profile.wide_axes, LARGE_PAIRS)
    ]
    drawn = [*narrow, *wide]
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
    wide: Sequence[tuple[str, ...]] = (),
) -> tuple[Row, ...]:
    """Rows in which every `strength` values of the varied axes occur together unless they contradict each other.

    The other axes keep their simplest value in scope; `wide` adds an axis of that name. The seed chooses among the many arrays.
    """
    domains = {axis.name: _domain(scope, axis, varied) for axis in AXES} | (
        {"wide": tuple(wide)} if wide else {}
    )
    return tuple(build_covering_array(domains, CONSTRAINTS, strength, seed))


def _domain(scope: Scope, axis: Axis, varied: Sequence[str]) -> tuple[Any, ...]:
    values = scope.values(axis)
    if axis.name == "num_layers" and axis.name not in varied:
        return values[:2]
    return values if axis.name in varied else values[:1]

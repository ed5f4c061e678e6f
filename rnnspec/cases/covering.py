"""Covering arrays: rows of choices in which every few values of different axes occur together.

Built greedily from pools of random rows that fulfil the constraints, so that the choices nothing asks for are random too and not
always the first of their axis: combinations beyond the promised strength turn up by chance. What no pool shows gets a row of its
own. (Greedy construction as in Cohen et al., The AETG System, IEEE TSE 23(7), 1997.)
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnspec.cases.case import Constraint

Row = dict[str, Any]
Codes = NDArray[np.int64]
POOL = 1500


def build_covering_array(
    domains: Mapping[str, Sequence[Any]], constraints: Sequence[Constraint], strength: int, seed: int
) -> list[Row]:
    """Rows over the domains in which every `strength` values of different axes that the constraints allow together occur together.

    A pure function of its arguments. Raises ValueError where the constraints leave no row at all.
    """
    rng = np.random.default_rng(seed)
    groups = list(itertools.combinations(range(len(domains)), strength))
    seen = np.zeros(sum(_count_cells(domains, group) for group in groups) or 1, dtype=bool)
    constrained = _list_allowed(domains, constraints)
    rows: list[Codes] = []
    while True:
        pool = _draw_pool(domains, constrained, rng)
        chosen = _choose_greedily(_locate_combinations(pool, domains, groups), seen)
        if not chosen:
            break
        rows += list(pool[chosen])
    rows += _complete(domains, groups, constrained, seen, rng)
    return [_decode(row, domains) for row in rows] or [
        _decode(_draw_pool(domains, constrained, rng)[0], domains)
    ]


def _count_cells(domains: Mapping[str, Sequence[Any]], group: Sequence[int]) -> int:
    sizes = [len(values) for values in domains.values()]
    return int(np.prod([sizes[axis] for axis in group]))


@dataclass(frozen=True)
class ConstrainedAxes:
    """The axes that constraints name, every choice on them that fulfils all constraints, and how likely each is drawn."""

    axes: list[int]
    codes: Codes
    weights: NDArray[np.float64]


def _list_allowed(
    domains: Mapping[str, Sequence[Any]], constraints: Sequence[Constraint]
) -> ConstrainedAxes:
    names = list(domains)
    axes = sorted({names.index(name) for constraint in constraints for name in constraint.axes})
    sizes = [len(domains[names[axis]]) for axis in axes]
    codes = (
        np.indices(sizes).reshape(len(sizes), -1).T if axes else np.zeros((1, 0), dtype=np.int64)
    )
    for constraint in constraints:
        codes = codes[_find_allowed(constraint, codes, [names[axis] for axis in axes], domains)]
    if not len(codes):
        raise ValueError(
            f"no values of {', '.join(names[axis] for axis in axes)} fulfil the constraints within {dict(domains)!r}"
        )
    return ConstrainedAxes(axes, codes, _weigh_rare_values(codes))


def _find_allowed(
    constraint: Constraint, codes: Codes, names: list[str], domains: Mapping[str, Sequence[Any]]
) -> NDArray[np.bool_]:
    columns = [names.index(name) for name in constraint.axes]
    allowed = {
        chosen: constraint.allows(
            {name: domains[name][code] for name, code in zip(constraint.axes, chosen, strict=True)}
        )
        for chosen in itertools.product(*(range(len(domains[name])) for name in constraint.axes))
    }
    return np.array([allowed[tuple(chosen)] for chosen in codes[:, columns].tolist()], dtype=bool)


def _weigh_rare_values(codes: Codes) -> NDArray[np.float64]:
    """Probabilities with which a value that few rows can have is drawn about as often as one that many can have."""
    rarest = np.full(len(codes), len(codes))
    for column in codes.T:
        rarest = np.minimum(rarest, np.bincount(column)[column])
    return np.asarray((1.0 / rarest) / (1.0 / rarest).sum())


def _draw_pool(
    domains: Mapping[str, Sequence[Any]], constrained: ConstrainedAxes, rng: np.random.Generator
) -> Codes:
    pool = np.stack([rng.integers(0, len(values), POOL) for values in domains.values()], axis=1)
    pool[:, constrained.axes] = constrained.codes[rng.choice(len(constrained.codes), POOL, p=constrained.weights)]
    return pool


def _complete(
    domains: Mapping[str, Sequence[Any]],
    groups: list[tuple[int, ...]],
    constrained: ConstrainedAxes,
    seen: NDArray[np.bool_],
    rng: np.random.Generator,
) -> list[Codes]:
    """A row for each combination that no pool showed and that the constraints allow."""
    rows = []
    for group, codes, address in _list_missing(domains, groups, seen):
        fitting = _select_fitting(constrained, group, codes)
        if seen[address] or not len(fitting):
            continue
        row = _draw_pool(domains, constrained, rng)[0]
        row[constrained.axes] = fitting[rng.integers(len(fitting))]
        row[list(group)] = codes
        seen[_locate_combinations(row[None], domains, groups)[0]] = True
        rows.append(row)
    return rows


def _list_missing(
    domains: Mapping[str, Sequence[Any]], groups: list[tuple[int, ...]], seen: NDArray[np.bool_]
) -> list[tuple[tuple[int, ...], tuple[int, ...], int]]:
    sizes = [len(values) for values in domains.values()]
    found, offset = [], 0
    for group in groups:
        cells = _count_cells(domains, group)
        for place in np.flatnonzero(~seen[offset : offset + cells]).tolist():
            codes = tuple(
                int(code) for code in np.unravel_index(place, [sizes[axis] for axis in group])
            )
            found.append((group, codes, offset + place))
        offset += cells
    return found


def _select_fitting(constrained: ConstrainedAxes, group: tuple[int, ...], codes: tuple[int, ...]) -> Codes:
    """The choices on the constrained axes that have these codes."""
    keep = np.ones(len(constrained.codes), dtype=bool)
    for axis, code in zip(group, codes, strict=True):
        if axis in constrained.axes:
            keep &= constrained.codes[:, constrained.axes.index(axis)] == code
    return constrained.codes[keep]


def _locate_combinations(
    pool: Codes, domains: Mapping[str, Sequence[Any]], groups: Sequence[tuple[int, ...]]
) -> Codes:
    """For each row and group of axes, where the row's combination stands in the table of what has been seen."""
    sizes = [len(values) for values in domains.values()]
    table = np.empty((len(pool), len(groups)), dtype=np.int64)
    offset = 0
    for column, group in enumerate(groups):
        codes = np.zeros(len(pool), dtype=np.int64)
        for axis in group:
            codes = codes * sizes[axis] + pool[:, axis]
        table[:, column] = codes + offset
        offset += _count_cells(domains, group)
    return table


def _choose_greedily(addresses: Codes, seen: NDArray[np.bool_]) -> list[int]:
    """The rows that each add the most new combinations, until none adds any; marks what they show in `seen`."""
    chosen = []
    while len(addresses):
        gains = (~seen[addresses]).sum(axis=1)
        best = int(gains.argmax())
        if gains[best] == 0:
            break
        seen[addresses[best]] = True
        chosen.append(best)
    return chosen


def _decode(codes: Codes, domains: Mapping[str, Sequence[Any]]) -> Row:
    return {
        name: values[code]
        for (name, values), code in zip(domains.items(), codes.tolist(), strict=True)
    }

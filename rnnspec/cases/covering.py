"""Covering arrays: sets of rows that contain every combination of a few values of different axes.

Rows are chosen greedily from pools of random rows that fulfil the constraints, as in Cohen et al.,
The AETG System, IEEE TSE 23(7), 1997. Values that no uncovered combination needs are therefore
random, and cover many combinations of more values than the strength by chance. Combinations that no
pool contains get their own rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import default_rng  # here, so that a subject that replaces it changes no case
from numpy.typing import NDArray

from rnnspec.cases.case import Constraint

CoveringRow = dict[str, Any]
"""A value for each axis, by name."""
Codes = NDArray[np.int64]
"""Rows as integers: each value is replaced by its position on its axis."""
POOL_SIZE = 1500


def build_covering_array(
    domains: Mapping[str, Sequence[Any]],
    constraints: Sequence[Constraint],
    strength: int,
    seed: int,
) -> list[CoveringRow]:
    """Return rows that cover every combination of `strength` values which the constraints allow.

    `domains` holds the values of each axis by name. There is always at least one row. The result
    depends on the arguments only. Raises ValueError if no row fulfils the constraints.
    """
    rng = default_rng(seed)
    groups = list(itertools.combinations(range(len(domains)), strength))
    size = sum(_count_combinations(domains, group) for group in groups) or 1
    covered = np.zeros(size, dtype=bool)
    constrained = list_allowed(domains, constraints)
    rows: list[Codes] = []
    while True:
        pool = _draw_pool(domains, constrained, rng)
        chosen = _choose_greedily(_locate_combinations(pool, domains, groups), covered)
        if not chosen:
            break
        rows += list(pool[chosen])
    rows += _cover_missing(domains, groups, constrained, covered, rng)
    return [_decode(row, domains) for row in rows] or [
        _decode(_draw_pool(domains, constrained, rng)[0], domains)
    ]


def _count_combinations(domains: Mapping[str, Sequence[Any]], group: Sequence[int]) -> int:
    """Return the number of combinations of values of a group of axes."""
    sizes = [len(values) for values in domains.values()]
    return int(np.prod([sizes[axis] for axis in group]))


@dataclass(frozen=True)
class ConstrainedAxes:
    """The axes that constraints name, and the combinations of their values that are allowed.

    axes     positions of these axes among all axes
    codes    the allowed combinations, one per row
    weights  the probability of drawing each combination
    """

    axes: list[int]
    codes: Codes
    weights: NDArray[np.float64]


def list_allowed(
    domains: Mapping[str, Sequence[Any]], constraints: Sequence[Constraint]
) -> ConstrainedAxes:
    """Return the combinations that the constraints allow. Raises ValueError if there are none."""
    names = list(domains)
    axes = sorted({names.index(name) for constraint in constraints for name in constraint.axes})
    sizes = [len(domains[names[axis]]) for axis in axes]
    codes = (
        np.indices(sizes).reshape(len(sizes), -1).T if axes else np.zeros((1, 0), dtype=np.int64)
    )
    for constraint in constraints:
        codes = codes[_find_allowed(constraint, codes, [names[axis] for axis in axes], domains)]
    if not len(codes):
        constrained = [names[axis] for axis in axes]
        listed = "; ".join(f"{name}: {', '.join(map(str, domains[name]))}" for name in constrained)
        raise ValueError(f"no values of {', '.join(constrained)} fulfil the constraints ({listed})")
    return ConstrainedAxes(axes, codes, _weigh_rare_values(codes))


def _find_allowed(
    constraint: Constraint, codes: Codes, names: list[str], domains: Mapping[str, Sequence[Any]]
) -> NDArray[np.bool_]:
    """Return for each row of codes whether a constraint allows it; `names` are its columns."""
    columns = [names.index(name) for name in constraint.axes]
    numbers = [range(len(domains[name])) for name in constraint.axes]
    allowed = np.zeros([len(each) for each in numbers], dtype=bool)
    for chosen in itertools.product(*numbers):
        allowed[chosen] = constraint.allows(
            {name: domains[name][code] for name, code in zip(constraint.axes, chosen, strict=True)}
        )
    return np.asarray(allowed[tuple(codes[:, columns].T)])


def _weigh_rare_values(codes: Codes) -> NDArray[np.float64]:
    """Return probabilities of the rows that make rare values about as likely as frequent ones."""
    rarest = np.full(len(codes), len(codes))
    for column in codes.T:
        rarest = np.minimum(rarest, np.bincount(column)[column])
    return np.asarray((1.0 / rarest) / (1.0 / rarest).sum())


def _draw_pool(
    domains: Mapping[str, Sequence[Any]], constrained: ConstrainedAxes, rng: np.random.Generator
) -> Codes:
    pool = np.stack(
        [rng.integers(0, len(values), POOL_SIZE) for values in domains.values()], axis=1
    )
    chosen = rng.choice(len(constrained.codes), POOL_SIZE, p=constrained.weights)
    pool[:, constrained.axes] = constrained.codes[chosen]
    return pool


def _cover_missing(
    domains: Mapping[str, Sequence[Any]],
    groups: list[tuple[int, ...]],
    constrained: ConstrainedAxes,
    covered: NDArray[np.bool_],
    rng: np.random.Generator,
) -> list[Codes]:
    """Return rows for the combinations that the constraints allow and no pool contains."""
    rows = []
    for group, codes, address in _list_missing(domains, groups, covered):
        fitting = _select_fitting(constrained, group, codes)
        if covered[address] or not len(fitting):
            continue
        row = _draw_pool(domains, constrained, rng)[0]
        row[constrained.axes] = fitting[rng.integers(len(fitting))]
        row[list(group)] = codes
        covered[_locate_combinations(row[None], domains, groups)[0]] = True
        rows.append(row)
    return rows


def _list_missing(
    domains: Mapping[str, Sequence[Any]], groups: list[tuple[int, ...]], covered: NDArray[np.bool_]
) -> list[tuple[tuple[int, ...], tuple[int, ...], int]]:
    """Return each uncovered combination: its axes, its codes, and its address in `covered`."""
    sizes = [len(values) for values in domains.values()]
    missing, offset = [], 0
    for group in groups:
        combinations = _count_combinations(domains, group)
        for place in np.flatnonzero(~covered[offset : offset + combinations]).tolist():
            codes = tuple(
                int(code) for code in np.unravel_index(place, [sizes[axis] for axis in group])
            )
            missing.append((group, codes, offset + place))
        offset += combinations
    return missing


def _select_fitting(
    constrained: ConstrainedAxes, group: tuple[int, ...], codes: tuple[int, ...]
) -> Codes:
    """Return the allowed combinations of the constrained axes that have these codes."""
    keep = np.ones(len(constrained.codes), dtype=bool)
    for axis, code in zip(group, codes, strict=True):
        if axis in constrained.axes:
            keep &= constrained.codes[:, constrained.axes.index(axis)] == code
    return constrained.codes[keep]


def _locate_combinations(
    pool: Codes, domains: Mapping[str, Sequence[Any]], groups: Sequence[tuple[int, ...]]
) -> Codes:
    """Return for each row and group of axes the address of the row's combination in `covered`."""
    sizes = [len(values) for values in domains.values()]
    table = np.empty((len(pool), len(groups)), dtype=np.int64)
    offset = 0
    for column, group in enumerate(groups):
        codes = np.zeros(len(pool), dtype=np.int64)
        for axis in group:
            codes = codes * sizes[axis] + pool[:, axis]
        table[:, column] = codes + offset
        offset += _count_combinations(domains, group)
    return table


def _choose_greedily(addresses: Codes, covered: NDArray[np.bool_]) -> list[int]:
    """Choose the row that covers the most new combinations, and repeat until no row covers any.

    Marks the combinations of the chosen rows in `covered`.
    """
    chosen = []
    while len(addresses):
        gains = (~covered[addresses]).sum(axis=1)
        best = int(gains.argmax())
        if gains[best] == 0:
            break
        covered[addresses[best]] = True
        chosen.append(best)
    return chosen


def _decode(codes: Codes, domains: Mapping[str, Sequence[Any]]) -> CoveringRow:
    return {
        name: values[code]
        for (name, values), code in zip(domains.items(), codes.tolist(), strict=True)
    }

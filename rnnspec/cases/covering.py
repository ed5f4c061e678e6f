"""Covering arrays: rows of choices in which every few values of different axes occur together.

Built greedily from pools of random rows that fulfil the ties, so that the choices nothing asks for are random too and not
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
    domains: Mapping[str, Sequence[Any]], ties: Sequence[Constraint], strength: int, seed: int
) -> list[Row]:
    """Rows over the domains in which every `strength` values of different axes that the ties allow together occur together.

    A pure function of its arguments. Raises ValueError where the ties leave no row at all.
    """
    rng = np.random.default_rng(seed)
    groups = list(itertools.combinations(range(len(domains)), strength))
    seen = np.zeros(sum(_cells(domains, group) for group in groups) or 1, dtype=bool)
    bound = _bound_codes(domains, ties)
    rows: list[Codes] = []
    while True:
        pool = _random(domains, bound, rng)
        chosen = _greedy(_addresses(pool, domains, groups), seen)
        if not chosen:
            break
        rows += list(pool[chosen])
    rows += _completed(domains, groups, bound, seen, rng)
    return [_decoded(row, domains) for row in rows] or [
        _decoded(_random(domains, bound, rng)[0], domains)
    ]


def _cells(domains: Mapping[str, Sequence[Any]], group: Sequence[int]) -> int:
    sizes = [len(values) for values in domains.values()]
    return int(np.prod([sizes[axis] for axis in group]))


@dataclass(frozen=True)
class ConstrainedAxes:
    """The axes that ties name, every choice on them that fulfils all ties, and how likely each is drawn."""

    axes: list[int]
    codes: Codes
    weights: NDArray[np.float64]


def _bound_codes(
    domains: Mapping[str, Sequence[Any]], ties: Sequence[Constraint]
) -> ConstrainedAxes:
    names = list(domains)
    axes = sorted({names.index(name) for tie in ties for name in tie.axes})
    sizes = [len(domains[names[axis]]) for axis in axes]
    codes = (
        np.indices(sizes).reshape(len(sizes), -1).T if axes else np.zeros((1, 0), dtype=np.int64)
    )
    for tie in ties:
        codes = codes[_holding(tie, codes, [names[axis] for axis in axes], domains)]
    if not len(codes):
        raise ValueError(
            f"no values of {', '.join(names[axis] for axis in axes)} fulfil the ties within {dict(domains)!r}"
        )
    return ConstrainedAxes(axes, codes, _rare_as_often(codes))


def _holding(
    tie: Constraint, codes: Codes, names: list[str], domains: Mapping[str, Sequence[Any]]
) -> NDArray[np.bool_]:
    columns = [names.index(name) for name in tie.axes]
    allowed = {
        chosen: tie.holds(
            {name: domains[name][code] for name, code in zip(tie.axes, chosen, strict=True)}
        )
        for chosen in itertools.product(*(range(len(domains[name])) for name in tie.axes))
    }
    return np.array([allowed[tuple(chosen)] for chosen in codes[:, columns].tolist()], dtype=bool)


def _rare_as_often(codes: Codes) -> NDArray[np.float64]:
    """Probabilities with which a value that few rows can have is drawn about as often as one that many can have."""
    rarest = np.full(len(codes), len(codes))
    for column in codes.T:
        rarest = np.minimum(rarest, np.bincount(column)[column])
    return np.asarray((1.0 / rarest) / (1.0 / rarest).sum())


def _random(
    domains: Mapping[str, Sequence[Any]], bound: ConstrainedAxes, rng: np.random.Generator
) -> Codes:
    pool = np.stack([rng.integers(0, len(values), POOL) for values in domains.values()], axis=1)
    pool[:, bound.axes] = bound.codes[rng.choice(len(bound.codes), POOL, p=bound.weights)]
    return pool


def _completed(
    domains: Mapping[str, Sequence[Any]],
    groups: list[tuple[int, ...]],
    bound: ConstrainedAxes,
    seen: NDArray[np.bool_],
    rng: np.random.Generator,
) -> list[Codes]:
    """A row for each combination that no pool showed and that the ties allow."""
    rows = []
    for group, codes, address in _missing(domains, groups, seen):
        fitting = _fitting(bound, group, codes)
        if seen[address] or not len(fitting):
            continue
        row = _random(domains, bound, rng)[0]
        row[bound.axes] = fitting[rng.integers(len(fitting))]
        row[list(group)] = codes
        seen[_addresses(row[None], domains, groups)[0]] = True
        rows.append(row)
    return rows


def _missing(
    domains: Mapping[str, Sequence[Any]], groups: list[tuple[int, ...]], seen: NDArray[np.bool_]
) -> list[tuple[tuple[int, ...], tuple[int, ...], int]]:
    sizes = [len(values) for values in domains.values()]
    found, offset = [], 0
    for group in groups:
        cells = _cells(domains, group)
        for place in np.flatnonzero(~seen[offset : offset + cells]).tolist():
            codes = tuple(
                int(code) for code in np.unravel_index(place, [sizes[axis] for axis in group])
            )
            found.append((group, codes, offset + place))
        offset += cells
    return found


def _fitting(bound: ConstrainedAxes, group: tuple[int, ...], codes: tuple[int, ...]) -> Codes:
    """The choices on the bound axes that have these codes."""
    keep = np.ones(len(bound.codes), dtype=bool)
    for axis, code in zip(group, codes, strict=True):
        if axis in bound.axes:
            keep &= bound.codes[:, bound.axes.index(axis)] == code
    return bound.codes[keep]


def _addresses(
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
        offset += _cells(domains, group)
    return table


def _greedy(addresses: Codes, seen: NDArray[np.bool_]) -> list[int]:
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


def _decoded(codes: Codes, domains: Mapping[str, Sequence[Any]]) -> Row:
    return {
        name: values[code]
        for (name, values), code in zip(domains.items(), codes.tolist(), strict=True)
    }

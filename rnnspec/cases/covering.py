"""Covering arrays: rows of choices in which every few values of different axes occur together.

Built greedily from pools of random rows that fulfil the ties, so that the choices nothing asks for are random too and not
always the first of their axis: combinations beyond the promised strength turn up by chance. (Greedy construction as in
Cohen et al., The AETG System, IEEE TSE 23(7), 1997.)
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnspec.cases.case import Tie

Row = dict[str, Any]
Codes = NDArray[np.int64]
POOL = 1500
IDLE_POOLS = 3


def covering_array(domains: Mapping[str, Sequence[Any]], ties: Sequence[Tie], strength: int, seed: int) -> list[Row]:
    """Rows over the domains in which every `strength` values of different axes that the ties allow together occur together.

    A pure function of its arguments. What three pools of 1,500 random rows do not show is taken to be forbidden.
    """
    rng = np.random.default_rng(seed)
    groups = list(itertools.combinations(range(len(domains)), strength))
    seen = np.zeros(sum(_cells(domains, group) for group in groups) or 1, dtype=bool)
    rows: list[Row] = []
    idle = 0
    while idle < IDLE_POOLS:
        pool = _sound(_random(domains, rng), domains, ties)
        chosen = _greedy(_addresses(pool, domains, groups), seen)
        rows += [_decoded(pool[index], domains) for index in chosen]
        idle = 0 if chosen else idle + 1
    return rows or [{name: values[0] for name, values in domains.items()}]


def _cells(domains: Mapping[str, Sequence[Any]], group: Sequence[int]) -> int:
    sizes = [len(values) for values in domains.values()]
    return int(np.prod([sizes[axis] for axis in group]))


def _random(domains: Mapping[str, Sequence[Any]], rng: np.random.Generator) -> Codes:
    return np.stack([rng.integers(0, len(values), POOL) for values in domains.values()], axis=1)


def _sound(pool: Codes, domains: Mapping[str, Sequence[Any]], ties: Sequence[Tie]) -> Codes:
    names = list(domains)
    keep = np.ones(len(pool), dtype=bool)
    for tie in ties:
        columns = [names.index(name) for name in tie.axes]
        allowed = {
            codes: tie.holds({name: domains[name][code] for name, code in zip(tie.axes, codes, strict=True)})
            for codes in itertools.product(*(range(len(domains[name])) for name in tie.axes))
        }
        keep &= np.array([allowed[tuple(codes)] for codes in pool[:, columns].tolist()], dtype=bool)
    return pool[keep]


def _addresses(pool: Codes, domains: Mapping[str, Sequence[Any]], groups: Sequence[tuple[int, ...]]) -> Codes:
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
    return {name: values[code] for (name, values), code in zip(domains.items(), codes.tolist(), strict=True)}

"""Find the positions of a fault's errors in a result, from the arrays of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from rnnspec.oracle import Array
from rnnspec.report.error_map import ErrorMap, ErrorProfile, WrongShares
from rnnspec.rulekit.violation import ComparedArrays

MOST_BINS = 48
"""Limit on the columns and rows of a picture; beyond it, neighbours share a column or row."""
DIMENSIONS = {
    "output": ("time step", "sample", "unit"),
    "input": ("time step", "sample", "feature"),
    "state": ("layer and direction", "sample", "unit"),
    "weight": ("row", "column"),
    "bias": ("row",),
}
"""The names of the dimensions of a result, by the type of tensor."""
STATES = ("h_0", "h_1", "h_n", "c_0", "c_1", "c_n")


def make_error_map(comparison: ComparedArrays, case: str) -> ErrorMap:
    """Return the positions of the wrong elements of a comparison."""
    error, allowed = np.broadcast_arrays(comparison.error, comparison.allowed)
    wrong = ~(error <= allowed)
    names = _name_dimensions(comparison.quantity, error.ndim)
    long = [axis for axis in range(error.ndim) if error.shape[axis] > 1]
    return ErrorMap(
        comparison.quantity,
        case,
        error.shape,
        int(wrong.sum()),
        wrong.size,
        tuple(_make_profile(names[axis], axis, error, allowed) for axis in long),
        tuple(_make_shares(names, pair, wrong) for pair in combinations(long, 2)),
    )


def _name_dimensions(quantity: str, number: int) -> Sequence[str]:
    """Return the names of the dimensions of a result, or numbers if they are unknown.

    The tensors of a cell, and single steps or states of a layer, lack the first dimensions.
    """
    name = quantity.split()[-1] if quantity else ""
    sort = "state" if name in STATES else name.partition("_")[0]
    names = DIMENSIONS.get(sort, ())
    is_known = len(names) >= number
    return names[len(names) - number :] if is_known else [f"dimension {n}" for n in range(number)]


def _split(size: int) -> list[NDArray[np.intp]]:
    """Return the indices of a dimension in at most `MOST_BINS` groups of neighbours."""
    return np.array_split(np.arange(size), min(size, MOST_BINS))


def _make_profile(name: str, axis: int, error: Array, allowed: Array) -> ErrorProfile:
    size = error.shape[axis]
    errors, bounds, shares = [], [], []
    for places in _split(size):
        own, bound = (np.take(each, places, axis).ravel() for each in (error, allowed))
        wrong = ~(own <= bound)
        index = _find_worst(own, bound)
        errors.append(_write_number(own[index]))
        bounds.append(_write_number(bound[index]) if bound[index] > 0.0 else None)
        shares.append(round(float(wrong.mean()), 4))
    return ErrorProfile(name, size, tuple(errors), tuple(bounds), tuple(shares))


def _find_worst(error: Array, allowed: Array) -> int:
    """Return the index of the wrong element with the largest error, or of the closest to wrong."""
    wrong = ~(error <= allowed)
    if wrong.any():
        return int(np.where(wrong, np.nan_to_num(error, nan=np.inf), -1.0).argmax())
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(error > 0.0, error / allowed, 0.0)
    return int(np.lexsort((error, ratio))[-1])


def _write_number(number: float) -> float | None:
    """Round a number to the digits that a picture shows; return None if it is not finite."""
    return float(f"{number:.4g}") if np.isfinite(number) else None


def _make_shares(
    names: Sequence[str], pair: tuple[int, int], wrong: NDArray[np.bool_]
) -> WrongShares:
    rows, columns = pair
    others = tuple(axis for axis in range(wrong.ndim) if axis not in pair)
    share = wrong.mean(axis=others)
    grid = tuple(
        tuple(
            round(float(share[np.ix_(row, column)].mean()), 4)
            for column in _split(wrong.shape[columns])
        )
        for row in _split(wrong.shape[rows])
    )
    return WrongShares(names[rows], names[columns], (len(share), len(share[0])), grid)

"""Features on which faults depend in pairs, and rows that make each pair frequent.

A covering array contains each pair of values at least once, but the numbers of that row may hide an
error: zeros, ones and saturated units make many formulas equal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from random import Random  # here, so that a subject that replaces it changes no case
from typing import Any

from rnnspec.cases.axes import (
    PRIOR_USES,
    STACKED,
    Distribution,
    DropoutLevel,
    DType,
    GradMode,
    InitialState,
    Layout,
    MemoryLayout,
    Mode,
    Projection,
)
from rnnspec.cases.axes.dtype import HALF_DTYPES
from rnnspec.cases.case import list_constraints
from rnnspec.contract.kinds import Nonlinearity

Row = Mapping[str, Any]

GENERIC = (
    Distribution.PLAIN,
    Distribution.LARGE,
    Distribution.SPREAD,
    Distribution.SOLVABLE,
    Distribution.READABLE,
)
"""The distributions under which most elements show an error. The last two reveal the masks of
random dropout.
"""
OFTEN = 3
"""Each pair of features occurs in at least this many cases with generic numbers."""
STACKS = range(2, STACKED[-1] + 1)
DEEP_STACKS = range(STACKED[-1], STACKED[-2], -1)
FEATURES: Mapping[str, Mapping[str, Sequence[Any]]] = {
    "relu": {"nonlinearity": (Nonlinearity.RELU.value,)},
    "several layers": {"num_layers": STACKS},
    "more than five layers": {"num_layers": DEEP_STACKS},
    "two directions": {"bidirectional": (True,)},
    "batch_first=True": {"batch_first": (True,)},
    "bias=False": {"bias": (False,)},
    "random dropout": {
        "dropout": (DropoutLevel.SOME,),
        "mode": (Mode.TRAIN,),
        "num_layers": STACKS,
    },
    "dropout of one": {
        "dropout": (DropoutLevel.ALL,),
        "mode": (Mode.TRAIN,),
        "num_layers": STACKS,
    },
    "proj_size > 0": {"proj_size": (Projection.SOME,)},
    "unbatched input": {"layout": (Layout.UNBATCHED,)},
    "packed input": {"layout": (Layout.PACKED, Layout.PACKED_UNSORTED)},
    "unsorted input": {"layout": (Layout.PACKED_UNSORTED,)},
    "an initial state": {"initial_state": (InitialState.GIVEN,)},
    "training mode": {"mode": (Mode.TRAIN,)},
    "gradients enabled": {"grad_mode": (GradMode.GRAD,)},
    "gradients disabled": {"grad_mode": (GradMode.NO_GRAD, GradMode.INFERENCE)},
    "16 bits": {"dtype": HALF_DTYPES},
    "bfloat16": {"dtype": (DType.BFLOAT16,)},
    "float16": {"dtype": (DType.FLOAT16,)},
    "strided arguments": {
        "memory_layout": [each for each in MemoryLayout if each is not MemoryLayout.CONTIGUOUS]
    },
    "a prior use": {"prior_use": PRIOR_USES[1:]},
}
"""The features, each with the axis values that constitute it."""


def has_feature(row: Row, name: str) -> bool:
    """Return whether a row has all axis values of a feature."""
    return all(row[axis] in values for axis, values in FEATURES[name].items())


def list_rare_pairs(rows: Sequence[Row], cases: int) -> set[tuple[str, str]]:
    """Return the pairs of features that occur in fewer than `OFTEN` cases with generic numbers.

    `cases` is the number of cases of each row. Pairs that no row has are left out.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for row in rows:
        found = [name for name in FEATURES if has_feature(row, name)]
        for pair in combinations(found, 2):
            counts[pair] += cases if row["distribution"] in GENERIC else 0
    return {pair for pair, count in counts.items() if count < OFTEN}


def list_generic_rows(rows: Sequence[Row], cases: int, kind: str, seed: int) -> list[Row]:
    """Return the rows to add to the rows of a kind of layer, so that no pair of features is rare.

    They have the choices of the given rows, with generic numbers. `cases` is the number of cases of
    each row.
    """
    candidates = [found for row in rows if (found := _make_generic(row, kind)) is not None]
    Random(f"{seed} features").shuffle(candidates)
    added: list[Row] = []
    while rare := list_rare_pairs([*rows, *added], cases):
        best = max(candidates, key=lambda row: _count_pairs(row, rare), default=None)
        if best is None or not _count_pairs(best, rare):
            break
        added.append(best)
        candidates.remove(best)
        candidates.append(best)  # candidates that are as good come first
    return added


def _make_generic(row: Row, kind: str) -> Row | None:
    """Return a row with the simplest generic numbers that its choices allow, or None."""
    changed = ({**row, "distribution": each} for each in GENERIC)
    constraints = list_constraints(kind)
    return next((row for row in changed if all(each.allows(row) for each in constraints)), None)


def _count_pairs(row: Row, pairs: Collection[tuple[str, str]]) -> int:
    return sum(has_feature(row, one) and has_feature(row, other) for one, other in pairs)

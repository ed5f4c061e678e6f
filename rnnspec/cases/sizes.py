"""The sizes of a case as Hypothesis strategies: mostly small, often at a kernel's threshold, under a cap on the work."""

from __future__ import annotations

import itertools
import random
from collections.abc import Collection, Mapping
from typing import Any

from hypothesis import strategies as st

from rnnspec.cases.axes import Distribution

MAIN_THRESHOLDS = (8, 16, 17, 31, 33, 64, 65, 256)
THRESHOLDS = (
    *MAIN_THRESHOLDS * 3,
    256,
    256,
    32,
    100,
    128,
    129,
    200,
    257,
    300,
    7,
    9,
    15,
    63,
    127,
    513,
    1025,
)
DIMENSIONS = ("input_size", "hidden_size", "steps", "batch")
SMALL = {"input_size": 6, "hidden_size": 6, "steps": 6, "batch": 5}
LARGE_PAIRS = (
    (),
    ("hidden_size",),
    ("steps",),
    ("batch",),
    ("input_size",),
    ("hidden_size", "steps"),
    ("hidden_size", "batch"),
    ("steps", "batch"),
    ("input_size", "hidden_size"),
    ("input_size", "batch"),
    ("input_size", "steps"),
)
MOST_MULTIPLICATIONS = 6_000_000
MOST_CELL_CALLS = 340
MOST_PARAMETERS = 1_200_000
"""Enough for one direction of 1025 units. Weights are copied more often than they are multiplied."""
READABLE_UNITS = 12
LENGTH_STYLES = ("equal", "any", "any", "ones", "two")

EQUAL = (
    *[("", "")] * 6,
    *[("input_size", "hidden_size")] * 4,
    ("batch", "steps"),
    ("batch", "states"),
)
"""Sizes that are made equal: a third of the cases needs no projection, and a few cannot tell one axis from another by its size."""

Sizes = dict[str, int]


def _list_large_by_chance() -> tuple[tuple[str, ...], ...]:
    """Six in ten without a large dimension, three with one, one with two; each dimension and pair equally often."""
    ones = [(name,) for name in DIMENSIONS]
    pairs = list(itertools.combinations(DIMENSIONS, 2))
    return (*[()] * 72, *ones * 9, *pairs * 2)


LARGE_BY_CHANCE = _list_large_by_chance()
LARGE = st.one_of(st.sampled_from(THRESHOLDS), st.integers(7, 320))


@st.composite
def sizes(draw: st.DrawFn, row: Mapping[str, Any], large_dimensions: tuple[str, ...] | None = None) -> Sizes:
    """input_size, hidden_size, steps and batch for a row of discrete choices.

    `wide` names the dimensions that must be large; None lets one of them be large in three cases of ten and two in one of ten.
    Some sizes are equal more often than by chance (`EQUAL`). The work is capped: small dimensions are cut first, then large ones.
    """
    chosen = large_dimensions if large_dimensions is not None else draw(st.sampled_from(LARGE_BY_CHANCE))
    found = {
        name: draw(LARGE if name in chosen else st.integers(1, SMALL[name])) for name in DIMENSIONS
    }
    one, other = draw(st.sampled_from(EQUAL))
    if one and one not in chosen:
        found[one] = {
            **found,
            "states": int(row["num_layers"]) * (2 if row["bidirectional"] else 1),
        }[other]
    if not row["layout"].is_batched:
        found["batch"] = 1
    return capped(row, found, chosen)


def capped(row: Mapping[str, Any], found: Sizes, kept: Collection[str] = ()) -> Sizes:
    """The sizes halved until a run of the case stays under the caps on the work, those that are `kept` last of all."""
    found = dict(found)
    directions = 2 if row["bidirectional"] else 1
    if row["distribution"] is Distribution.READABLE:
        found["hidden_size"] = min(found["hidden_size"], READABLE_UNITS // directions)
    deep = int(row["num_layers"]) * directions
    while found["steps"] * deep > MOST_CELL_CALLS:
        found["steps"] //= 2
    while _parameters(found, deep, directions) > MOST_PARAMETERS:
        widest = max(("input_size", "hidden_size"), key=lambda name: found[name])
        found[widest] //= 2
    while _multiplications(found, deep, directions) > MOST_MULTIPLICATIONS:
        spare = [name for name in DIMENSIONS if name not in kept and found[name] > 2]
        widest = max(spare or DIMENSIONS, key=lambda name: found[name])
        found[widest] = max(1, found[widest] // 2)
    return found


def _parameters(found: Sizes, deep: int, directions: int) -> int:
    hidden = found["hidden_size"]
    return hidden * (
        (found["input_size"] + hidden) * directions
        + (directions + 1) * hidden * (deep - directions)
    )


def _multiplications(found: Sizes, deep: int, directions: int) -> int:
    width = found["input_size"] + (directions + 1) * found["hidden_size"]
    return found["steps"] * found["batch"] * found["hidden_size"] * width * deep


@st.composite
def lengths(draw: st.DrawFn, steps: int, batch: int) -> tuple[int, ...]:
    """The lengths of a packed batch in the caller's order, the longest equal to `steps`: any, tied, all equal, or mostly ones.

    They come from one seed, since drawing each costs more than judging the case. Raises ValueError for a size below 1.
    """
    for name, size in (("steps", steps), ("batch", batch)):
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size!r}")
    style, seed = draw(st.sampled_from(LENGTH_STYLES)), draw(st.integers(0, 2**16))
    rng = random.Random(seed)
    low = {"any": 1, "equal": steps, "ones": 1, "two": max(1, steps - 1)}[style]
    high = min(steps, 1) if style == "ones" else steps
    found = [rng.randint(low, high) for _ in range(batch)]
    found[seed % batch] = steps
    return tuple(found)

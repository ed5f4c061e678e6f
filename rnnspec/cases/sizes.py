"""Hypothesis strategies for the sizes of a case, and a small pool of sizes for slow targets."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from functools import lru_cache
from random import Random  # here, so that a subject that replaces it changes no case
from typing import Any

from hypothesis import strategies as st

from rnnspec.cases.axes import Distribution, EarlierCalls
from rnnspec.contract.kinds import KINDS, UNGATED

MAIN_THRESHOLDS = (8, 16, 17, 31, 33, 64, 65, 256)
"""Sizes near which kernels change, which are drawn three times as often as the other thresholds."""
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
SizesByName = dict[str, int]
"""A size for each of the `DIMENSIONS`."""
BEYOND_BLOCKS = {
    "input_size": (257, 513),
    "hidden_size": (257, 513),
    "steps": (257,),
    "batch": (257,),
}
"""Sizes just above blocks of 256, and of 512 features and units.

A kernel that loses the elements beyond its block is right for all smaller sizes.
"""
USUAL_SIZES: SizesByName = {"input_size": 128, "hidden_size": 256, "steps": 33, "batch": 2}
"""The sizes at which a layer is called in every way."""
MANY_SAMPLES: SizesByName = {"input_size": 65, "hidden_size": 128, "steps": 2, "batch": 320}
REAL_SIZES: tuple[SizesByName, ...] = (
    USUAL_SIZES,
    {"input_size": 512, "hidden_size": 512, "steps": 2, "batch": 2},
    # Rows take turns, so 512 units and more occur with both activations, modes and kinds of states.
    # A block of threads has 1024 threads at most, so 1024 units do not show a kernel with a thread
    # for each unit. 1152 is a multiple of 128, so that kernels for full blocks are called.
    {"input_size": 64, "hidden_size": 1152, "steps": 2, "batch": 2},
    # 768 steps are more than 512 and a multiple of 256, so that they fill chunks of steps exactly.
    {"input_size": 64, "hidden_size": 64, "steps": 768, "batch": 1},
    MANY_SAMPLES,
    {"input_size": 1025, "hidden_size": 65, "steps": 3, "batch": 2},
)
"""Sizes at which people run layers. Most have several large dimensions, within a limit of the cost.

A layer is checked at each of them with the weights of a new layer (`Distribution.NEW`), and a cell
with a single step. No public benchmark of kernels uses more than 512 steps.
"""
LONGEST: SizesByName = {"input_size": 8, "hidden_size": 64, "steps": 2048, "batch": 1}
"""A long sequence that costs too much for a quick check: seconds, for an LSTM."""
SMALL = {"input_size": 6, "hidden_size": 6, "steps": 6, "batch": 5}
"""The largest small size of each dimension."""
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
"""The dimensions that are large together in the rows for large sizes."""
MAX_MULTIPLICATIONS = 6_000_000
MAX_CELL_CALLS = 340
# Enough for a direction of 1025 units. The limit is low because weights are copied more often
# than they are multiplied.
MAX_PARAMETERS = 1_200_000
READABLE_UNITS = 12
"""The largest number of units (over both directions) that a unit can encode in float32.

In 16 bits, each unit encodes a single unit, so their number has no limit.
"""
LENGTH_STYLES = ("equal", "any", "any", "ones", "two")

NOT_EQUAL, EQUAL = ("", ""), ("input_size", "hidden_size")
SQUARE = ("input_size", "rows")
IN_LAYERS = (("batch", "steps"), ("batch", "states"))
IN_CELLS = (("batch", "input_size"), ("batch", "hidden_size"))


@lru_cache
def list_equal_pairs(kind: str) -> tuple[tuple[str, str], ...]:
    """Return pairs of sizes; each case of the kind draws a pair whose sizes are made equal.

    In a third of the cases input_size and hidden_size are equal, because some implementations treat
    that case differently. With gates, input_size equals the number of rows of W_ih in some of them
    instead, so that W_ih is square. In a few, the batch size equals the number of steps or of
    states, so that a layer cannot recognise a dimension by its size. A cell has a single step
    and state, so its batch size equals input_size or hidden_size.
    """
    data = KINDS[kind]
    of_input = (EQUAL, EQUAL, EQUAL, SQUARE if data.is_gated else EQUAL)
    return (*[NOT_EQUAL] * 6, *of_input, *(IN_CELLS if data.is_cell else IN_LAYERS))


def _list_large_by_chance() -> tuple[tuple[str, ...], ...]:
    """Return choices of large dimensions: none in 60 %, one in 30 % and two in 10 % of them.

    Every dimension and every pair is equally frequent.
    """
    ones = [(name,) for name in DIMENSIONS]
    pairs = list(itertools.combinations(DIMENSIONS, 2))
    return (*[()] * 72, *ones * 9, *pairs * 2)


LARGE_BY_CHANCE = _list_large_by_chance()
LARGEST_BY_CHANCE = 320
"""The largest size that is drawn without being a threshold."""
LARGE = st.one_of(st.sampled_from(THRESHOLDS), st.integers(7, LARGEST_BY_CHANCE))


@st.composite
def sizes(
    draw: st.DrawFn, row: Mapping[str, Any], large_dimensions: tuple[str, ...] | None = None
) -> SizesByName:
    """Draw input_size, hidden_size, steps and batch for a row of values of the axes.

    `large_dimensions` names the dimensions that must be large. If it is None, three of ten cases
    have one large dimension, and one of ten has two. Some sizes are equal more often than by chance
    (`list_equal_pairs`). `cap_sizes` limits the work.
    """
    if large_dimensions is None:
        large_dimensions = draw(st.sampled_from(LARGE_BY_CHANCE))
    most_steps = MAX_CELL_CALLS // (int(row["num_layers"]) * _count_directions(row))
    large = {**dict.fromkeys(DIMENSIONS, LARGE), "steps": _large_steps(most_steps)}
    drawn = {
        name: draw(large[name] if name in large_dimensions else st.integers(1, SMALL[name]))
        for name in DIMENSIONS
    }
    kind = KINDS[row.get("kind", UNGATED.name)]
    one, other = draw(st.sampled_from(list_equal_pairs(kind.name)))
    if one and one not in large_dimensions:
        states = int(row["num_layers"]) * _count_directions(row)
        rows = len(kind.gates) * drawn["hidden_size"]
        drawn[one] = {**drawn, "states": states, "rows": rows}[other]
    if row.get("prior_use") is EarlierCalls.OTHER_BATCH:
        # Only with two sequences of several steps can an earlier call have other lengths that have
        # the same sum.
        drawn |= {"batch": max(2, drawn["batch"]), "steps": max(4, drawn["steps"])}
    if not row["layout"].is_batched:
        drawn["batch"] = 1
    if kind.is_cell:
        drawn["steps"] = 1
    return cap_sizes(row, drawn, large_dimensions)


def cap_sizes(
    row: Mapping[str, Any], drawn: SizesByName, kept: Collection[str] = ()
) -> SizesByName:
    """Return sizes that are halved until the work of a case is within the limits.

    The dimensions in `kept` are halved only if no other can be.
    """
    capped = dict(drawn)
    directions = _count_directions(row)
    if row["distribution"] is Distribution.READABLE and not row["dtype"].is_half:
        capped["hidden_size"] = min(capped["hidden_size"], READABLE_UNITS // directions)
    cells = int(row["num_layers"]) * directions
    while capped["steps"] * cells > MAX_CELL_CALLS:
        capped["steps"] //= 2
    while _count_parameters(capped, cells, directions) > MAX_PARAMETERS:
        widest = max(("input_size", "hidden_size"), key=lambda name: capped[name])
        capped[widest] //= 2
    while _count_multiplications(capped, cells, directions) > MAX_MULTIPLICATIONS:
        spare = [name for name in DIMENSIONS if name not in kept and capped[name] > 2]
        widest = max(spare or DIMENSIONS, key=lambda name: capped[name])
        capped[widest] = max(1, capped[widest] // 2)
    return capped


@lru_cache
def _large_steps(most: int) -> st.SearchStrategy[int]:
    """Draw a large number of steps that is at most `most`."""
    return st.one_of(
        st.sampled_from([size for size in THRESHOLDS if size <= most]),
        st.integers(7, min(LARGEST_BY_CHANCE, most)),
    )


def _count_directions(row: Mapping[str, Any]) -> int:
    return 2 if row["bidirectional"] else 1


def _count_parameters(drawn: SizesByName, cells: int, directions: int) -> int:
    """Return the number of weights of a layer, without its biases."""
    hidden = drawn["hidden_size"]
    return hidden * (
        (drawn["input_size"] + hidden) * directions
        + (directions + 1) * hidden * (cells - directions)
    )


def _count_multiplications(drawn: SizesByName, cells: int, directions: int) -> int:
    """Return an upper estimate of the multiplications of a call."""
    width = drawn["input_size"] + (directions + 1) * drawn["hidden_size"]
    return drawn["steps"] * drawn["batch"] * drawn["hidden_size"] * width * cells


@st.composite
def lengths(draw: st.DrawFn, steps: int, batch: int) -> tuple[int, ...]:
    """Draw the lengths of the sequences of a packed batch, in the caller's order.

    There are `batch` lengths from 1 to `steps`, and the longest is `steps`. They may be arbitrary,
    equal, almost equal, or 1 except for the longest. Raises ValueError if `steps` or `batch` is
    below 1.
    """
    for name, size in (("steps", steps), ("batch", batch)):
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size!r}")
    style, seed = draw(st.sampled_from(LENGTH_STYLES)), draw(st.integers(0, 2**16))
    # Drawing every length through Hypothesis would take longer than checking the case.
    rng = Random(seed)
    low = {"any": 1, "equal": steps, "ones": 1, "two": max(1, steps - 1)}[style]
    high = min(steps, 1) if style == "ones" else steps
    drawn = [rng.randint(low, high) for _ in range(batch)]
    drawn[seed % batch] = steps
    return tuple(drawn)


POOL_LARGE = 33
PLAIN = (4, 5, 3, 2)
"""Input, hidden state, steps and batch."""


def _name_sizes(*sizes: int) -> SizesByName:
    return dict(zip(DIMENSIONS, sizes, strict=True))


POOL: tuple[SizesByName, ...] = tuple(
    _name_sizes(*sizes)
    for sizes in (
        PLAIN,
        (2, 5, 3, 4),
        (4, 2, 3, 1),
        (4, 4, 2, 3),
        (3, 4, 1, 3),
        (4, POOL_LARGE, 3, 2),
        (3, 4, POOL_LARGE, 2),
        (2, 5, 3, POOL_LARGE),
        (POOL_LARGE, 4, 2, 3),
        (4, POOL_LARGE, POOL_LARGE, 2),
        (POOL_LARGE, POOL_LARGE, 2, 3),
    )
)
"""The sizes of the pool.

The first four are sizes of opening cases. Then follow a single step, each size large alone, and the
two pairs of large sizes for which kernels most often have separate code.
"""
BEYOND_POOL: tuple[SizesByName, ...] = tuple(
    {**_name_sizes(*PLAIN), name: size}
    for name, sizes in BEYOND_BLOCKS.items()
    for size in (129, *sizes)
)
"""Sizes with a single dimension beyond the blocks of kernels, for rows that need it large alone.

They cost a slow subject far more than the others, so no other row draws them.
"""


def draw_from_pool(
    row: Mapping[str, Any], large_dimensions: tuple[str, ...] | None
) -> st.SearchStrategy[SizesByName]:
    """Draw sizes of the pool for a row of values of the axes."""
    return st.sampled_from(list_fitting_sizes(row, large_dimensions))


def list_fitting_sizes(
    row: Mapping[str, Any], large_dimensions: tuple[str, ...] | None
) -> list[SizesByName]:
    """Return the sizes of the pool for a row of values of the axes.

    They are the sizes that match `large_dimensions` best, or all sizes if it is None. Sizes that
    would cost too much are made smaller, and unbatched input gets a batch of 1.
    """
    known = [*POOL]
    if large_dimensions is not None:
        known += BEYOND_POOL
        fitting = max(_count_fitting(sizes, large_dimensions) for sizes in known)
        known = [each for each in known if _count_fitting(each, large_dimensions) == fitting]
    return [_fit_to_row(row, each, large_dimensions or ()) for each in known]


def _count_fitting(sizes: SizesByName, large: tuple[str, ...]) -> int:
    """Return how many dimensions are large exactly if they should be."""
    return sum((sizes[name] >= POOL_LARGE) == (name in large) for name in DIMENSIONS)


def _fit_to_row(row: Mapping[str, Any], sizes: SizesByName, kept: tuple[str, ...]) -> SizesByName:
    if not row["layout"].is_batched:
        sizes = {**sizes, "batch": 1}
    return cap_sizes(row, sizes, kept)


def list_pool_lengths(steps: int, batch: int) -> tuple[int, ...]:
    """Return the lengths of the sequences of a packed batch, in the caller's order.

    They are always the same for the same sizes: 2, 3 and so on to `steps`, then again from 1.
    """
    lengths = tuple((place + 1) % steps + 1 for place in range(batch))
    return lengths if steps in lengths else (steps, *lengths[1:])

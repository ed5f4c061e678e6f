"""The plan of a campaign: rows of covering arrays over the axes, some of them for large sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import combinations, cycle
from random import Random  # here, so that a subject that replaces it changes no case
from typing import Any

from rnnspec.cases.axes import (
    AXES,
    AXIS,
    HISTORY_USES,
    KERNEL_AXES,
    PRIOR_USES,
    STACKED,
    Axis,
    Distribution,
    DropoutLevel,
    DType,
    EarlierCalls,
    Feature,
    GradMode,
    InitialState,
    Layout,
    MemoryLayout,
    Mode,
    PriorUse,
    Projection,
)
from rnnspec.cases.axes.dtype import HALF_DTYPES
from rnnspec.cases.case import list_constraints
from rnnspec.cases.covering import CoveringRow, build_covering_array
from rnnspec.cases.sizes import (
    LARGE_PAIRS,
    LONGEST,
    MANY_SAMPLES,
    REAL_SIZES,
    USUAL_SIZES,
    SizesByName,
)
from rnnspec.contract.config import OPTIONAL
from rnnspec.contract.kinds import KINDS, UNGATED, Nonlinearity

AnyRow = Mapping[str, Any]

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


def has_feature(row: AnyRow, name: str) -> bool:
    """Return whether a row has all axis values of a feature."""
    return all(row[axis] in values for axis, values in FEATURES[name].items())


def list_rare_pairs(rows: Sequence[AnyRow], cases: int) -> set[tuple[str, str]]:
    """Return the pairs of features that occur in fewer than `OFTEN` cases with generic numbers.

    `cases` is the number of cases of each row. Pairs that no row has are left out.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for row in rows:
        found = [name for name in FEATURES if has_feature(row, name)]
        for pair in combinations(found, 2):
            counts[pair] += cases if row["distribution"] in GENERIC else 0
    return {pair for pair, count in counts.items() if count < OFTEN}


def list_generic_rows(rows: Sequence[AnyRow], cases: int, kind: str, seed: int) -> list[AnyRow]:
    """Return the rows to add to the rows of a kind of layer, so that no pair of features is rare.

    They have the choices of the given rows, with generic numbers. `cases` is the number of cases of
    each row.
    """
    candidates = [found for row in rows if (found := _make_generic(row, kind)) is not None]
    Random(f"{seed} features").shuffle(candidates)
    added: list[AnyRow] = []
    while rare := list_rare_pairs([*rows, *added], cases):
        best = max(candidates, key=lambda row: _count_pairs(row, rare), default=None)
        if best is None or not _count_pairs(best, rare):
            break
        added.append(best)
        candidates.remove(best)
        candidates.append(best)  # candidates that are as good come first
    return added


def _make_generic(row: AnyRow, kind: str) -> AnyRow | None:
    """Return a row with the simplest generic numbers that its choices allow, or None."""
    changed = ({**row, "distribution": each} for each in GENERIC)
    constraints = list_constraints(kind)
    return next((row for row in changed if all(each.allows(row) for each in constraints)), None)


def _count_pairs(row: AnyRow, pairs: Collection[tuple[str, str]]) -> int:
    return sum(has_feature(row, one) and has_feature(row, other) for one, other in pairs)


SHORT = {**USUAL_SIZES, "steps": 4}
EXACT_AXES = ("nonlinearity", "bidirectional", "initial_state")
"""The axes that vary in rows with exact results; some of their distributions need an initial state.
"""
CALL_AXES = ("layout", "initial_state", "mode", "grad_mode")
"""The axes that vary among the usual calls of a layer with default arguments."""
LARGE_AXES = (*KERNEL_AXES, "bias", "dropout", "proj_size", "memory_layout", "distribution")
"""The axes that vary in the rows for large sizes.

The profile `quick` varies only `KERNEL_AXES`.
"""
DEPTHS = tuple(range(max(STACKED[:-1]) + 1, STACKED[-1]))
"""The numbers of layers between the last two values of the axis: 6 to 10.

Each occurs in one row of every covering array, with choices taken from rows of the deepest stack.
"""


CHUNKED = 512
"""The number of steps from which one of `REAL_SIZES` is called in both directions."""
MOST_USES = 8
"""The largest number of uses in the history of a case, before the prior use.

With this limit, each use occurs in at least five histories of a quick run, and three quarters of
the ordered pairs of uses occur. A quick check of nn.LSTM takes 1.1 times as long as without
histories; it took 1.2 times as long when most cases had a history.
"""


@dataclass(frozen=True)
class PlanRow:
    """A row of a covering array with the kind of layer, and the number of cases drawn from it.

    `large_dimensions` names the dimensions that must be large; if it is None, chance decides.
    `sizes`, if given, are used as they are.
    """

    row: Mapping[str, Any]
    cases: int
    large_dimensions: tuple[str, ...] | None = None
    sizes: SizesByName | None = None


@dataclass(frozen=True)
class Profile:
    """How thorough a campaign is.

    arrays        the number of covering arrays over all axes
    strength      every combination of this many values of different axes occurs
    cases         the number of cases in each row of these arrays
    large_arrays  the number of covering arrays of strength 2 for large sizes, one case per row
    planned       the least number of cases planned for each rule
    minimum       the least number of cases that a rule must check before it can hold; fewer than
                  planned, because a subject may openly refuse some and a user may request fewer
    large_axes    the axes that vary in the rows for large sizes
    real_sizes    sizes of real models at which a layer is checked, besides `REAL_SIZES`
    """

    name: str
    arrays: int
    strength: int
    cases: int
    large_arrays: int
    planned: int
    minimum: int
    large_axes: tuple[str, ...] = LARGE_AXES
    real_sizes: tuple[SizesByName, ...] = ()


PROFILES = {
    "quick": Profile(
        "quick",
        arrays=1,
        strength=2,
        cases=1,
        large_arrays=1,
        planned=5,
        minimum=1,
        large_axes=KERNEL_AXES,
    ),
    "default": Profile(
        "default",
        arrays=2,
        strength=2,
        cases=2,
        large_arrays=2,
        planned=10,
        minimum=3,
    ),
    "thorough": Profile(
        "thorough",
        arrays=2,
        strength=3,
        cases=6,
        large_arrays=12,
        planned=50,
        minimum=10,
        real_sizes=(LONGEST,),
    ),
}


@dataclass(frozen=True)
class Scope:
    """The choices that cases may have.

    unsupported  the features that the subject does not support
    pinned       the axes that keep one value
    kind         the kind of layer; arguments that the kind lacks keep their default
    """

    unsupported: frozenset[Feature] = frozenset()
    pinned: tuple[tuple[str, Any], ...] = ()
    kind: str = UNGATED.name

    def has_axis(self, name: str) -> bool:
        """Return whether the kind of layer varies along an axis."""
        return name not in OPTIONAL or name in KINDS[self.kind].arguments

    def list_values(self, axis: Axis) -> tuple[Any, ...]:
        """Return the values of an axis within this scope, the simplest first.

        The result is never empty: it is the simplest value if the subject supports none.
        """
        pinned = dict(self.pinned)
        if axis.name in pinned:
            return (pinned[axis.name],)
        if not self.has_axis(axis.name):
            return (axis.simplest,)
        lacking = self.unsupported | list_missing_features(self.kind)
        allowed = [value for value in axis.values if axis.needed_feature(value) not in lacking]
        return tuple(allowed) or (axis.simplest,)

    def list_drawn(self, axis: Axis) -> tuple[Any, ...]:
        """Return the values of an axis that are combined with values of other axes.

        The weights of a new layer are used only at real sizes. At small sizes, `Distribution.PLAIN`
        reveals more errors because its numbers are larger.
        """
        values = self.list_values(axis)
        return tuple(each for each in values if each is not Distribution.NEW) or values


def list_missing_features(kind: str) -> frozenset[Feature]:
    """Return the features that a kind of layer lacks, apart from features of its arguments."""
    return frozenset({Feature.PACKED}) if KINDS[kind].is_cell else frozenset()


def list_large_pairs(kind: str) -> tuple[tuple[str, ...], ...]:
    """Return the dimensions that are large together; a cell has one time step."""
    if not KINDS[kind].is_cell:
        return LARGE_PAIRS
    return tuple(pair for pair in LARGE_PAIRS if "steps" not in pair)


def plan_rows(profile: Profile, seed: int, scope: Scope) -> list[PlanRow]:
    """Return the rows of a campaign: the simplest first, the others shuffled.

    Because of the shuffling, every part of a campaign is a sample of the whole. The result depends
    on the arguments only.
    """
    simplest = PlanRow(find_simplest_row(scope), 1, ())
    regular = [
        PlanRow(row, profile.cases)
        for salt in range(profile.arrays)
        for row in _plan_covering_rows(scope, profile.strength, _mix_seed(seed, salt))
    ]
    rare = list_generic_rows([each.row for each in regular], profile.cases, scope.kind, seed)
    regular += [PlanRow(row, profile.cases) for row in rare]
    large = [
        _plan_large_row(row)
        for salt in range(profile.large_arrays)
        for row in build_covering_rows(
            scope, 2, _mix_seed(seed, salt), profile.large_axes, list_large_pairs(scope.kind)
        )
    ]
    usual = [PlanRow(row, 1, ()) for row in list_usual_rows(scope, seed)]
    shuffled = [*add_histories(regular, scope, seed), *large, *usual]
    Random(seed).shuffle(shuffled)
    common = {"history": (), "kind": scope.kind}
    return [replace(each, row={**common, **each.row}) for each in (simplest, *shuffled)]


def list_usual_rows(scope: Scope, seed: int) -> tuple[CoveringRow, ...]:
    """Return rows that call a layer with default arguments in every usual way.

    Kernels for inference or for a single layer are often chosen by several conditions at once, all
    of which hold in the simplest use. No other row of a quick run has gradients disabled, a padded
    batch, and one layer in one direction, and everything else at its simplest.
    """
    return build_covering_rows(_pin(scope, num_layers=1), 2, seed % 2**64, CALL_AXES)


def list_real_rows(profile: Profile, scope: Scope, seed: int) -> list[PlanRow]:
    """Return rows for sizes of real models, with the weights of a new layer.

    They have a single layer if the scope allows it, because a call returns all hidden states of the
    last layer only. In float32, the dtype of most models, each of `REAL_SIZES` occurs: the first
    with each value of the other `KERNEL_AXES`, and the others in a padded batch and, if they are
    not long, in one direction, as most models call a layer. Two sizes occur in 16 bits, and one in
    float64, for which layers have other kernels. One row calls a stack of layers step by step.
    Other rows have stacks with numbers for which all results are exact, so that they show any
    error, whatever the size.
    """
    pinned = dict(scope.pinned)
    narrow = _pin(scope, distribution=Distribution.NEW, num_layers=1)
    usual = _pin(narrow, dtype=DType.FLOAT32)
    axes = tuple(name for name in KERNEL_AXES if name != "dtype")
    mixed = _mix_seed(seed, len(PROFILES))
    found = [(row, USUAL_SIZES) for row in build_covering_rows(usual, 1, mixed, axes)]
    plain = _pin(usual, layout=Layout.BATCHED, bidirectional=False)
    batched = build_covering_rows(plain, 1, mixed, axes)
    others = (*REAL_SIZES[1:], *profile.real_sizes)
    for row, sizes in zip(cycle(batched), others, strict=False):
        is_chunked = sizes["steps"] >= CHUNKED and sizes in REAL_SIZES
        found.append((_use_both_directions(row, scope) if is_chunked else row, sizes))
    dtypes = scope.list_values(AXIS["dtype"])
    if DType.FLOAT64 in dtypes:
        found.append((find_simplest_row(_pin(narrow, dtype=DType.FLOAT64)), REAL_SIZES[1]))
    halves = [each for each in dtypes if each.is_half]
    found += [
        (find_simplest_row(_pin(narrow, dtype=dtype)), sizes)
        for dtype, sizes in zip(halves, (USUAL_SIZES, MANY_SAMPLES), strict=False)
    ]
    stacked = _pin(scope, dtype=DType.FLOAT32, num_layers=STACKED[0])
    if scope.has_axis("num_layers") and "num_layers" not in pinned:
        row = find_simplest_row(_pin(stacked, distribution=Distribution.NEW))
        found.append((row, SHORT))
    for row in build_covering_rows(stacked, 1, seed % 2**64, (*EXACT_AXES, "distribution")):
        if row["distribution"].is_exact:
            found.append((row, USUAL_SIZES))
    common = {"history": (), "kind": scope.kind}
    return [PlanRow({**row, **common}, 1, sizes=_fit(row, sizes)) for row, sizes in found]


def _use_both_directions(row: CoveringRow, scope: Scope) -> CoveringRow:
    """Return a row in both directions if the scope allows it.

    A kernel for chunks of a sequence carries a state from chunk to chunk in each direction.
    """
    if not scope.has_axis("bidirectional") or True not in scope.list_values(AXIS["bidirectional"]):
        return row
    return {**row, "bidirectional": True}


def _pin(scope: Scope, **values: Any) -> Scope:
    """Return a scope with further axes pinned, unless they are pinned or lack the value."""
    possible = {
        name: value for name, value in values.items() if value in scope.list_values(AXIS[name])
    }
    return replace(scope, pinned=tuple({**possible, **dict(scope.pinned)}.items()))


def _fit(row: CoveringRow, sizes: SizesByName) -> SizesByName:
    return sizes if row["layout"].is_batched else {**sizes, "batch": 1}


def add_histories(rows: Sequence[PlanRow], scope: Scope, seed: int) -> list[PlanRow]:
    """Return the rows, some with a history, and extra rows for uses that cannot be a prior use.

    Half of the rows with predictable results get a history; of the rows in 16 bits, where small
    errors do not show, only a third of those with generic numbers do. Each use that cannot be a
    prior use happens right before the call in an extra row.
    """
    if "prior_use" in dict(scope.pinned):
        return [*rows]
    numbers = Random(f"{seed} histories")
    lacking = scope.unsupported | list_missing_features(scope.kind)
    histories = _Histories([use for use in HISTORY_USES if use.needs not in lacking], numbers)
    found = [*rows]
    precise: list[int] = []
    coarse: list[int] = []
    for number, each in enumerate(rows):
        if not _is_random(each.row):
            (coarse if each.row["dtype"].is_half else precise).append(number)
    coarse = [number for number in coarse if rows[number].row["distribution"] in GENERIC]
    for number in [*_sample(precise, 1 / 2, numbers), *_sample(coarse, 1 / 3, numbers)]:
        row = rows[number].row
        history = histories.choose(row["prior_use"])
        found[number] = replace(rows[number], row={**row, "history": history})
    passing = [use for use in histories.uses if use not in PRIOR_USES]
    shallow = [number for number in precise if rows[number].row["num_layers"] not in DEPTHS]
    numbers.shuffle(shallow)
    # A use may spoil the state that the next call is given.
    shallow.sort(key=lambda number: rows[number].row["initial_state"] is not InitialState.GIVEN)
    for use, number in zip(passing, shallow, strict=False):
        row = {**rows[number].row, "prior_use": EarlierCalls.FRESH, "history": (use,)}
        found.append(replace(rows[number], row=row))
    return found


@dataclass
class _Histories:
    """The histories of a plan.

    As many uses as possible occur right before each other use and before each prior use, and then
    somewhere before it.
    """

    uses: list[PriorUse]
    numbers: Random
    adjacent: Counter[tuple[PriorUse, PriorUse]] = field(default_factory=Counter)
    ordered: Counter[tuple[PriorUse, PriorUse]] = field(default_factory=Counter)

    def choose(self, last: PriorUse) -> tuple[PriorUse, ...]:
        """Return the uses before the prior use of a case, chosen from the last to the first."""
        chosen = [last]
        for _ in range(self.numbers.randint(1, MOST_USES)):
            counts = {use: self._count(use, chosen) for use in self.uses}
            fewest = min(counts.values())
            use = self.numbers.choice([each for each in self.uses if counts[each] == fewest])
            self.adjacent[use, chosen[0]] += 1
            self.ordered.update((use, later) for later in chosen)
            chosen.insert(0, use)
        return tuple(chosen[:-1])

    def _count(self, use: PriorUse, later: Sequence[PriorUse]) -> tuple[int, int]:
        return self.adjacent[use, later[0]], sum(self.ordered[use, each] for each in later)


def _sample(items: Sequence[int], share: float, numbers: Random) -> list[int]:
    return numbers.sample(items, round(share * len(items)))


def _is_random(row: Mapping[str, Any]) -> bool:
    return row["dropout"] is DropoutLevel.SOME and row["mode"] is Mode.TRAIN


def _plan_covering_rows(scope: Scope, strength: int, seed: int) -> list[CoveringRow]:
    """Return the rows of a covering array over all axes, and a row for each of `DEPTHS`."""
    rows = build_covering_rows(scope, strength, seed, tuple(AXIS))
    is_free = "num_layers" not in dict(scope.pinned)
    deepest = [row for row in rows if row["num_layers"] == STACKED[-1]] if is_free else []
    return [
        *rows,
        *({**row, "num_layers": depth} for depth, row in zip(DEPTHS, deepest, strict=False)),
    ]


def _plan_large_row(row: CoveringRow) -> PlanRow:
    """Return a plan row with a single case for a covering row with `large_dimensions`."""
    choices = {name: value for name, value in row.items() if name != "large_dimensions"}
    return PlanRow(choices, 1, row["large_dimensions"])


def _mix_seed(seed: int, salt: int) -> int:
    """Return another seed for each salt."""
    return (seed * 1009 + salt) % 2**64


def find_simplest_row(scope: Scope) -> CoveringRow:
    """Return the row with the simplest value in scope on every axis."""
    return {axis.name: scope.list_values(axis)[0] for axis in AXES}


@lru_cache(maxsize=64)
def build_covering_rows(
    scope: Scope,
    strength: int,
    seed: int,
    varied: Sequence[str],
    large_dimensions: Sequence[tuple[str, ...]] = (),
) -> tuple[CoveringRow, ...]:
    """Return rows that cover every combination of `strength` values of the varied axes.

    Combinations that the constraints forbid are left out. The other axes keep their simplest value
    in scope, except that `num_layers` keeps two values. `large_dimensions` adds an axis of that
    name with these values. The seed chooses among the possible arrays.
    """
    fixed = {axis.name: axis.simplest for axis in AXES if not scope.has_axis(axis.name)}
    domains = {
        axis.name: _list_domain(scope, axis, varied) for axis in AXES if axis.name not in fixed
    } | ({"large_dimensions": tuple(large_dimensions)} if large_dimensions else {})
    constraints = [each.fix(fixed) for each in list_constraints(scope.kind)]
    return tuple(
        {**fixed, **row} for row in build_covering_array(domains, constraints, strength, seed)
    )


def _list_domain(scope: Scope, axis: Axis, varied: Sequence[str]) -> tuple[Any, ...]:
    """Return the values of an axis in a covering array."""
    values = scope.list_drawn(axis)
    if axis.name == "num_layers" and axis.name not in varied:
        return values[:2]
    return values if axis.name in varied else values[:1]

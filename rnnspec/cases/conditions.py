"""Conditions that decide to which cases a rule applies, each with a description for reports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from rnnspec.cases.axes import (
    AXES,
    AXIS,
    KERNEL_AXES,
    Choice,
    Distribution,
    DropoutLevel,
    DType,
    GradMode,
    InitialState,
    Layout,
    Mode,
    Projection,
)
from rnnspec.cases.case import Case
from rnnspec.cases.gates import can_hold_gates
from rnnspec.cases.sizes import BEYOND_BLOCKS, REAL_SIZES
from rnnspec.text import join_words

CaseT = TypeVar("CaseT")


@dataclass(frozen=True)
class Condition(Generic[CaseT]):
    """A condition on a case. Combine conditions with `&`, `|` and `~`.

    text      describes the condition in reports: "two directions", "mode=train"
    holds     whether it holds for a case
    opposite  the text of the opposite condition, or empty: then "not (text)" is used
    parts     the texts of the conditions that must all hold, if there are several
    options   the texts of the alternatives, if there are several
    sampled   whether it holds for the case with some seed, if it selects cases by their seed
    """

    text: str
    holds: Callable[[CaseT], bool]
    opposite: str = ""
    parts: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    sampled: Callable[[CaseT], bool] | None = None

    def __call__(self, case: CaseT) -> bool:
        """Return whether the condition holds for a case."""
        return self.holds(case)

    def can_hold(self, case: CaseT) -> bool:
        """Return whether the condition holds for a case, or for the same case with another seed.

        Use it if you plan cases whose seeds are not chosen yet.
        """
        return (self.sampled or self.holds)(case)

    def __and__(self, other: Condition[CaseT]) -> Condition[CaseT]:
        parts = _list_once(*(each.parts or (each.text,) for each in (self, other)))
        text = "; ".join(parts)
        return Condition(
            text,
            lambda case: self.holds(case) and other.holds(case),
            parts=parts,
            sampled=(lambda case: self.can_hold(case) and other.can_hold(case))
            if self.sampled or other.sampled
            else None,
        )

    def __or__(self, other: Condition[CaseT]) -> Condition[CaseT]:
        options = _list_once(*(each.options or (_enclose(each),) for each in (self, other)))
        text = " or ".join(options)
        return Condition(
            text,
            lambda case: self.holds(case) or other.holds(case),
            options=options,
            sampled=(lambda case: self.can_hold(case) or other.can_hold(case))
            if self.sampled or other.sampled
            else None,
        )

    def __invert__(self) -> Condition[CaseT]:
        text = self.opposite or f"not ({self.text})"
        # A condition selects only some seeds, so its opposite can hold for any other case.
        sampled = always.holds if self.sampled else None
        return Condition(text, lambda case: not self.holds(case), self.text, sampled=sampled)


def _enclose(condition: Condition[Any]) -> str:
    """Return the text of a condition as an alternative among several."""
    parts = [f"({part})" if " or " in part else part for part in condition.parts]
    return f"({' and '.join(parts)})" if parts else condition.text


def _list_once(*texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for each in texts for text in each))


always: Condition[Any] = Condition("always", lambda case: True)
WORDING: Mapping[Choice, str] = {
    DropoutLevel.NONE: "dropout=0",
    DropoutLevel.SOME: "0 < dropout < 1",
    DropoutLevel.ALL: "dropout=1",
    Projection.NONE: "proj_size=0",
    Projection.SOME: "proj_size > 0",
    GradMode.GRAD: "gradients enabled",
    GradMode.NO_GRAD: "torch.no_grad()",
    GradMode.INFERENCE: "torch.inference_mode()",
}
"""Values that stand for a number or a context manager, written the way users write them."""
SEEDS_ALIKE, RAREST = 7, 60
"""The number of consecutive seeds that select the same cases, and the rarest selection: 1 in 60."""
FEW = 2
"""If an axis has more other values than this, the opposite of a condition does not list them."""


def has_value(*members: Choice) -> Condition[Case]:
    """Return the condition that a case has one of these values, all of the same axis.

    Raises ValueError if no value is given, or if the values belong to different axes.
    """
    names = {axis.name for axis in AXES if any(each in axis.values for each in members)}
    if len(names) != 1:
        raise ValueError(f"expected values of one axis, got {members!r} of {sorted(names)}")
    return has_axis_value(names.pop(), *members)


def has_axis_value(name: str, *values: Any) -> Condition[Case]:
    """Return the condition that a case has one of these values on the axis `name`.

    Use `has_value` if you have the members of an enum. Raises ValueError if a value is not on the
    axis.
    """
    unknown = [value for value in values if value not in AXIS[name].values]
    if unknown:
        raise ValueError(f"axis {name!r} has no value {unknown[0]!r}")
    others = [value for value in AXIS[name].values if value not in values]
    opposite = (
        f"{name} other than {join_words(values, 'or')}"
        if len(others) > FEW
        else _describe_values(name, others)
    )
    text = _describe_values(name, values)
    return Condition(text, lambda case: case.get_choice(name) in values, opposite)


def _describe_values(name: str, values: Iterable[Any]) -> str:
    worded = [WORDING[value] for value in values if isinstance(value, Choice) and value in WORDING]
    return join_words(worded, "or") if worded else f"{name}={join_words(values, 'or')}"


def has_size_at_least(name: str, size: int) -> Condition[Case]:
    """Return the condition that a size of a case is at least `size`.

    `name` is input_size, hidden_size, num_layers, steps or batch.
    """
    opposite = f"{name}=1" if size == 2 else f"{name} < {size}"
    return Condition(f"{name} >= {size}", lambda case: case.size(name) >= size, opposite)


def list_sizes_beyond_blocks(*names: str) -> tuple[Condition[Case], ...]:
    """Return the conditions that dimensions are larger than the usual blocks of kernels.

    Each kernel of an implementation has its own block sizes, and every kernel divides the units
    into blocks. Therefore, there is also a condition with many units for each value of the axes on
    which kernels are chosen.
    """
    sizes = [has_size_at_least(name, size) for name in names for size in BEYOND_BLOCKS[name]]
    many_units = has_size_at_least("hidden_size", min(BEYOND_BLOCKS["hidden_size"]))
    kernels = [
        many_units & has_axis_value(name, value)
        for name in KERNEL_AXES
        for value in AXIS[name].values
    ]
    return (*sizes, *kernels)


def list_real_sizes(*names: str) -> tuple[Condition[Case], ...]:
    """Return the conditions that a case has the weights of a new layer at sizes of real models.

    `names` are the dimensions whose sizes count.
    """
    found = []
    for sizes in REAL_SIZES:
        condition = has_value(Distribution.NEW)
        for name in names:
            condition &= has_size_at_least(name, sizes[name])
        found.append(condition)
    return tuple(found)


has_small_sizes: Condition[Case] = Condition(
    "sizes up to 8",
    lambda case: max(case.steps, case.batch, case.config.input_size, case.config.hidden_size) <= 8,
)


def one_in(
    number: int, salt: int = 0, *, with_gates: int = 0, of_cells: int = 0
) -> Condition[Case]:
    """Return the condition that selects 1 in `number` cases, by their seeds.

    Use it for rules that cost more than others; different `salt`s select different cases. You can
    give another number for layers with gates, for which the quick profile may make more calls
    (`with_gates`), and for cells, which have fewer cases and compute a single step (`of_cells`).
    Raises ValueError if a number is above `RAREST`.
    """
    rarest = max(number, with_gates, of_cells)
    if rarest > RAREST:
        raise ValueError(f"expected one case in at most {RAREST}, got {rarest}")

    def is_selected(case: Case) -> bool:
        kind = case.config.kind_data
        rate = (kind.is_cell and of_cells) or (kind.is_gated and with_gates) or number
        return (case.seed // SEEDS_ALIKE + salt) % rate == 0

    others = [
        *([f"one in {with_gates} with gates"] if with_gates else []),
        *([f"one in {of_cells} for cells"] if of_cells else []),
    ]
    text = f"one case in {number}" + (f" ({', '.join(others)})" if others else "")
    return Condition(text, is_selected, sampled=always.holds)


def list_seeds(first: int) -> list[int]:
    """Return seeds, beginning with `first`, that include a match for every condition.

    Each condition that can hold for a case holds with a seed of the list.
    """
    return [first + number * SEEDS_ALIKE for number in range(RAREST)]


is_bidirectional: Condition[Case] = Condition(
    "two directions", lambda case: case.config.bidirectional, "one direction"
)
is_stacked = has_size_at_least("num_layers", 2)
is_batch_first: Condition[Case] = Condition(
    "batch_first=True", lambda case: case.config.batch_first, "batch_first=False"
)
is_packed: Condition[Case] = Condition(
    "packed input", lambda case: case.is_packed, "input that is not packed"
)
has_checked_shapes: Condition[Case] = Condition(
    "input whose shape torch.nn checks",
    lambda case: not case.is_packed or case.config.kind_data.checks_packed,
)
"""Calls whose shapes torch.nn checks, so that every implementation has to check them."""
has_different_lengths: Condition[Case] = is_packed & Condition(
    "sequences of different lengths", lambda case: min(case.lengths) < case.steps
)
has_unsorted_lengths: Condition[Case] = is_packed & Condition(
    "unsorted lengths",
    lambda case: list(case.lengths) != sorted(case.lengths, reverse=True),
)
has_equal_lengths: Condition[Case] = is_packed & Condition(
    "sequences of equal length", lambda case: min(case.lengths) == case.steps
)
is_batched = has_value(Layout.BATCHED)
is_unbatched = has_value(Layout.UNBATCHED)
has_initial_state = has_value(InitialState.GIVEN)
is_training = has_value(Mode.TRAIN)
is_differentiable = has_value(GradMode.GRAD)
has_exact_values = has_value(Distribution.INTEGER, Distribution.TERNARY)
has_wide_dtype = has_value(DType.FLOAT64, DType.FLOAT32)
has_holdable_gates: Condition[Case] = Condition(
    "bias=True, or no gates", lambda case: can_hold_gates(case.config)
)
has_dropout = replace(has_value(DropoutLevel.SOME, DropoutLevel.ALL), text="dropout > 0")
has_dropout_of_one = has_value(DropoutLevel.ALL)
has_deaf_layers = has_value(Distribution.DEAF)
has_decodable_mask = has_value(Distribution.READABLE, Distribution.SOLVABLE)
has_active_dropout: Condition[Case] = Condition(
    "active dropout", lambda case: case.has_active_dropout, "no active dropout"
)
has_predictable_results: Condition[Case] = Condition(
    "no random dropout", lambda case: not case.is_random, "random dropout"
)
has_finite_gradients: Condition[Case] = Condition(
    "gradients that cannot overflow",
    lambda case: (
        case.distribution is not Distribution.TERNARY
        and not (case.distribution is Distribution.DEAF and case.has_active_dropout)
    ),
)
has_known_gradients = has_predictable_results & is_differentiable & ~has_value(Distribution.TERNARY)
"""Cases whose gradients the oracle can compute. Gradients of saturated ternary units overflow."""

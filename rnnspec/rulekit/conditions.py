"""Conditions that decide to which cases a rule applies, each with a description for reports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from rnnspec.cases.axes import (
    AXES,
    AXIS,
    Choice,
    Distribution,
    DropoutLevel,
    DType,
    GradMode,
    InitialState,
    Layout,
    Mode,
)
from rnnspec.cases.case import Case
from rnnspec.cases.gates import can_hold_gates

CaseT = TypeVar("CaseT")


@dataclass(frozen=True)
class Condition(Generic[CaseT]):
    """A condition on a case. Combine conditions with `&`, `|` and `~`.

    `text` describes the condition in reports.
    """

    text: str
    holds: Callable[[CaseT], bool]

    def __call__(self, case: CaseT) -> bool:
        """Return whether the condition holds for a case."""
        return self.holds(case)

    def __and__(self, other: Condition[CaseT]) -> Condition[CaseT]:
        text = f"{self.text} and {other.text}"
        return Condition(text, lambda case: self.holds(case) and other.holds(case))

    def __or__(self, other: Condition[CaseT]) -> Condition[CaseT]:
        text = f"({self.text} or {other.text})"
        return Condition(text, lambda case: self.holds(case) or other.holds(case))

    def __invert__(self) -> Condition[CaseT]:
        return Condition(f"not ({self.text})", lambda case: not self.holds(case))


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

    Raises ValueError if the axis does not have one of the values.
    """
    unknown = [value for value in values if value not in AXIS[name].values]
    if unknown:
        raise ValueError(f"axis {name!r} has no value {unknown[0]!r}")
    listed = ", ".join(map(str, values))
    text = f"{name} is {'one of ' * (len(values) > 1)}{listed}"
    return Condition(text, lambda case: case.get_choice(name) in values)


def has_size_at_least(name: str, size: int) -> Condition[Case]:
    """Return the condition that a size of a case is at least `size`.

    `name` is input_size, hidden_size, num_layers, steps or batch.
    """
    return Condition(f"{name} >= {size}", lambda case: case.size(name) >= size)


def one_in(
    number: int, salt: int = 0, *, with_gates: int = 0, of_cells: int = 0
) -> Condition[Case]:
    """Return the condition that selects one case in `number`, by its seed.

    It is for rules that cost more than others; different `salt`s select different cases. If
    `with_gates` is given, it is the number for layers with gates, for which quick may
    make more calls. If `of_cells` is given, it is the number for cells, which have fewer cases and
    compute one step.
    """

    def is_selected(case: Case) -> bool:
        kind = case.config.kind_data
        rate = (kind.is_cell and of_cells) or (kind.is_gated and with_gates) or number
        return (case.seed // 7 + salt) % rate == 0

    text = f"one case in {number}"
    text += f", with gates one in {with_gates}" if with_gates else ""
    text += f", of a cell one in {of_cells}" if of_cells else ""
    return Condition(text, is_selected)


always: Condition[Any] = Condition("always", lambda case: True)
is_bidirectional: Condition[Case] = Condition(
    "bidirectional", lambda case: case.config.bidirectional
)
is_stacked = has_size_at_least("num_layers", 2)
is_batch_first: Condition[Case] = Condition("batch_first", lambda case: case.config.batch_first)
is_packed: Condition[Case] = Condition("packed input", lambda case: case.is_packed)
has_checked_shapes: Condition[Case] = Condition(
    "input whose shape is checked",
    lambda case: not case.is_packed or case.config.kind_data.checks_packed,
)
"""Calls of which torch.nn checks the shapes, and so of every implementation."""
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
    "no gates, or biases that can hold them", lambda case: can_hold_gates(case.config)
)
has_dropout = has_value(DropoutLevel.SOME, DropoutLevel.ALL)
has_dropout_of_one = has_value(DropoutLevel.ALL)
has_deaf_layers = has_value(Distribution.DEAF)
has_decodable_mask = has_value(Distribution.READABLE, Distribution.SOLVABLE)
has_active_dropout: Condition[Case] = Condition(
    "active dropout", lambda case: case.has_active_dropout
)
has_predictable_results: Condition[Case] = Condition(
    "results that do not depend on random numbers", lambda case: not case.is_random
)
has_finite_gradients: Condition[Case] = Condition(
    "gradients that do not overflow",
    lambda case: (
        case.distribution is not Distribution.TERNARY
        and not (case.distribution is Distribution.DEAF and case.has_active_dropout)
    ),
)

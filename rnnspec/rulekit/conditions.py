"""When a rule applies: conditions on a case, with words for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from rnnspec.cases.axes import (
    AXES,
    AXIS,
    Choice,
    Distribution,
    DType,
    EarlierCalls,
    GradMode,
    InitialState,
    Layout,
    Mode,
)
from rnnspec.cases.case import Case

CaseT = TypeVar("CaseT")


@dataclass(frozen=True)
class Condition(Generic[CaseT]):
    """A condition on a case. Combine conditions with &, | and ~."""

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
    """The case has one of these values, all of the same axis.

    Raises ValueError if there is none, or if they belong to different axes.
    """
    names = {axis.name for axis in AXES if any(each in axis.values for each in members)}
    if len(names) != 1:
        raise ValueError(f"values of one axis are needed, got {members!r} of {sorted(names)}")
    return axis_is(names.pop(), *members)


def axis_is(name: str, *values: Any) -> Condition[Case]:
    """The case has one of these values on an axis. Raises ValueError for an unknown one."""
    unknown = [value for value in values if value not in AXIS[name].values]
    if unknown:
        raise ValueError(f"axis {name!r} has no value {unknown[0]!r}")
    text = f"{name} is {' or '.join(map(str, values))}"
    return Condition(text, lambda case: case.axis(name) in values)


def size_at_least(name: str, size: int) -> Condition[Case]:
    """A size (input_size, hidden_size, num_layers, steps or batch) is at least `size`."""
    return Condition(f"{name} >= {size}", lambda case: case.size(name) >= size)


def one_in(number: int, salt: int = 0) -> Condition[Case]:
    """One case in `number`, by its seed: for rules that cost more than others."""
    return Condition(f"one case in {number}", lambda case: (case.seed // 7 + salt) % number == 0)


always: Condition[Any] = Condition("always", lambda case: True)
bidirectional: Condition[Case] = Condition("bidirectional", lambda case: case.config.bidirectional)
stacked = size_at_least("num_layers", 2)
batch_first: Condition[Case] = Condition("batch_first", lambda case: case.config.batch_first)
packed: Condition[Case] = Condition("packed input", lambda case: case.is_packed)
batched = has_value(Layout.BATCHED)
unbatched = has_value(Layout.UNBATCHED)
state_given = has_value(InitialState.GIVEN)
training = has_value(Mode.TRAIN)
differentiable = has_value(GradMode.GRAD)
fresh = has_value(EarlierCalls.FRESH)
exact_values = has_value(Distribution.INTEGER, Distribution.TERNARY)
precise = has_value(DType.FLOAT64, DType.FLOAT32)
dropping: Condition[Case] = Condition("dropout at work", lambda case: case.has_active_dropout)
random: Condition[Case] = Condition("random results", lambda case: case.is_random)
predictable: Condition[Case] = Condition("results that no random number decides", lambda case: not case.is_random)
smooth: Condition[Case] = Condition(
    "gradients that do not overflow",
    lambda case: (
        case.distribution is not Distribution.TERNARY and not (case.distribution is Distribution.DEAF and case.has_active_dropout)
    ),
)

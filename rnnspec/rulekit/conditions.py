"""When a rule applies: conditions on a case, with words for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rnnspec.cases.axes import AXIS
from rnnspec.cases.case import Case


@dataclass(frozen=True)
class Condition:
    """A condition on a case; combine with &, | and ~."""

    text: str
    holds: Callable[[Case], bool]

    def __call__(self, case: Case) -> bool:
        """Whether the condition holds for a case."""
        return self.holds(case)

    def __and__(self, other: Condition) -> Condition:
        return Condition(
            f"{self.text} and {other.text}", lambda case: self.holds(case) and other.holds(case)
        )

    def __or__(self, other: Condition) -> Condition:
        return Condition(
            f"({self.text} or {other.text})", lambda case: self.holds(case) or other.holds(case)
        )

    def __invert__(self) -> Condition:
        return Condition(f"not ({self.text})", lambda case: not self.holds(case))


def axis(name: str, *values: Any) -> Condition:
    """The case has one of these values on an axis; raises ValueError for an axis or value that does not exist."""
    unknown = [value for value in values if value not in AXIS[name].values]
    if unknown:
        raise ValueError(f"axis {name!r} has no value {unknown[0]!r}")
    text = f"{name} is {' or '.join(map(str, values))}"
    return Condition(text, lambda case: case.axis(name) in values)


def at_least(name: str, size: int) -> Condition:
    """One of the case's sizes (input_size, hidden_size, num_layers, steps, batch) is at least `size`."""
    return Condition(f"{name} >= {size}", lambda case: case.size(name) >= size)


def one_in(number: int, salt: int = 0) -> Condition:
    """One case in `number`, by its seed: for rules that cost more than others."""
    return Condition(f"one case in {number}", lambda case: (case.seed // 7 + salt) % number == 0)


always = Condition("always", lambda case: True)
bidirectional = Condition("bidirectional", lambda case: case.config.bidirectional)
stacked = at_least("num_layers", 2)
batch_first = Condition("batch_first", lambda case: case.config.batch_first)
packed = Condition("packed input", lambda case: case.is_packed)
batched = axis("layout", "batched")
unbatched = axis("layout", "unbatched")
state_given = axis("state", "given")
training = axis("mode", "train")
differentiable = axis("grad", "grad")
fresh = axis("history", "fresh")
exact_values = axis("values", "integer", "ternary")
precise = axis("dtype", "float64", "float32")
dropping = Condition("dropout at work", lambda case: case.has_active_dropout)
random = Condition("random results", lambda case: case.is_random)
predictable = Condition("results that no random number decides", lambda case: not case.is_random)
smooth = Condition(
    "gradients that do not overflow",
    lambda case: (
        case.values != "ternary" and not (case.values == "deaf" and case.has_active_dropout)
    ),
)

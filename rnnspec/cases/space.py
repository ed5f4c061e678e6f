"""The space of cases as the minimiser walks it: fields, their simpler values, and how far a case is from the simplest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rnnspec.cases.axes import AXES, AXIS
from rnnspec.cases.case import SIZES, Case, is_consistent
from rnnspec.cases.plan import Scope

FIELDS = (*SIZES, "lengths", *(axis.name for axis in AXES if axis.name != "num_layers"))
"""Sizes first: what is tried after them is then cheap."""


FEW_VALUES = 4
EVERYTHING = Scope()


@dataclass(frozen=True)
class LayerCaseSpace:
    """The space of the cases of a recurrent layer, within a scope: what the user pinned stays, what is refused is not tried."""

    scope: Scope = EVERYTHING

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that can be made simpler, in the order in which they are tried."""
        pinned = dict(self.scope.pinned)
        return tuple(name for name in FIELDS if name not in pinned)

    def list_simpler(self, case: Case, name: str) -> list[Any]:
        """Simpler values of one field of a case, the largest steps first."""
        if name in SIZES:
            return list_smaller_sizes(case.size(name))
        if name == "lengths":
            equal = (case.steps,) * case.batch
            return [equal] if case.is_packed and case.lengths != equal else []
        return list_simpler_values(self.scope.values(AXIS[name]), case.axis(name))

    def change_field(self, case: Case, name: str, value: Any) -> Case | None:
        """The case with one field at another value, or nothing where that contradicts the others.

        Where only the law of the values or the dropout stands in the way, it is made the simplest too.
        """
        found = _at(case, name, value)
        for other in (
            each for each in ("distribution", "dropout") if each != name and each in self.fields
        ):
            if not is_consistent(found):
                found = _at(found, other, AXIS[other].simplest)
        return found if is_consistent(found) else None

    def reseed(self, case: Case, seed: int) -> Case:
        """The case with other numbers."""
        return case.replace(seed=seed)

    def seed_of(self, case: Case) -> int:
        """Return the seed of the numbers of a case."""
        return case.seed

    def list_raised(self, case: Case) -> frozenset[str]:
        """The axes on which a case is not at the simplest value."""
        return frozenset(axis.name for axis in AXES if case.axis(axis.name) != axis.simplest)

    def total_size(self, case: Case) -> int:
        """The sum of a case's sizes."""
        return sum(case.size(name) for name in SIZES)

    def describe_field(self, case: Case, name: str) -> str:
        """A field and its value in words: an equality for a choice, a lower bound for a size."""
        if name in SIZES:
            return f"{name} >= {case.size(name)}"
        return "lengths that differ" if name == "lengths" else f"{name}={case.axis(name)}"


def _at(case: Case, name: str, value: Any) -> Case:
    return case.replace(dropout=0.0) if name == "dropout" else case.replace(**{name: value})


def list_simpler_values(values: Sequence[Any], present: Any) -> list[Any]:
    """The values that come before the present one, the simplest first; of a long list the simplest alone, since each costs a trial."""
    if present not in values:
        return list(values[:1])
    return list(values[: values.index(present)][: len(values) if len(values) <= FEW_VALUES else 1])


def list_smaller_sizes(size: int) -> list[int]:
    """Smaller values of a size: the smallest ones, half, three quarters and one less, without repetition."""
    found = dict.fromkeys(
        [*(small for small in (1, 2) if small < size), size // 2, size - size // 4, size - 1]
    )
    return [value for value in found if 1 <= value < size]

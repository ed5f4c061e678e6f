"""The space of model cases for the minimiser."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from rnnspec.cases.space import list_smaller_sizes
from rnnspec.models.case import RECURRING_STEPS, ModelCase

MINIMUM_SIZES = {"batch": 2, "steps": RECURRING_STEPS}
"""With smaller sizes, dimensions cannot be distinguished, and recurrence has no effect."""


@dataclass(frozen=True)
class ModelCaseSpace:
    """The space of the cases of a model: sizes for the measurement, and sizes for several calls.

    `fixed` are the fields with a single possible value. `predictions` are the expressions of the
    predictions of a call. The model needs at least `least_steps` steps, and is measured with at
    least `measured_steps`.
    """

    fixed: frozenset[str] = frozenset()
    predictions: tuple[str, ...] = ()
    least_steps: int = 1
    measured_steps: int = 1

    @property
    def least(self) -> dict[str, int]:
        """The smallest value of each size."""
        steps = max(self.least_steps, self.measured_steps, MINIMUM_SIZES["steps"])
        return {**MINIMUM_SIZES, "steps": steps}

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields that may change."""
        choices = ("prediction",) if len(self.predictions) > 1 else ()
        names = (*choices, "batches", "lengths", "batch", "steps")
        return tuple(name for name in names if name not in self.fixed)

    def list_simpler(self, case: ModelCase, name: str) -> list[Any]:
        """Return simpler values of a field: smaller sizes, or fewer calls."""
        value = getattr(case, name)
        if name == "prediction":
            return list(range(value))
        if name in MINIMUM_SIZES:
            return [size for size in list_smaller_sizes(value) if size >= self.least[name]]
        return [part for part in (value[:1], value[:2], value[1:]) if len(part) < len(value)]

    def list_others(self, case: ModelCase, name: str) -> list[Any]:
        """Return the other predictions; all other fields are sizes."""
        if name != "prediction":
            return []
        return [each for each in range(len(self.predictions)) if each != case.prediction]

    def is_covered(self, case: ModelCase, by: ModelCase, names: Collection[str]) -> bool:
        """Return whether a case is at least as large as another in the named fields.

        The prediction must be the same, if it is named.
        """
        if "prediction" in names and case.prediction != by.prediction:
            return False
        return all(
            getattr(case, name) >= getattr(by, name) for name in names if name in MINIMUM_SIZES
        )

    def has_other_size(self, case: ModelCase, other: ModelCase, name: str) -> bool:
        """Return whether a field is a size that differs between two cases."""
        return name != "prediction" and bool(getattr(case, name) != getattr(other, name))

    def change_field(self, case: ModelCase, name: str, value: Any) -> ModelCase | None:
        """Return the case with another value of a field.

        Returns None if batch and steps would be equal.
        """
        changed = replace(case, **{name: value})
        if self.fixed.issuperset(MINIMUM_SIZES):
            return changed
        return changed if changed.batch != changed.steps else None

    def keeps_rest(self, case: ModelCase, changed: ModelCase, name: str) -> bool:
        """Return True: a change of a field never changes others."""
        return True

    def change_equal_sizes(self, case: ModelCase, name: str, value: Any) -> ModelCase | None:
        """Return None: batch and steps differ, so that their sizes distinguish the dimensions."""
        return None

    def list_other_dtypes(self, case: ModelCase) -> list[ModelCase]:
        """Return no case: a model keeps its dtype."""
        return []

    def exchange_sizes(self, case: ModelCase) -> list[ModelCase]:
        """Return the case with batch and steps exchanged, if the model accepts it."""
        changed = replace(case, batch=case.steps, steps=case.batch)
        is_small = any(getattr(changed, name) < size for name, size in self.least.items())
        return [] if is_small or self.fixed & set(MINIMUM_SIZES) else [changed]

    def spread_sizes(self, case: ModelCase) -> ModelCase | None:
        """Return None: batch and steps differ."""
        return None

    def enlarge(self, case: ModelCase) -> ModelCase:
        """Return the case itself: nothing needs to be enlarged."""
        return case

    def reseed(self, case: ModelCase, seed: int) -> ModelCase:
        """Return the case with other weights and inputs."""
        return replace(case, seed=seed)

    def get_seed(self, case: ModelCase) -> int:
        """Return the seed of weights and inputs."""
        return case.seed

    def list_raised(self, case: ModelCase) -> frozenset[str]:
        """Return the fields of choice that are not at their simplest value."""
        return frozenset({"prediction"} if case.prediction else ())

    def list_usual(self, case: ModelCase) -> frozenset[str]:
        """Return nothing: a fault of a model depends on no choice that it is not about."""
        return frozenset()

    def measure_size(self, case: ModelCase) -> int:
        """Return the sum of the sizes and of the numbers of calls."""
        return case.batch + case.steps + len(case.batches) + len(case.lengths)

    def describe_field(self, case: ModelCase, name: str) -> str:
        """Return a field and its value in words."""
        value = getattr(case, name)
        if name == "prediction":
            return self.predictions[case.prediction]
        if name in MINIMUM_SIZES:
            return f"{name} >= {value}"
        return f"{name} of {', then '.join(map(str, value))}"

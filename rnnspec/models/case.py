"""A case of a model check: the seed, and the batch sizes and lengths of the inputs; and the space
of cases for the minimiser.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from random import Random  # here, so that a subject that replaces it changes no case
from typing import Any

from rnnspec.cases.space import list_smaller_sizes

BATCH_SIZES = (1, 2, 3, 4, 5, 7, 8, 16, 17, 33, 64)
LENGTHS = (1, 2, 3, 4, 6, 8, 9, 16, 17, 33, 65)

MAX_TIME_STEPS = 1024
"""The largest batch size times length of one call."""

SEEDS = 2**31
"""Seeds of cases are below this number. NumPy accepts seeds from 0 to 2**32 - 1, and some rules
count up from the seed of a case.
"""

RECURRING_STEPS = 3
"""With fewer steps, no result of a recurrent layer shows that it is recurrent."""

MOST_PADDING = 2
"""The most steps of padding after a sequence of a padded batch."""

CASES_PER_PROFILE = {"quick": 1, "default": 4, "thorough": 24}
"""The number of cases of each profile. The first case always has the default sizes."""


@dataclass(frozen=True)
class ModelCase:
    """The seed and the input sizes of a case.

    `seed` determines the weights and the inputs. The read-out is measured on inputs of `batch`
    samples and `steps` time steps, which differ from each other. The same model is also called with
    each of `batches` in turn, and with each of `lengths`. `prediction` is the index of the checked
    prediction, for a model that makes several in a call.
    """

    seed: int = 0
    batch: int = 3
    steps: int = 5
    batches: tuple[int, ...] = (3, 7, 2, 3)
    lengths: tuple[int, ...] = (5, 6, 2, 17)
    prediction: int = 0

    def __str__(self) -> str:
        which = f", prediction {self.prediction + 1}" if self.prediction else ""
        return f"a batch of {self.batch}, {self.steps} steps, seed {self.seed}{which}"


def draw_model_cases(
    profile: str,
    seed: int,
    number: int | None = None,
    *,
    batch: int | None = None,
    steps: int | None = None,
    predictions: int = 1,
    least_steps: int = 1,
    measured_steps: int = 1,
) -> list[ModelCase]:
    """Draw the cases of a profile, or `number` cases.

    `seed` is any integer. `batch` and `steps` are sizes that every case has. No sequence has fewer
    than `least_steps` steps, and the measured sequences have at least `measured_steps`. With
    several `predictions`, each case is repeated for each of them. The same arguments always give
    the same cases. Raises ValueError for an unknown profile.
    """
    if profile not in CASES_PER_PROFILE:
        names = ", ".join(CASES_PER_PROFILE)
        raise ValueError(f"profile must be one of {names}, got {profile!r}")
    count = number or CASES_PER_PROFILE[profile]
    drawn = [ModelCase(seed % SEEDS), *(_draw_case(seed, index) for index in range(1, count))]
    cases = [
        replace(case, prediction=prediction) for case in drawn for prediction in range(predictions)
    ]
    fixed = [_fix_sizes(case, batch, steps) for case in cases[:number]]
    return [_leave_out_short(case, least_steps, measured_steps) for case in fixed]


def _fix_sizes(case: ModelCase, batch: int | None, steps: int | None) -> ModelCase:
    """Return a case with the given sizes; the two still differ unless both are 1."""
    if batch is not None:
        case = replace(case, batch=batch, batches=(batch,))
    if steps is not None:
        case = replace(case, steps=steps, lengths=(steps,))
    if case.batch != case.steps or batch == steps == 1:
        return case
    if batch is None:
        return replace(case, batch=case.batch + 1)
    return replace(case, steps=case.steps + 1)


def _leave_out_short(case: ModelCase, least: int, measured: int) -> ModelCase:
    """Return a case without sequences that have too few steps; batch and steps still differ.

    Measured sequences are longer, so that the shorter sequences of a padded batch have enough
    steps.
    """
    enough = max(least + MOST_PADDING if least > 1 else 1, measured)
    if case.steps < enough:
        steps = enough if case.batch != enough else enough + 1
        case = replace(case, steps=steps, lengths=(steps, *case.lengths[1:-1], steps))
    return replace(case, lengths=tuple(each for each in case.lengths if each >= least))


def _draw_case(seed: int, index: int) -> ModelCase:
    choice = Random(f"{seed}:{index}")
    batch, steps = choice.choice(
        [(batch, steps) for batch in (2, 3, 4) for steps in (3, 4, 5, 6, 7) if batch != steps]
    )
    allowed_batches = [size for size in BATCH_SIZES if size > 1 and size * steps <= MAX_TIME_STEPS]
    batches = choice.sample(allowed_batches, 3)
    allowed_lengths = [size for size in LENGTHS if size > 1 and size * batch <= MAX_TIME_STEPS]
    lengths = choice.sample(allowed_lengths, 3)
    own = (seed * 1000 + index) % SEEDS
    return ModelCase(own, batch, steps, (batch, *batches, batch), (steps, *lengths, steps))


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

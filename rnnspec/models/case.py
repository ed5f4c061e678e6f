"""A case of a model check: the seed, and the batch sizes and lengths of the inputs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random  # here, so that a subject that replaces it changes no case

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

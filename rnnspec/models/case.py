"""One situation in which a model is judged: its weights and inputs by a seed, the size that is measured, the sizes that are called."""

from __future__ import annotations

import random
from dataclasses import dataclass

BATCHES = (1, 2, 3, 4, 5, 7, 8, 16, 17, 33, 64)
LENGTHS = (1, 2, 3, 4, 6, 8, 9, 16, 17, 33, 65)
WORK = 1024
"""The most steps of all samples together that one call takes."""

EXAMPLES = {"quick": 1, "default": 4, "thorough": 24}
"""How many cases each profile judges; the first is always the ordinary one."""


@dataclass(frozen=True)
class ModelCase:
    """A seed for weights and inputs, a batch and a length that differ, and other batches and lengths for calls one after the other."""

    seed: int = 0
    batch: int = 3
    steps: int = 5
    batches: tuple[int, ...] = (3, 7, 2, 3)
    lengths: tuple[int, ...] = (5, 6, 2, 17)

    def __str__(self) -> str:
        return f"a batch of {self.batch}, {self.steps} steps, seed {self.seed}"


def draw_model_cases(profile: str, seed: int, number: int | None = None) -> list[ModelCase]:
    """The cases of a profile, or `number` of them; a function of its arguments. Raises ValueError for a profile that does not exist."""
    if profile not in EXAMPLES:
        raise ValueError(f"profile must be one of {', '.join(EXAMPLES)}, got {profile!r}")
    return [
        ModelCase(seed),
        *(_drawn(seed, index) for index in range(1, number or EXAMPLES[profile])),
    ]


def _drawn(seed: int, index: int) -> ModelCase:
    choice = random.Random(f"{seed}:{index}")
    batch, steps = choice.choice(
        [(batch, steps) for batch in (2, 3, 4) for steps in (3, 4, 5, 6, 7) if batch != steps]
    )
    batches = tuple(
        choice.sample([size for size in BATCHES if size > 1 and size * steps <= WORK], 3)
    )
    lengths = tuple(
        choice.sample([size for size in LENGTHS if size > 1 and size * batch <= WORK], 3)
    )
    return ModelCase(
        seed * 1000 + index, batch, steps, (batch, *batches, batch), (steps, *lengths, steps)
    )

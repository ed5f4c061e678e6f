"""Mistakes of a layer that computes a long sequence in chunks: the state is reset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from rnnspec.cases.case import Case
from rnnspec.mistakes.hypothesis import Hypothesis
from rnnspec.mistakes.places import BACKWARD, EVERYWHERE, FORWARD, list_by_place
from rnnspec.mistakes.situations import is_ragged
from rnnspec.mistakes.truncations import PERIODS
from rnnspec.reference.values import Spot, States

REMEDY = "carry the state of each step into the next one, also from chunk to chunk"
RULES = ("recurrence.output", "recurrence.h-n", "recurrence.documented-loop")
OF_BACKWARD = ("directions.reverse-time", "recurrence.output")


@dataclass(frozen=True)
class StartAnew:
    """A change that resets the states that a step reads after each chunk.

    size        the number of steps of a chunk
    from_zeros  whether the states are reset to zeros, and not to h_0
    by_time     whether chunks are counted from time 0, and not in the order of computing
    """

    size: int
    from_zeros: bool
    by_time: bool = False

    def __call__(self, before: States, first: States, spot: Spot) -> States:
        """Return the states that a step reads."""
        count = spot.steps - spot.step if self.by_time and spot.direction else spot.step
        if spot.step == 0 or count % self.size:
            return before
        return {letter: each * 0 if self.from_zeros else each for letter, each in first.items()}


def _has_chunks(size: int, case: Case) -> bool:
    return case.steps > size


def _list_chunks() -> Iterator[Hypothesis]:
    for size in PERIODS[1:]:
        for start, from_zeros in (("h_0", False), ("zeros", True)):
            again = f"the state starts from {start} again"
            for places, rules in (((EVERYWHERE, FORWARD), RULES), ((BACKWARD,), OF_BACKWARD)):
                yield from list_by_place(
                    f"chunks={size}.from-{start}",
                    f"after every {size} steps, {again}",
                    REMEDY,
                    rules,
                    {"before": StartAnew(size, from_zeros)},
                    partial(_has_chunks, size),
                    places,
                    is_ragged,
                    f"chunks={size}",
                    int(from_zeros),
                )
            yield from list_by_place(
                f"chunks={size}.by-time.from-{start}",
                f"after every {size} time steps, counted from time 0, {again}",
                REMEDY,
                OF_BACKWARD,
                {"before": StartAnew(size, from_zeros, by_time=True)},
                partial(_has_chunks, size),
                (EVERYWHERE, BACKWARD),
                is_ragged,
                f"chunks={size}",
                2 + int(from_zeros),
            )


HYPOTHESES: tuple[Hypothesis, ...] = tuple(_list_chunks())

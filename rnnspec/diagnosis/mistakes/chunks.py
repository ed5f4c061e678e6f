"""Mistakes of a layer that computes a long sequence chunk by chunk: the state starts anew."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from rnnspec.cases.case import Case
from rnnspec.diagnosis.mistakes.hypothesis import Hypothesis
from rnnspec.diagnosis.mistakes.places import BACKWARD, EVERYWHERE, FORWARD, Located, list_by_place
from rnnspec.diagnosis.mistakes.situations import is_ragged
from rnnspec.diagnosis.mistakes.truncations import PERIODS

REMEDY = "carry the state of each step into the next one, also from chunk to chunk"
RULES = ("recurrence.output", "recurrence.h-n", "recurrence.documented-loop")
OF_BACKWARD = ("directions.reverse-time", "recurrence.output")


@dataclass
class Chunked(Located):
    """After each chunk of some steps, a direction starts from h_0 or from zeros.

    Chunks are counted in the order in which the direction computes, or from time 0.
    """

    size: int = 2
    from_zeros: bool = False
    by_time: bool = False

    def recall(self, state: Tensor, first: Tensor, step: int) -> Tensor:
        right = super().recall(state, first, step)
        count = self.steps - step if self.by_time and self.cell[1] else step
        if step == 0 or count % self.size or not self.is_wrong(*self.cell):
            return right
        return first * 0 if self.from_zeros else first


def _has_chunks(size: int, case: Case) -> bool:
    return case.steps > size


def _list_chunks() -> Iterator[Hypothesis]:
    for size in PERIODS[1:]:
        for start, from_zeros in (("h_0", False), ("zeros", True)):
            chosen: dict[str, Any] = {"size": size, "from_zeros": from_zeros}
            again = f"the state starts from {start} again"
            for places, rules in (((EVERYWHERE, FORWARD), RULES), ((BACKWARD,), OF_BACKWARD)):
                yield from list_by_place(
                    f"after every {size} steps, {again}",
                    REMEDY,
                    rules,
                    Chunked,
                    partial(_has_chunks, size),
                    places,
                    is_ragged,
                    f"chunks of {size}",
                    int(from_zeros),
                    **chosen,
                )
            yield from list_by_place(
                f"after every {size} time steps, counted from time 0, {again}",
                REMEDY,
                OF_BACKWARD,
                Chunked,
                partial(_has_chunks, size),
                (EVERYWHERE, BACKWARD),
                is_ragged,
                f"chunks of {size}",
                2 + int(from_zeros),
                by_time=True,
                **chosen,
            )


HYPOTHESES: tuple[Hypothesis, ...] = tuple(_list_chunks())

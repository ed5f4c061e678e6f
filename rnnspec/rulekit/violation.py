"""What a broken rule says, and the comparisons that say it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnnspec import oracle
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.snippet import Snippet

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """The first wrong element: `excess` is the largest error in units of what rounding can explain, which is `allowed` here."""

    quantity: str
    index: tuple[int, ...]
    expected: float
    got: float
    excess: float
    wrong: int
    total: int
    allowed: float = 0.0

    def __str__(self) -> str:
        place = f"{self.quantity}[{', '.join(map(str, self.index))}]"
        count = f"{self.wrong} of {self.total} elements"
        told = (
            f"{self.excess:.2g} times what rounding can explain, "
            if np.isfinite(self.excess)
            else ""
        )
        return f"{place}   expected {self.expected:.9g}   got {self.got:.9g}   ({told}{count})"


class Violation(Exception):
    """A rule is broken.

    `snippet` ends a program that raises AssertionError for the subject; `difference` tells the
    first wrong element if one shows the fault.
    """

    def __init__(
        self,
        message: str,
        snippet: Snippet | None = None,
        *,
        difference: Difference | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.snippet = snippet
        self.difference = difference


def assert_close(
    observation: Observation,
    quantity: str,
    got: Array,
    expected: Array,
    bound: Callable[[], Array],
    snippet: Snippet | None = None,
    *,
    threshold: float = oracle.COARSE,
) -> None:
    """Raise Violation where `got` is further from `expected` than `bound` allows; NaN agrees with NaN, infinity with itself.

    The bound is asked for only where a difference exceeds so many roundoffs.
    """
    error = measure_distance(got, expected)
    with np.errstate(invalid="ignore"):
        if (
            error <= threshold * observation.case.dtype.roundoff * np.maximum(1.0, np.abs(expected))
        ).all():
            return
    allowed = bound()
    if (error <= allowed).all():
        return
    raise _difference(quantity, got, expected, error, allowed, snippet)


def assert_identical(quantity: str, got: Array, expected: Array, snippet: Snippet | None = None) -> None:
    """Raise Violation where two arrays differ at all; NaN agrees with NaN."""
    error = measure_distance(got, expected)
    if error.any():
        raise _difference(quantity, got, expected, error, np.zeros_like(error), snippet)


def measure_distance(got: Array, expected: Array) -> Array:
    """|got - expected|, 0 where both are the same infinity or both NaN, inf where only one is NaN."""
    if got.shape != expected.shape:
        raise ValueError(f"cannot compare shapes {got.shape!r} and {expected.shape!r}")
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(got - expected)
    same = (got == expected) | (np.isnan(got) & np.isnan(expected))
    return np.where(same, 0.0, np.where(np.isnan(error), np.inf, error))


def _difference(
    quantity: str, got: Array, expected: Array, error: Array, allowed: Array, snippet: Snippet | None
) -> Violation:
    wrong = ~(error <= allowed)
    index = tuple(int(place) for place in np.argwhere(wrong)[0])
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        excess = float(np.max(error[wrong] / allowed[wrong]))
    found = Difference(
        quantity,
        index,
        float(expected[index]),
        float(got[index]),
        excess,
        int(wrong.sum()),
        wrong.size,
        float(allowed[index]),
    )
    return Violation(str(found), difference=found, snippet=snippet)

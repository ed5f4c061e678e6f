"""Errors in units in the last place, by result and part, and their summaries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnspec.cases.axes import DType
from rnnspec.cases.case import Case
from rnnspec.text import TextEnum

Errors = NDArray[np.float64]
QUANTILES = (0.5, 0.99)


class ErrorScope(TextEnum):
    """The steps over which an error accumulates."""

    STEP = "one step"
    CALL = "whole call"


@dataclass(frozen=True)
class Quantity:
    """A measured quantity: a result or a gradient, or a part of it.

    name   the name of the result, such as output, or of the tensor of the gradient, such as
           weight_ih_l0
    scope  whether each step starts from the states that the layer returned before it
    part   a gate or a range of steps, or an empty string for the whole quantity
    """

    name: str
    scope: ErrorScope
    part: str = ""
    is_gradient: bool = False

    def __str__(self) -> str:
        name = f"gradient of {self.name}" if self.is_gradient else self.name
        return f"{name}, {self.part}" if self.part else name


@dataclass(frozen=True)
class Summary:
    """The errors of a quantity, in units in the last place.

    worst_at  the index of the worst element
    case      the case that contains it
    """

    median: float
    p99: float
    worst: float
    elements: int
    worst_at: tuple[int, ...]
    case: str

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as plain data, with null for an infinite error."""
        found = asdict(self) | {"worst_at": list(self.worst_at)}
        return {
            name: None if isinstance(value, float) and not np.isfinite(value) else value
            for name, value in found.items()
        }


@dataclass
class Collection:
    """The errors of all cases of a size and dtype, by quantity."""

    errors: dict[Quantity, list[tuple[Errors, Case, int]]] = field(default_factory=dict)

    def add(self, quantity: Quantity, errors: Errors, case: Case, start: int = 0) -> None:
        """Add the errors of a quantity in a case; `start` is the index of the first error."""
        self.errors.setdefault(quantity, []).append((errors, case, start))

    def summarise(self) -> dict[Quantity, Summary]:
        """Return the summary of each quantity."""
        return {quantity: _summarise(found) for quantity, found in self.errors.items()}


def _summarise(found: list[tuple[Errors, Case, int]]) -> Summary:
    errors, case, start = max(found, key=lambda each: float(each[0].max(initial=0.0)))
    first, *rest = map(int, np.unravel_index(int(errors.argmax()), errors.shape))
    ordered = np.sort(np.concatenate([each.ravel() for each, _, _ in found]))
    median, p99 = (float(ordered[int(share * (len(ordered) - 1))]) for share in QUANTILES)
    worst, index = float(ordered[-1]), (first + start, *rest)
    return Summary(median, p99, worst, len(ordered), index, str(case))


def measure_units(got: Any, expected: Any, dtype: DType, smallest: float) -> Errors:
    """Return |got - expected| in units in the last place of a dtype, element by element.

    The unit belongs to the expected value, or to the root mean square of all expected values if
    that is larger, because a sum of terms that nearly cancel has an error of their size. `smallest`
    is the smallest normal number. An error is infinite if either value is not a number.
    """
    size = np.sqrt(np.mean(np.square(expected))) if expected.size else 0.0
    scale = np.maximum(np.maximum(np.abs(expected), size), smallest)
    unit = 2.0 * dtype.roundoff * 2.0 ** (np.frexp(scale)[1].astype(np.float64) - 1.0)
    with np.errstate(invalid="ignore"):
        errors = np.asarray(np.abs(got - expected) / unit, dtype=np.float64)
    return np.where(np.isnan(errors), np.inf, errors)


def list_parts(
    name: str, errors: Errors, gates: tuple[str, ...], *, is_gradient: bool
) -> Iterator[tuple[str, int, int]]:
    """Yield the parts of a result or gradient: the name, the start and the end of each.

    These are the gates of a weight or a bias, and the steps of an output, which are counted from 1
    and in groups that grow: 1, 2, 3 to 4, 5 to 8.
    """
    if is_gradient and name.startswith(("weight_ih", "weight_hh", "bias")) and len(gates) > 1:
        rows = len(errors) // len(gates)
        for place, gate in enumerate(gates):
            yield f"{gate} gate", place * rows, (place + 1) * rows
    if name == "output" and not is_gradient:
        start, size = 0, 1
        while start < len(errors):
            stop = min(size, len(errors))
            many = f"steps {start + 1} to {stop}"
            yield many if stop > start + 1 else f"step {stop}", start, stop
            start, size = stop, 2 * size

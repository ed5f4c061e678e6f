"""The exception that a broken rule raises, and the comparisons that raise it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property

import numpy as np

from rnnspec import oracle
from rnnspec.cases.case import Case
from rnnspec.observe.observation import Observation
from rnnspec.observe.tensors import measure_distance
from rnnspec.oracle import Array
from rnnspec.rulekit.snippet import Snippet

CLEAR = 1e6
"""An excess at which the numbers look different."""
UNPRINTED = 1e100
"""The least excess that is not printed as a number: the bound of an exact value is about 1e-300."""


class ErrorSize(Enum):
    """The size of an error, in words."""

    SMALL = "nearly right, as by a lack of precision"
    LARGE = "of another value"
    INFINITE = "infinite or not a number, although finite numbers are expected"


@dataclass(frozen=True)
class Difference:
    """A wrong element of a result: the first whose error is not far smaller than the largest.

    quantity  the name of the result, e.g. "output"
    index     the index of the element
    expected  the expected value there
    got       the observed value there
    excess    the largest error of all elements, as a multiple of the allowed error
    wrong     the number of wrong elements
    total     the number of all elements
    allowed   the error that rounding can explain at `index`
    source    the kind of rounding that `allowed` bounds, e.g. "rounding" or "sums in float32"
    when      the moment, to be read after the element, e.g. "after the call"; empty for the call
    """

    quantity: str
    index: tuple[int, ...]
    expected: float
    got: float
    excess: float
    wrong: int
    total: int
    allowed: float = 0.0
    source: str = "rounding"
    when: str = ""

    def __str__(self) -> str:
        place = f"{self.quantity}[{', '.join(map(str, self.index))}]"
        place += f" {self.when}" if self.when else ""
        count = f"{self.wrong} of {self.total} elements"
        times = f"{self.excess:.2g} times what" if self.excess < UNPRINTED else "far more than"
        # The largest factor need not be that of this element.
        times = f"up to {times}" if self.wrong > 1 and self.excess < UNPRINTED else times
        factor = f"{times} {self.source} can explain, " if np.isfinite(self.excess) else ""
        got, expected = show_apart(self.got, self.expected)
        return f"{place} is {got}, expected {expected} ({factor}{count})"


def find_comparison(error: BaseException | None) -> ComparedArrays | None:
    """Return the arrays of a violation, or of the violation that a rule caught before it raised
    this.
    """
    while isinstance(error, Violation):
        if error.comparison is not None:
            return error.comparison
        error = error.__cause__ or error.__context__
    return None


def show_apart(*numbers: float) -> tuple[str, ...]:
    """Return numbers with four significant digits, or with more if they would look equal."""
    for digits in (4, 6, 9, 17):
        shown = tuple(f"{number:.{digits}g}" for number in numbers)
        if len(set(shown)) == len(numbers):
            break
    return shown


@dataclass(frozen=True, eq=False)
class ComparedArrays:
    """The arrays behind a difference, which a report uses to show where a result is wrong.

    error    the distance of each element from its expected value
    allowed  the error that rounding can explain there; 0 or inf if no bound was computed
    """

    quantity: str
    error: Array
    allowed: Array


@dataclass(frozen=True)
class KnownMistake:
    """A mistake of the catalogue that explains a violation: its key, and its text."""

    key: str
    text: str


class Violation(Exception):
    """A rule is broken: raise it with a message if no assertion of the rulekit fits your rule.

    `snippet` has the last lines of a program that raises AssertionError for the subject.
    `difference` is a wrong element, if there is one; it is the default message. `reading`
    names the shared check that failed, if several rules begin with it. `mistake` explains the
    violation, if your rule looks for an explanation. `comparison` has the arrays of the difference,
    if the comparison itself raised this violation.
    """

    mistake: KnownMistake | None = None
    comparison: ComparedArrays | None = None

    def __init__(
        self,
        message: str = "",
        snippet: Snippet | None = None,
        *,
        difference: Difference | None = None,
        reading: str = "",
    ) -> None:
        super().__init__(message)
        self.snippet = snippet
        self.difference = difference
        self.reading = reading

    def __str__(self) -> str:
        return self.message

    @cached_property
    def message(self) -> str:
        """The description of the fault. It is cached and lazy, since most violations are never
        printed.
        """
        return super().__str__() or str(self.difference)


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
    """Raise Violation if an element of `got` differs from `expected` by more than `bound()` allows.

    Pass arrays of equal shape in the form of the oracle; for results, `assert_expected` finds the
    bound for you. NaN agrees with NaN, and infinity with the same infinity only. The bound is
    computed only if a difference exceeds `threshold` roundoffs of the case's dtype, relative to
    max(1, |expected|). Raises ValueError if the shapes differ.
    """
    if not is_visible(observation.case, got, expected, threshold):
        return
    error, allowed = measure_distance(got, expected), bound()
    if (error <= allowed).all():
        return
    inner = count_added_axes(observation.case, got)
    raise _describe_difference(quantity, got, expected, error, allowed, snippet, inner)


def is_visible(case: Case, got: Array, expected: Array, threshold: float = oracle.COARSE) -> bool:
    """Return whether a difference exceeds `threshold` roundoffs, relative to max(1, |expected|)."""
    error, visible = measure_distance(got, expected), threshold * case.dtype.roundoff
    if error.max(initial=0.0) <= visible:
        return False
    scale = np.maximum(1.0, np.where(np.isfinite(expected), np.abs(expected), 1.0))
    return not bool((error <= visible * scale).all())


def is_visible_gradient(case: Case, got: Array, expected: Array) -> bool:
    """Return whether a gradient differs by so much that a bound has to decide."""
    if not is_visible(case, got, expected):
        return False
    if case.dtype.is_half:
        return True
    error = measure_distance(got, expected).max(initial=0.0)
    largest = np.abs(expected).max(initial=1.0)
    is_summed = error <= oracle.COARSE * case.dtype.roundoff * largest
    return not is_summed or is_visible(case, got, expected, oracle.SUMMED)


def assert_identical(
    quantity: str,
    got: Array,
    expected: Array,
    snippet: Snippet | None = None,
    *,
    case: Case | None = None,
    when: str = "",
) -> None:
    """Raise Violation if two arrays differ in any element; NaN agrees with NaN.

    Pass the `case` of results or gradients to index the first wrong element as in the tensor of the
    layer. If you compare after the call, `when` completes the message, e.g. with "after fork_rng".
    Raises ValueError if the shapes differ.
    """
    # This comparison takes a third of the time, but it does not accept NaN.
    if np.array_equal(got, expected):
        return
    error = measure_distance(got, expected)
    if error.any():
        inner = 0 if case is None else count_added_axes(case, got)
        allowed = np.zeros_like(error)
        violation = _describe_difference(quantity, got, expected, error, allowed, snippet, inner)
        if violation.difference is not None:
            violation.difference = replace(violation.difference, when=when)
        raise violation


def count_added_axes(case: Case, array: Array) -> int:
    """Return the number of leading axes of an array of results or gradients that the tensor lacks.

    For a cell, the array has an additional axis of time steps or layers, and for a single sample
    also an axis of samples.
    """
    if not case.config.kind_data.is_cell or array.ndim != 3:
        return 0
    return 1 if case.is_batched else 2


def _describe_difference(
    quantity: str,
    got: Array,
    expected: Array,
    error: Array,
    allowed: Array,
    snippet: Snippet | None,
    inner: int = 0,
) -> Violation:
    """Return the violation that names the first clearly wrong element, by its index from `inner`
    on.
    """
    wrong = ~(error <= allowed)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        factors = np.where(wrong, error / allowed, 0.0)
    excess = float(factors.max())
    # A wrong state leaves a trace of a few roundoffs in steps that have nearly forgotten it.
    clear = factors >= min(excess / 10, CLEAR) if np.isfinite(excess) else wrong
    index = tuple(int(place) for place in np.unravel_index(clear.argmax(), wrong.shape))
    difference = Difference(
        quantity,
        index[inner:],
        float(expected[index]),
        float(got[index]),
        excess,
        int(wrong.sum()),
        wrong.size,
        float(allowed[index]),
    )
    violation = Violation(difference=difference, snippet=snippet)
    violation.comparison = ComparedArrays(quantity, error, allowed)
    return violation

"""Comparisons that many rules share: with the reference, part by part, and with a further call of the same layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from rnnspec.cases.axes import DType
from rnnspec.cases.values import Values
from rnnspec.observe.expected import Expected
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.snippet import Snippet
from rnnspec.rulekit.snippets import results as snippets
from rnnspec.rulekit.violation import Violation, assert_close
from rnnspec.subjects.failures import Failure

Array = NDArray[np.float64]
Change = Callable[[Array], Array]
WHOLE: tuple[Any, ...] = (...,)
SNIPPETS = {"output": snippets.OUTPUT, "h_n": snippets.H_N}


class Results(Protocol):
    """What has output and h_n: an observation, or a call."""

    @property
    def output(self) -> Array:
        """The output (T, N, D * H)."""

    @property
    def h_n(self) -> Array:
        """The final states (D * num_layers, N, H)."""


@dataclass(frozen=True)
class Part:
    """A part of output and h_n, or both in another order."""

    output: Array
    h_n: Array


@dataclass(frozen=True)
class Place:
    """Indices into output and h_n."""

    output: tuple[Any, ...] = WHOLE
    h_n: tuple[Any, ...] = WHOLE


EVERYWHERE = Place()

_RIGHT: WeakKeyDictionary[Observation, dict[str, bool]] = WeakKeyDictionary()


def assert_expected(
    observation: Observation,
    quantity: str,
    place: tuple[Any, ...] = WHOLE,
    part: str = "",
    snippet: Snippet | None = None,
) -> None:
    """Raise Violation where output or h_n, or the named part of it, is not what the formula gives.

    `quantity` is "output" or "h_n", `place` indexes the part, `part` is what messages call it. Each quantity is compared as a whole
    once, and its parts only where that fails.
    """
    if not is_right(observation, quantity):
        got, expected = (
            getattr(source, quantity)[place] for source in (observation, observation.expected)
        )
        assert_close(
            observation,
            part or quantity,
            got,
            expected,
            lambda: getattr(observation.expected.bound, quantity)[place],
            snippet or SNIPPETS[quantity],
        )


def assert_both_expected(observation: Observation, snippet: Snippet | None = None) -> None:
    """Raise Violation where output or h_n is not what the formula gives."""
    assert_expected(observation, "output", snippet=snippet)
    assert_expected(observation, "h_n", snippet=snippet)


def is_right(observation: Observation, *quantities: str) -> bool:
    """Whether output and h_n, or the named ones, are what the formula gives; a failure to observe them is raised."""
    known = _RIGHT.setdefault(observation, {})
    for quantity in quantities or ("output", "h_n"):
        if quantity not in known:
            known[quantity] = _agrees(observation, quantity)
    return all(known[quantity] for quantity in quantities or ("output", "h_n"))


def _agrees(observation: Observation, quantity: str) -> bool:
    got, expected = getattr(observation, quantity), getattr(observation.expected, quantity)
    return is_satisfied(
        lambda: assert_close(
            observation,
            quantity,
            got,
            expected,
            lambda: getattr(observation.expected.bound, quantity),
        )
    )


def is_satisfied(check: Callable[[], None]) -> bool:
    """Whether a check raises no Violation."""
    try:
        check()
    except Violation:
        return False
    return True


def is_explained_by(
    observation: Observation, other: Expected, change: Change = lambda array: array
) -> bool:
    """Whether another computation, its output rearranged by `change`, gives the output that was seen."""
    return is_within_bound(
        observation, observation.output, change(other.output), change(other.bound.output)
    )


def is_within_bound(observation: Observation, got: Array, expected: Array, bound: Array) -> bool:
    """Whether a result is what another computation gives; 16-bit numbers and sums that may overflow tell too little."""
    telling = (
        observation.case.dtype in (DType.FLOAT64, DType.FLOAT32)
        and expected.shape == got.shape
        and bool(np.isfinite(bound).all())
    )
    return telling and is_satisfied(
        lambda: assert_close(observation, "", got, expected, lambda: bound)
    )


def assert_same_results(
    observation: Observation, got: Results, place: Place = EVERYWHERE, snippet: Snippet | None = None
) -> None:
    """Raise Violation where a further call is further from the judged one than two roundings can explain.

    `place` is the part of the judged results that belongs to the further call's.
    """
    for name in ("output", "h_n"):
        part = getattr(place, name)
        judged, bound = (
            getattr(observation, name)[part],
            lambda name=name, part=part: 2.0 * getattr(observation.expected.bound, name)[part],
        )
        assert_close(observation, name, getattr(got, name), judged, bound, snippet or SNIPPETS[name])


def fail_only_if_calls_differ(
    observation: Observation,
    other: Callable[[], Results],
    place: Place = EVERYWHERE,
    snippet: Snippet | None = None,
) -> None:
    """Raise Violation where the judged call is wrong and a further one, that must give the same, gives something else.

    Where the judged call is right nothing further is called: the relation follows from the reference.
    """
    if not is_right(observation):
        assert_same_results(observation, other(), place, snippet)


def call_as(observation: Observation, values: Values | None = None, **changes: Any) -> Observation:
    """A further call of the same layer with the same numbers, or others, the case's fields changed; the judged call comes first."""
    _ = observation.call
    return Observation(
        observation.subject,
        observation.case.replace(**changes),
        values or observation.values,
        observation.prepared,
    )


def fail_only_if_explained(check: Callable[[], None], why: Callable[[], str | None]) -> None:
    """Run a check; its Violation counts only where `why` knows a reason, which the message then tells."""
    try:
        check()
    except Violation as violation:
        reason = why()
        if reason is not None:
            message = f"{violation.message}; {reason}"
            raise Violation(
                message, difference=violation.difference, snippet=violation.snippet
            ) from None


def fail_only_if_unexplained(check: Callable[[], None], why: Callable[[], str | None]) -> None:
    """Run a check; its Violation counts only where `why` knows no reason, which another rule tells."""
    try:
        check()
    except Violation:
        if why() is None:
            raise


def fail_unless_excused(excuse: Callable[[], bool], check: Callable[[], None]) -> None:
    """Run a check; its Violation or Failure does not count where there is an excuse: another rule tells what is wrong."""
    try:
        check()
    except (Violation, Failure):
        if not excuse():
            raise


def has_right_results(observation: Observation) -> bool:
    """Whether output and h_n could be observed and are what the formula gives."""
    try:
        return is_right(observation)
    except Failure:
        return False


def zero_state(values: Values) -> Values:
    """The same numbers with an initial state of zeros, as where none is given."""
    return replace(values, h_0=np.zeros_like(values.h_0))

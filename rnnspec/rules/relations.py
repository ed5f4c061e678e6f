"""Comparisons that many rules share: with the reference, part by part, and with a further call of the same layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from rnnspec.cases.values import Values
from rnnspec.observe.expected import Expected
from rnnspec.observe.observation import Observation
from rnnspec.rules import proofs
from rnnspec.rules.violation import Violation, agree

Array = NDArray[np.float64]
Change = Callable[[Array], Array]
WHOLE: tuple[Any, ...] = (...,)
PROOFS = {"output": proofs.OUTPUT, "h_n": proofs.H_N}

_RIGHT: WeakKeyDictionary[Observation, dict[str, bool]] = WeakKeyDictionary()


def as_expected(seen: Observation, quantity: str, place: tuple[Any, ...] = WHOLE, part: str = "", proof: str = "") -> None:
    """Raise Violation where output or h_n, or the named part of it, is not what the formula gives.

    `quantity` is "output" or "h_n", `place` indexes the part, `part` is what messages call it. Each quantity is compared as a whole
    once, and its parts only where that fails.
    """
    if not is_right(seen, quantity):
        got, expected = (getattr(source, quantity)[place] for source in (seen, seen.expected))
        agree(seen, part or quantity, got, expected, lambda: getattr(seen.expected.bound, quantity)[place], proof or PROOFS[quantity])


def both_as_expected(seen: Observation, proof: str = "") -> None:
    """Raise Violation where output or h_n is not what the formula gives."""
    as_expected(seen, "output", proof=proof)
    as_expected(seen, "h_n", proof=proof)


def is_right(seen: Observation, *quantities: str) -> bool:
    """Whether output and h_n, or the named ones, are what the formula gives; a failure to observe them is raised."""
    known = _RIGHT.setdefault(seen, {})
    for quantity in quantities or ("output", "h_n"):
        if quantity not in known:
            known[quantity] = _agrees(seen, quantity)
    return all(known[quantity] for quantity in quantities or ("output", "h_n"))


def _agrees(seen: Observation, quantity: str) -> bool:
    got, expected = getattr(seen, quantity), getattr(seen.expected, quantity)
    return holds(lambda: agree(seen, quantity, got, expected, lambda: getattr(seen.expected.bound, quantity)))


def holds(check: Callable[[], None]) -> bool:
    """Whether a check raises no Violation."""
    try:
        check()
    except Violation:
        return False
    return True


def explains(seen: Observation, other: Expected, change: Change = lambda array: array) -> bool:
    """Whether another computation, its output rearranged by `change`, gives the output that was seen."""
    expected = change(other.output)
    same_shape = expected.shape == seen.output.shape
    return same_shape and holds(lambda: agree(seen, "output", seen.output, expected, lambda: change(other.bound.output)))


def alike(seen: Observation, quantity: str, got: Array, place: tuple[Any, ...] = WHOLE, proof: str = "") -> None:
    """Raise Violation where the result of a further call is further from the judged one than two roundings can explain."""
    judged = getattr(seen, quantity)[place]
    agree(seen, quantity, got, judged, lambda: 2.0 * getattr(seen.expected.bound, quantity)[place], proof or PROOFS[quantity])


def recast(seen: Observation, values: Values | None = None, **changes: Any) -> Observation:
    """A further call of the same layer with the same numbers, or others, the case's fields changed; the judged call comes first."""
    _ = seen.call
    return Observation(seen.subject, seen.case.altered(**changes), values or seen.values, seen.stage)


def explained(check: Callable[[], None], why: Callable[[], str | None]) -> None:
    """Run a check; its Violation counts only where `why` knows a reason, which the message then tells."""
    try:
        check()
    except Violation as violation:
        reason = why()
        if reason is not None:
            message = f"{violation.message}; {reason}"
            raise Violation(message, difference=violation.difference, proof=violation.proof) from None


def unexplained(check: Callable[[], None], why: Callable[[], str | None]) -> None:
    """Run a check; its Violation counts only where `why` knows no reason, which another rule tells."""
    try:
        check()
    except Violation:
        if why() is None:
            raise

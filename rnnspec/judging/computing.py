"""What many rules ask of a call: that its results, and its gradients, are those of the formula, here or elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnspec.cases.case import Case
from rnnspec.judging import proofs
from rnnspec.judging.conditions import axis, differentiable, predictable
from rnnspec.judging.violation import Violation, agree, violated
from rnnspec.observe.expected import Expected
from rnnspec.observe.observation import Observation

Array = NDArray[np.float64]
Check = Callable[[Observation], None]
BOTH = ("output", "h_n")

derivable = predictable & differentiable & ~axis("values", "ternary")
"""Cases whose gradients the oracle knows; those of saturated ternary units overflow."""


def results_agree(seen: Observation, proof: str = proofs.BOTH) -> None:
    """Raise Violation where output or h_n are not those of the formula."""
    agree(seen, "output", seen.output, seen.expected.output, lambda: seen.expected.bound.output, proof)
    agree(seen, "h_n", seen.h_n, seen.expected.h_n, lambda: seen.expected.bound.h_n, proof)


def computes(seen: Observation, proof: str = proofs.BOTH) -> None:
    """Raise Violation where output, h_n or, where they can be judged, the gradients are not those of the formula."""
    results_agree(seen, proof)
    if derivable(seen.case) and "gradients" not in seen.subject.refused:
        gradients_agree(seen, seen.gradients, seen.expected, known(seen.case, seen.gradients))


def gradients_agree(
    seen: Observation,
    found: Mapping[str, Array],
    expected: Expected,
    names: Sequence[str],
    results: tuple[str, ...] = BOTH,
    proof: str = "",
) -> None:
    """Raise Violation where one of the named gradients is missing or is not that of the formula."""
    for name in names:
        lines = proof or proofs.gradient(name, results)
        if name not in found:
            raise violated(f"{name} requires no gradient", lines)
        _gradient_agrees(seen, name, found[name], expected, lines)


def _gradient_agrees(seen: Observation, name: str, found: Array, expected: Expected, proof: str) -> None:
    agree(seen, f"gradient of {name}", found, expected.gradients[name], lambda: expected.gradient_bound[name], proof)


def known(case: Case, names: Sequence[str] | Mapping[str, Any]) -> list[str]:
    """The names without those whose gradients depend on a dropout mask: what an upper layer reads, under the law `deaf`."""
    masked = case.values == "deaf" and case.dropping
    return [name for name in names if not (masked and name.startswith("weight_ih") and not name.startswith("weight_ih_l0"))]


def differentiated_names(case: Case, weights: Mapping[str, Any]) -> list[str]:
    """What results have a gradient with respect to: the input, the state where it is given, and every parameter."""
    return known(case, ["input", *(["h_0"] if case.state == "given" else []), *weights])


def only_here(seen: Observation, elsewhere: Case, check: Check = computes, there: Check | None = None) -> None:
    """Run a check; its Violation counts only where it holds in another case, so that what is blamed is the difference between the two.

    `there` is the check for the other case, by default the same.
    """
    try:
        check(seen)
    except Violation:
        if _holds(seen.other(elsewhere), there or check):
            raise


def _holds(seen: Observation, check: Check) -> bool:
    try:
        check(seen)
    except Violation:
        return False
    return True

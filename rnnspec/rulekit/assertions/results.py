"""What many rules ask of a call: that its results, and its gradients, are those of the formula, here or elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnspec.cases.axes import Distribution, Feature, InitialState
from rnnspec.cases.case import Case
from rnnspec.observe.expected import Expected
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.conditions import differentiable, has_value, predictable
from rnnspec.rulekit.snippet import Snippet
from rnnspec.rulekit.snippets import results as snippets
from rnnspec.rulekit.violation import Violation, assert_close

Array = NDArray[np.float64]
Check = Callable[[Observation], None]
BOTH = ("output", "h_n")

derivable = predictable & differentiable & ~has_value(Distribution.TERNARY)
"""Cases whose gradients the oracle knows; those of saturated ternary units overflow."""


def assert_results(observation: Observation, snippet: Snippet = snippets.BOTH) -> None:
    """Raise Violation where output or h_n are not those of the formula."""
    assert_close(
        observation,
        "output",
        observation.output,
        observation.expected.output,
        lambda: observation.expected.bound.output,
        snippet,
    )
    assert_close(
        observation,
        "h_n",
        observation.h_n,
        observation.expected.h_n,
        lambda: observation.expected.bound.h_n,
        snippet,
    )


def assert_results_and_gradients(observation: Observation, snippet: Snippet = snippets.BOTH) -> None:
    """Raise Violation where output, h_n or, where they can be judged, the gradients are not those of the formula."""
    assert_results(observation, snippet)
    if derivable(observation.case) and observation.subject.offers(Feature.GRADIENTS):
        assert_gradients(
            observation,
            observation.gradients,
            observation.expected,
            exclude_masked_gradients(observation.case, observation.gradients),
        )


def assert_gradients(
    observation: Observation,
    found: Mapping[str, Array],
    expected: Expected,
    names: Sequence[str],
    results: tuple[str, ...] = BOTH,
    snippet: Snippet | None = None,
) -> None:
    """Raise Violation where one of the named gradients is missing or is not that of the formula."""
    for name in names:
        lines = snippet or snippets.compare_gradients(name, results)
        if name not in found:
            raise Violation(f"{name} requires no gradient", lines)
        _gradient_agrees(observation, name, found[name], expected, lines)


def _gradient_agrees(
    observation: Observation, name: str, found: Array, expected: Expected, snippet: Snippet
) -> None:
    assert_close(
        observation,
        f"gradient of {name}",
        found,
        expected.gradients[name],
        lambda: expected.gradient_bound[name],
        snippet,
    )


def exclude_masked_gradients(case: Case, names: Sequence[str] | Mapping[str, Any]) -> list[str]:
    """The names without those whose gradients depend on a dropout mask: what an upper layer reads, under the law `deaf`."""
    masked = case.distribution is Distribution.DEAF and case.has_active_dropout
    return [
        name
        for name in names
        if not (masked and name.startswith("weight_ih") and not name.startswith("weight_ih_l0"))
    ]


def list_differentiated(case: Case, weights: Mapping[str, Any]) -> list[str]:
    """What results have a gradient with respect to: the input, the state where it is given, and every parameter."""
    return exclude_masked_gradients(
        case, ["input", *(["h_0"] if case.initial_state is InitialState.GIVEN else []), *weights]
    )


def fail_only_if_right_elsewhere(
    observation: Observation,
    elsewhere: Case,
    check: Check = assert_results_and_gradients,
    there: Check | None = None,
) -> None:
    """Run a check; its Violation counts only where it holds in another case, so that what is blamed is the difference between the two.

    `there` is the check for the other case, by default the same.
    """
    try:
        check(observation)
    except Violation:
        if _holds(observation.new_layer(elsewhere), there or check):
            raise


def _holds(observation: Observation, check: Check) -> bool:
    try:
        check(observation)
    except Violation:
        return False
    return True

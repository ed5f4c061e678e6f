"""Assertions that sums are accumulated in float32, which show sums in 16 bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from rnnspec import oracle
from rnnspec.cases.case import Case
from rnnspec.observe.expected import Expected
from rnnspec.observe.observation import Observation
from rnnspec.oracle import Array
from rnnspec.rulekit.assertions.relations import (
    assert_certified,
    get_bound,
    has_right_results,
    is_right,
    is_satisfied,
)
from rnnspec.rulekit.assertions.results import list_gradient_names
from rnnspec.rulekit.snippet import Snippet
from rnnspec.rulekit.violation import Violation, assert_close

MakeBound = Callable[[], Array]
WriteSnippet = Callable[[str, Case], Snippet]
"""A function that writes the lines of the program for a result or gradient of a case."""


def _get_float32_bound(expected: Expected, name: str) -> Array:
    bound: Array = expected.float32_sums_bound.results[name]
    return bound


def _get_gradient_bound(expected: Expected, name: str) -> Array:
    return expected.gradient_bound[name]


def _get_float32_gradient_bound(expected: Expected, name: str) -> Array:
    return expected.float32_sums_gradient_bound[name]


def assert_accurate_results(observation: Observation, snippets: WriteSnippet) -> None:
    """Raise Violation if the error of output or h_n shows sums in 16 bits.

    Larger errors, which sums in 16 bits do not explain, are left to other rules. `snippets` returns
    the lines of the program for a result.
    """
    expected = observation.expected
    for name in observation.result_names:
        if not is_right(observation, name):
            continue
        _assert_accurate(
            observation,
            name,
            observation.get_result(name),
            expected.results[name],
            partial(_get_float32_bound, expected, name),
            partial(get_bound, expected, name),
            snippets(name, observation.case),
            partial(_assert_certified, observation, name),
        )


def _assert_certified(observation: Observation, name: str, rounding: oracle.Rounding) -> None:
    assert_certified(observation, name, rounding=rounding, threshold=oracle.FINE)


def assert_accurate_gradients(observation: Observation, snippets: WriteSnippet) -> None:
    """Raise Violation if the error of a gradient shows sums in 16 bits.

    Missing gradients, and gradients of wrong results, are left to other rules. `snippets` returns
    the lines of the program for a gradient.
    """
    if not has_right_results(observation):
        return
    expected, found = observation.expected, observation.gradients
    for name in list_gradient_names(observation):
        if name in found:
            _assert_accurate(
                observation,
                f"gradient of {name}",
                found[name],
                expected.gradients[name],
                partial(_get_float32_gradient_bound, expected, name),
                partial(_get_gradient_bound, expected, name),
                snippets(name, observation.case),
            )


def _assert_accurate(
    observation: Observation,
    quantity: str,
    got: Array,
    expected: Array,
    float32_bound: MakeBound,
    bound: MakeBound,
    snippet: Snippet,
    certify: Callable[[oracle.Rounding], None] = lambda rounding: None,
) -> None:
    """Raise Violation if an error exceeds the bound of sums in float32, but not of sums in 16 bits.

    Errors that also exceed the bound of sums in 16 bits are left to the rules about that bound.
    `certify` compares each step in the same way.
    """

    def compare(allowed: MakeBound, rounding: oracle.Rounding) -> None:
        assert_close(observation, quantity, got, expected, allowed, snippet, threshold=oracle.FINE)
        certify(rounding)

    narrow = observation.expected.rounding
    try:
        compare(float32_bound, oracle.FLOAT32_SUMS[narrow.name])
    except Violation as violation:
        if violation.difference is not None and is_satisfied(lambda: compare(bound, narrow)):
            difference = replace(violation.difference, source="sums in float32")
            reason = "sums that are rounded to 16 bits would explain it"
            raise Violation(f"{difference}; {reason}", snippet, difference=difference) from None

"""Assertions that many rules share: the results and gradients of a call agree with the oracle's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from rnnspec import oracle
from rnnspec.cases.axes import Feature, InitialState
from rnnspec.cases.case import Case
from rnnspec.cases.conditions import has_known_gradients
from rnnspec.contract.kinds import Kind
from rnnspec.observe.backward import exclude_masked_gradients
from rnnspec.observe.expected import Expected
from rnnspec.observe.observation import Observation
from rnnspec.observe.prepared import PreparedLayer
from rnnspec.observe.tensors import to_array
from rnnspec.oracle import Array
from rnnspec.rulekit.assertions.relations import (
    USUAL_GRADIENT_ERROR,
    assert_all_expected,
    bound_if_needed,
    change_difference,
    is_satisfied,
)
from rnnspec.rulekit.questions import ask_question
from rnnspec.rulekit.snippet import Snippet
from rnnspec.rulekit.snippets import results as snippets
from rnnspec.rulekit.violation import (
    Violation,
    assert_close,
    assert_identical,
    is_visible,
    is_visible_gradient,
)


def assert_state_shape(observation: Observation, name: str) -> None:
    """Raise Violation if a final state does not have the documented shape."""
    found = tuple(observation.call.raw_states[name].shape)
    expected = observation.call.state_shapes[name]
    if found != expected:
        place = write_state_place(observation.case.config.kind_data, name)
        raise Violation(
            f"{name} has shape {found}, expected {expected}",
            Snippet(f"assert tuple(layer(*given){place}.shape) == {expected}"),
        )


def write_state_place(kind: Kind, name: str) -> str:
    """Return the Python indices of a final state in the return value of a call."""
    if kind.is_cell:
        return f"[{kind.final.index(name)}]" if kind.has_several_states else ""
    return f"[1][{kind.final.index(name)}]" if kind.has_several_states else "[1]"


CheckObservation = Callable[[Observation], None]


def assert_results(observation: Observation, snippet: Snippet = snippets.BOTH) -> None:
    """Raise Violation if a result differs from the oracle's; the default snippet compares all.

    Use it for a layer that you prepared. If your rule is about a single result, use
    `assert_expected`.
    """
    assert_all_expected(observation, snippet)


def assert_results_and_gradients(
    observation: Observation, snippet: Snippet = snippets.BOTH
) -> None:
    """Raise Violation if a result or a gradient differs from the oracle's.

    Gradients are skipped if the oracle does not know them or the subject does not offer them.
    """
    assert_results(observation, snippet)
    if has_known_gradients(observation.case) and observation.subject.offers(Feature.GRADIENTS):
        assert_gradients(
            observation,
            observation.gradients,
            observation.expected,
            exclude_masked_gradients(observation.case, observation.gradients),
        )


def assert_weights(
    observation: Observation,
    when: str,
    snippet: Snippet,
    expected: Mapping[str, Array] | None = None,
    layer: PreparedLayer | None = None,
) -> None:
    """Raise Violation if the layer's weights differ in any bit from `expected`.

    Unless you pass them, these are the weights of the case and the layer of the observation.
    """
    right = observation.values.weights if expected is None else expected
    for name, value in (layer or observation.prepared).weights().items():
        assert_identical(name, to_array(value), right[name], snippet, when=when)


def assert_gradients(
    observation: Observation,
    found: Mapping[str, Array],
    expected: Expected,
    names: Sequence[str],
    results: tuple[str, ...] = (),
    snippet: Snippet | None = None,
    before: Snippet | None = None,
) -> None:
    """Raise Violation if a named gradient is missing or differs from the oracle's.

    Name the `results` that you differentiated, unless these are all; they appear in the default
    snippet. Use the lines `before` to change the arguments of the call.
    """
    for name in names:
        kind = observation.case.config.kind_data
        lines = snippet or snippets.compare_gradients(
            name, kind, results or observation.result_names
        )
        lines = before + lines if before else lines
        if name not in found:
            raise Violation(
                f"{name} has requires_grad=False and receives no gradient; expected one", lines
            )
        _assert_gradient(observation, name, found[name], expected, lines)


def _assert_gradient(
    observation: Observation, name: str, found: Array, expected: Expected, snippet: Snippet
) -> None:
    right = expected.gradients[name]
    if not is_visible_gradient(observation.case, found, right):
        return
    assert_close(
        observation,
        f"gradient of {name}",
        found,
        right,
        lambda: bound_if_needed(
            observation, observation, found, right, lambda: expected.gradient_bound[name]
        ),
        snippet,
    )


def assert_usual_gradients(
    observation: Observation, write_snippet: Callable[[str, Case], Snippet]
) -> None:
    """Raise Violation if the error of a gradient is larger than usual rounding errors.

    At large sizes, the bound of a backward pass would allow any number. Each gradient that visibly
    differs from the reference's is compared with the gradient of a backward pass on the states that
    the layer returned. `write_snippet` returns the lines of the program for a gradient. Missing
    gradients are left to other rules.
    """
    found, expected, case = observation.gradients, observation.expected.gradients, observation.case
    visible = [
        name
        for name in list_gradient_names(observation)
        if name in found and is_visible(case, found[name], expected[name], oracle.COARSE)
    ]
    usual = observation.estimate_gradients() if visible else None
    if usual is None:
        return
    for name in visible:
        with change_difference(source=USUAL_GRADIENT_ERROR):
            lines = write_snippet(name, case)
            assert_each_close(observation, [name], found, usual.results, usual.bound.results, lines)


def assert_each_close(
    observation: Observation,
    names: Sequence[str],
    found: Mapping[str, Array],
    expected: Mapping[str, Array],
    bound: Mapping[str, Array],
    snippet: Snippet,
) -> None:
    """Raise Violation if a named result or gradient differs by more than a bound allows."""
    for name in names:
        is_result = name in observation.case.config.kind_data.results
        assert_close(
            observation,
            name if is_result else f"gradient of {name}",
            found[name],
            expected[name],
            partial(bound.__getitem__, name),
            snippet,
        )


def list_gradient_names(
    observation: Observation, weights: Mapping[str, Any] | None = None
) -> list[str]:
    """Return the names of the tensors that receive a gradient from the results.

    You get the input, the initial states if they are given and the subject offers their gradients,
    and every parameter whose gradient does not depend on a dropout mask. Pass `weights` to use
    other parameters than the case.
    """
    case, own = observation.case, observation.values.weights if weights is None else weights
    is_given = case.initial_state is InitialState.GIVEN
    is_offered = observation.subject.offers(Feature.STATE_GRADIENTS)
    states = case.config.kind_data.initial if is_given and is_offered else ()
    return exclude_masked_gradients(case, ["input", *states, *own])


def fail_only_if_right_elsewhere(
    observation: Observation,
    elsewhere: Case,
    check: CheckObservation = assert_results_and_gradients,
    there: CheckObservation | None = None,
) -> None:
    """Run a check; re-raise its violation only if a new layer passes in the case `elsewhere`.

    The fault then comes from the differences between the two cases. Use `there` if you check the
    other case differently.
    """
    try:
        check(observation)
    except Violation:
        ask_question()
        other = observation.new_layer(elsewhere)
        if is_satisfied(lambda: (there or check)(other)):
            raise

"""Comparisons that many rules share: with the oracle, and with a second call of the same layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rnnspec import oracle
from rnnspec.cases.axes import DType, Float32Precision
from rnnspec.cases.conditions import has_predictable_results
from rnnspec.cases.values import Values
from rnnspec.mistakes.hypothesis import Hypothesis
from rnnspec.observe.expected import Expected
from rnnspec.observe.observation import Observation
from rnnspec.observe.tensors import measure_distance
from rnnspec.oracle import Array
from rnnspec.rulekit.questions import ask_question
from rnnspec.rulekit.snippet import Snippet
from rnnspec.rulekit.snippets import results as snippets
from rnnspec.rulekit.violation import KnownMistake, Violation, assert_close, is_visible
from rnnspec.subjects.failures import Failure

WHOLE: tuple[Any, ...] = (...,)
NEAR = 2.0**-10
"""In dtypes of 32 bits and more, rounding errors are smaller than this."""
ONE_STEP = "the rounding of one step"
USUAL_ERROR = "the usual rounding of one step"
USUAL_GRADIENT_ERROR = "the usual rounding of a backward pass"


class HasResults(Protocol):
    """Anything with results by name, such as an observation or a call."""

    @property
    def results(self) -> Mapping[str, Array]:
        """The output (T, N, D * H_out), and the final states, each (D * num_layers, N, units)."""


@dataclass(frozen=True)
class SelectedResults:
    """Parts of the results by name, or results in another order."""

    results: Mapping[str, Array]


@dataclass(frozen=True)
class ResultIndices:
    """Indices into the output, and into each final state."""

    output: tuple[Any, ...] = WHOLE
    states: tuple[Any, ...] = WHOLE

    def get(self, name: str) -> tuple[Any, ...]:
        """Return the indices into the result of that name."""
        return self.output if name == "output" else self.states


EVERYWHERE = ResultIndices()


def bound_result(
    observation: Observation, name: str, got: Array, expected: Array, place: tuple[Any, ...] = WHOLE
) -> Array:
    """Return the largest allowed distance of a part of a result from its expected value.

    If the checked call has wrong results, the bound of a further call is computed only where the
    difference is small. Full bounds of such further calls took most of the time of checking a layer
    that is always wrong.
    """
    bound, checked = partial(get_bound, observation.expected, name, place), observation.origin
    if checked is None or not checked.was_called:
        return bound()
    return bound_if_needed(observation, checked, got, expected, bound)


def bound_if_needed(
    observation: Observation,
    proof: Observation,
    got: Array,
    expected: Array,
    bound: Callable[[], Array],
) -> Array:
    """Return a bound, or a simple substitute for large differences if the call `proof` is wrong.

    A wrong call proves that the layer is wrong, so a large difference does not need the exact
    bound, which takes longer than everything else. Results that are random because of dropout prove
    nothing. The substitute is 0 for elements that differ by more than rounding explains, and inf
    elsewhere.
    """
    cases = (observation.case, proof.case)
    is_precise = all(
        each.dtype in (DType.FLOAT64, DType.FLOAT32)
        and each.float32_precision is Float32Precision.IEEE
        for each in cases
    )
    is_proof = is_precise and has_predictable_results(proof.case)
    if not is_proof or is_near(got, expected) or has_right_results(proof):
        return bound()
    return np.where(find_near(got, expected), np.inf, 0.0)


def get_bound(
    expected: Expected, name: str, place: tuple[Any, ...] = WHOLE, factor: float = 1.0
) -> Array:
    """Return the bound of a part of a result for sums in any order, times a factor."""
    return np.asarray(factor * expected.bound.results[name][place])


def assert_expected(
    observation: Observation,
    quantity: str,
    place: tuple[Any, ...] = WHOLE,
    part: str = "",
    snippet: Snippet | None = None,
) -> None:
    """Raise Violation if a part of a result differs from the oracle's.

    `quantity` is the name of the result, `place` indexes the part, and `part` is your name for it
    in messages. The part is compared only if the whole quantity, which is compared once, is wrong.
    """
    if not is_right(observation, quantity):
        _assert_part(observation, quantity, place, part, snippet)


def _assert_part(
    observation: Observation,
    quantity: str,
    place: tuple[Any, ...] = WHOLE,
    part: str = "",
    snippet: Snippet | None = None,
) -> None:
    """Compare a part of a result within both bounds; see `assert_expected`."""
    got = observation.get_result(quantity)[place]
    expected = observation.expected.results[quantity][place]
    assert_close(
        observation,
        part or quantity,
        got,
        expected,
        lambda: bound_result(observation, quantity, got, expected, place),
        snippet or snippets.compare_result(quantity),
    )
    assert_certified(observation, quantity, place, part, snippet)


def assert_certified(
    observation: Observation,
    quantity: str,
    place: tuple[Any, ...] = WHOLE,
    part: str = "",
    snippet: Snippet | None = None,
    *,
    rounding: oracle.Rounding | None = None,
    threshold: float = oracle.COARSE,
    is_usual: bool = False,
) -> None:
    """Raise Violation if a part of a result does not follow from the states before it.

    At large sizes, the bound on whole trajectories would allow any number. If the layer shows its
    hidden states and the result visibly differs from the oracle's, each step is computed from the
    state that the layer returned before it, and compared within the bound of one step. If you set
    `is_usual`, the errors must be as small as they usually are.
    """
    got = observation.get_result(quantity)[place]
    expected = observation.expected.results[quantity][place]
    if not is_visible(observation.case, got, expected, threshold):
        return
    certificate = observation.certify(rounding, is_usual=is_usual)
    if certificate is None:
        return
    with change_difference(source=USUAL_ERROR if is_usual else ONE_STEP):
        assert_close(
            observation,
            part or quantity,
            got,
            certificate.results[quantity][place],
            lambda: certificate.bound.results[quantity][place],
            snippet or snippets.compare_result(quantity),
            threshold=threshold,
        )


@contextmanager
def change_difference(**changes: Any) -> Iterator[None]:
    """Change fields of the difference of a violation that is raised inside, such as `source`."""
    try:
        yield
    except Violation as violation:
        if violation.difference is not None:
            violation.difference = replace(violation.difference, **changes)
        raise


def assert_all_expected(observation: Observation, snippet: Snippet | None = None) -> None:
    """Raise Violation if the output or a final state differs from the oracle's."""
    for name in observation.result_names:
        assert_expected(observation, name, snippet=snippet)


def is_right(observation: Observation, *quantities: str) -> bool:
    """Return whether all results, or only the results that you name, agree with the oracle's.

    The comparison is made once for each observation. Raises Failure if they cannot be observed.
    """
    agreements = [
        observation.remember(f"right {quantity}", partial(_agrees, observation, quantity))
        for quantity in quantities or observation.result_names
    ]
    return all(agreements)


def _agrees(observation: Observation, quantity: str) -> bool:
    return is_satisfied(partial(_assert_part, observation, quantity))


def is_satisfied(check: Callable[[], None]) -> bool:
    """Return whether a check raises no Violation, if you need an answer instead of a failure."""
    try:
        check()
    except Violation:
        return False
    return True


def is_near(got: Array, expected: Array) -> bool:
    """Return whether two arrays of equal shape are so close that a bound has to decide."""
    return bool(find_near(got, expected).all())


def find_near(got: Array, expected: Array) -> NDArray[np.bool_]:
    """Return the elements of two arrays of equal shape that are so close that a bound has to
    decide.
    """
    near: NDArray[np.bool_] = measure_distance(got, expected) <= NEAR * np.maximum(
        1.0, np.abs(expected)
    )
    return near


def assert_same_results(
    observation: Observation,
    got: HasResults,
    place: ResultIndices = EVERYWHERE,
    snippet: Snippet | None = None,
) -> None:
    """Raise Violation if a second call differs from the checked call by more than twice the bound.

    `got` are the results of the second call, and `place` selects the results of the checked call to
    compare with. If the checked results are wrong, the message reports them as wrong instead of as
    expected values.
    """
    is_wrong = not has_right_results(observation)
    for name, second in got.results.items():
        part, lines = place.get(name), snippet or snippets.compare_result(name)
        checked = observation.get_result(name)[part]
        bound = partial(get_bound, observation.expected, name, part, 2.0)
        found, expected = (checked, second) if is_wrong else (second, checked)
        assert_close(observation, name, found, expected, bound, lines)


def fail_only_if_calls_differ(
    observation: Observation,
    other: Callable[[], HasResults],
    place: ResultIndices = EVERYWHERE,
    snippet: Snippet | None = None,
) -> None:
    """Raise Violation if the checked call is wrong and a second call gives other results.

    Use it for a relation between two calls, such as the same samples in another order. `other`
    makes your second call, which must give the same results at `place`. It is not made if the
    checked call is right: other cases compare such calls with the oracle.
    """
    if not is_right(observation):
        ask_question()
        assert_same_results(observation, other(), place, snippet)


def make_second_call(
    observation: Observation, values: Values | None = None, **changes: Any
) -> Observation:
    """Return a second call of the same layer, with some fields of the case changed.

    It uses the numbers of the checked call unless you pass `values`. If you compare the two calls,
    let your rule presuppose `REPEATED_CALLS`. The checked call is made before this function
    returns.
    """
    _ = observation.call
    return Observation(
        observation.subject,
        observation.case.replace(**changes),
        values or observation.values,
        observation.prepared,
        observation.checked,
    )


def fail_only_if_explained(
    check: Callable[[], None], find_mistake: Callable[[], Hypothesis | None]
) -> None:
    """Run a check; re-raise its violation only if a known mistake explains it.

    The violation names the mistake. If no mistake explains it, another rule reports the fault.
    """
    try:
        check()
    except Violation as violation:
        found = find_mistake()
        if found is not None:
            violation.mistake = KnownMistake(found.key, found.text)
            raise


def fail_only_if_unexplained(check: Callable[[], None], is_explained: Callable[[], bool]) -> None:
    """Run a check; re-raise its violation unless something else explains it.

    A fault with an explanation is reported by another rule.
    """
    try:
        check()
    except Violation:
        if not is_explained():
            raise


def fail_unless_excused(excuse: Callable[[], bool], check: Callable[[], None]) -> None:
    """Run a check; re-raise its Violation or Failure unless `excuse()` is true.

    Use it for a fault that another rule reports, if you can recognise it.
    """
    try:
        check()
    except (Violation, Failure):
        if not excuse():
            raise


def has_right_results(observation: Observation) -> bool:
    """Return whether all results could be observed and agree with the oracle's."""
    try:
        return is_right(observation)
    except Failure:
        return False


def zero_state(values: Values) -> Values:
    """Return the values with initial states of zeros, as used for absent states."""
    return replace(values, initial=np.zeros_like(values.initial))

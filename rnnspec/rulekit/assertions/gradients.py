"""Assertions about gradients that need more than a comparison with the oracle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from rnnspec import oracle
from rnnspec.cases.axes import Distribution, DType, Feature, Float32Precision, InitialState
from rnnspec.cases.case import Case
from rnnspec.cases.states import name_initial
from rnnspec.cases.values import Values
from rnnspec.contract.kinds import Nonlinearity
from rnnspec.observe.backward import exclude_masked_gradients
from rnnspec.observe.expected import Expected
from rnnspec.observe.observation import Observation
from rnnspec.oracle import Array
from rnnspec.rulekit.assertions.results import assert_gradients, list_gradient_names
from rnnspec.rulekit.snippets import results as snippets
from rnnspec.rulekit.snippets.gradients import (
    SECOND_ORDER,
    SECOND_ORDER_OF_STATES,
    show_leak_to_samples,
    show_leak_to_steps,
)
from rnnspec.rulekit.violation import Violation, assert_close, assert_identical

STEPS = (2.0**-13, 2.0**-18, 2.0**-23)
"""Steps along the direction, the largest first."""
KINK_MARGIN = 4.0
"""A step is clear of kinks of relu if every sum is this many times as far from 0 as it moves."""
SAFETY = 4.0
"""Factor of the allowed error: multiples of the distance between the differences of both steps."""
FLOOR = 2.0**-20
"""The smallest allowed error, relative to the largest derivative."""
FAR_BELOW = 2.0**-24
"""Gradients this far below the largest number of float64 or float32 can be doubled whatever their
bounds: no rounding error of a layer that has passed the comparison before is 2**23 as large as the
gradient.
"""
ROUNDOFF = 2.0**-49
"""The rounding error of the oracle's gradients, relative to the largest derivative."""


@dataclass(frozen=True)
class SecondDerivative:
    """The derivatives of the gradients along a direction, and their allowed errors, by name."""

    values: dict[str, Array]
    allowed: dict[str, Array]


def draw_direction(case: Case, values: Values, *, has_states: bool = True) -> dict[str, Array]:
    """Return a direction over input, states and parameters, drawn from the seed of the case.

    No entry is near zero, except that the direction of the states is zero if no initial state is
    given or `has_states` is false.
    """
    rng = np.random.default_rng([case.seed, 2])

    def draw(array: Array) -> Array:
        return rng.choice((-1.0, 1.0), array.shape) * rng.uniform(0.25, 1.0, array.shape)

    is_moved = has_states and case.initial_state is InitialState.GIVEN
    initial = draw(values.initial) if is_moved else np.zeros_like(values.initial)
    return {
        "input": draw(values.input),
        **name_initial(case.config, initial),
        **{name: draw(array) for name, array in values.weights.items()},
    }


def estimate_second_derivative(
    case: Case, values: Values, direction: Mapping[str, Array]
) -> SecondDerivative:
    """Return the derivative of the gradients along a direction, with its allowed error.

    The derivative is the central difference of half the largest step that is clear of kinks of
    relu. To leading order, the error of a central difference is a third of its distance from the
    difference of twice the step. Four times that distance is allowed, plus the rounding error of
    the gradients. The allowed error is infinite if every step crosses a kink.
    """
    step = next((each for each in STEPS if _is_clear_of_kinks(case, values, direction, each)), 0.0)
    wide, near = (
        _compute_difference(case, values, direction, each)
        for each in (step or STEPS[0], (step or STEPS[0]) / 2)
    )
    size = max(np.abs(array).max(initial=0.0) for array in near.values())
    allowed = {}
    for name, array in near.items():
        spread = SAFETY * np.abs(array - wide[name]).max(initial=0.0)
        allowed[name] = np.full(
            array.shape, spread + FLOOR * size + ROUNDOFF * size / step if step else np.inf
        )
    return SecondDerivative(near, allowed)


def _is_clear_of_kinks(
    case: Case, values: Values, direction: Mapping[str, Array], step: float
) -> bool:
    """Return whether every sum under relu keeps its sign between a step back and a step ahead.

    tanh has no kinks.
    """
    if case.config.nonlinearity == Nonlinearity.TANH:
        return True
    here = _compute_sums(case, values)
    moved = np.maximum(
        *(
            np.abs(_compute_sums(case, _move_values(case, values, direction, sign * step)) - here)
            for sign in (1.0, -1.0)
        )
    )
    return bool((np.abs(here) >= KINK_MARGIN * moved).all())


def _compute_sums(case: Case, values: Values) -> Array:
    return np.concatenate([layer.sums.ravel() for layer in Expected(case, values).trace.layers])


def _compute_difference(
    case: Case, values: Values, direction: Mapping[str, Array], step: float
) -> dict[str, Array]:
    ahead, behind = (
        Expected(case, _move_values(case, values, direction, sign * step)).gradients
        for sign in (1.0, -1.0)
    )
    return {name: (ahead[name] - behind[name]) / (2 * step) for name in ahead}


def _move_values(case: Case, values: Values, direction: Mapping[str, Array], step: float) -> Values:
    states = [direction[name] for name in case.config.kind_data.initial]
    weights = {name: array + step * direction[name] for name, array in values.weights.items()}
    return replace(
        values,
        weights=weights,
        input=values.input + step * direction["input"],
        initial=values.initial + step * np.concatenate(states, axis=-1),
    )


def assert_differentiable_alone(observation: Observation, result: str) -> None:
    """Raise Violation if a result cannot be differentiated without the others.

    All gradients of a second call are compared with the oracle's.
    """
    call = observation.borrow_repeated().call
    if not call.result_tensors[result].requires_grad:
        raise Violation(
            f"{result} has requires_grad=False; expected True",
            snippets.compare_gradients("input", observation.case.config.kind_data, (result,)),
        )
    found = observation.differentiate(call, (result,))
    names = list_gradient_names(observation)
    expected = observation.expected.restrict_to((result,))
    assert_gradients(observation, found, expected, names, (result,))


def assert_samples_independent(observation: Observation) -> None:
    """Raise Violation if the results of a sample have a gradient with respect to another sample.

    The sample is chosen by the seed of the case.
    """
    sample = observation.case.seed % observation.case.batch
    chosen = (np.arange(observation.case.batch) == sample)[:, None]
    values = observation.values
    marked = observation.borrow_repeated().with_cotangents(
        values.d_output * chosen, values.d_final * chosen
    )
    has_states = observation.result_names != ("output",)
    snippet = show_leak_to_samples(observation.case, sample, from_states=has_states)
    for name, gradient in marked.compute_gradients(observation.result_names).items():
        if name in ("input", *observation.case.config.kind_data.initial):
            others = np.delete(gradient, sample, axis=1)
            assert_identical(
                f"gradient of {name} for the samples other than {sample}",
                others,
                np.zeros_like(others),
                snippet,
                case=observation.case,
            )


def assert_steps_causal(observation: Observation) -> None:
    """Raise Violation if the earlier half of the output has a gradient with respect to later input.

    The layer must be unidirectional.
    """
    cut = (observation.case.steps + 1) // 2
    earlier = (np.arange(observation.case.steps) < cut)[:, None, None]
    values = observation.values
    second = observation.borrow_repeated()
    marked = second.with_cotangents(values.d_output * earlier, values.d_final)
    later = marked.compute_gradients(("output",))["input"][cut:]
    assert_identical(
        f"gradient of input[{cut}:]",
        later,
        np.zeros_like(later),
        show_leak_to_steps(observation.case),
    )


def assert_exact_gradients(observation: Observation) -> None:
    """Raise Violation if a gradient whose sums are all exact is not exact.

    Gradients that depend on the slope of relu at exactly 0 are not compared.
    """
    expected = observation.expected
    if not expected.has_exact_gradients:
        return
    allowed = {}
    if observation.case.config.nonlinearity == Nonlinearity.RELU.value:
        allowed = oracle.compute_gradient_bound(
            expected.problem, expected.trace, expected.cotangents, oracle.ROUNDINGS["float64"]
        )
    for name in exclude_masked_gradients(observation.case, observation.gradients):
        got, wanted = observation.gradients[name], expected.gradients[name]
        if name in allowed:
            # The bound is tiny unless the gradient depends on the slope of relu at 0.
            settled = allowed[name] < 0.5
            got, wanted = (np.where(settled, each, 0.0) for each in (got, wanted))
        lines = snippets.compare_gradients(name, observation.case.config.kind_data)
        assert_identical(f"gradient of {name}", got, wanted, lines, case=observation.case)


def assert_second_derivative(observation: Observation) -> None:
    """Raise Violation if a second derivative differs from finite differences by more than allowed.

    A new layer computes it in float64, along a direction over input, h_0 and parameters.
    """
    plain = observation.new_layer(
        observation.case.make_fresh(
            dtype=DType.FLOAT64,
            float32_precision=Float32Precision.IEEE,
            distribution=Distribution.PLAIN,
            dropout=0.0,
        )
    )
    has_states = plain.subject.offers(Feature.STATE_GRADIENTS)
    direction = draw_direction(plain.case, plain.values, has_states=has_states)
    found = plain.prepare_backward(plain.call).compute_second_derivatives(direction)
    expected = estimate_second_derivative(plain.case, plain.values, direction)
    snippet = SECOND_ORDER_OF_STATES if has_states else SECOND_ORDER
    for name in found:
        allowed = partial(expected.allowed.__getitem__, name)
        assert_close(
            plain,
            f"second derivative of {name}",
            found[name],
            expected.values[name],
            allowed,
            snippet,
        )


def can_be_doubled(expected: Expected) -> bool:
    """Return whether twice every gradient, with its bound, is a number of the dtype."""
    sizes = [np.abs(gradient).max(initial=0.0) for gradient in expected.gradients.values()]
    if not expected.case.dtype.is_half and max(sizes) <= FAR_BELOW * expected.rounding.largest:
        return True
    doubled = (
        (2 * expected.gradient_bound[name], 2 * np.abs(gradient))
        for name, gradient in expected.gradients.items()
    )
    return all(
        bool(np.isfinite(oracle.finite(error, size, expected.rounding)).all())
        for error, size in doubled
    )

"""Second derivatives along a direction, from central differences of the oracle's gradients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rnnspec.cases.axes import InitialState
from rnnspec.cases.case import Case
from rnnspec.cases.states import name_initial
from rnnspec.cases.values import Values
from rnnspec.contract.kinds import Nonlinearity
from rnnspec.observe.expected import Expected

Array = NDArray[np.float64]
STEPS = (2.0**-13, 2.0**-18, 2.0**-23)
"""Steps along the direction, the largest first."""
KINK_MARGIN = 4.0
"""A step is clear of kinks of relu if every sum is this many times as far from 0 as it moves."""
SAFETY = 4.0
"""Factor of the allowed error: multiples of the distance between the differences of both steps."""
FLOOR = 2.0**-20
"""The smallest allowed error, relative to the largest derivative."""
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

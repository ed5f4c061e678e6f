"""Second derivatives along a direction, from central differences of the reference's gradients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rnnspec.cases.axes import InitialState
from rnnspec.cases.case import Case
from rnnspec.cases.values import Values
from rnnspec.observe.expected import Expected

Array = NDArray[np.float64]
STEPS = (2.0**-13, 2.0**-18, 2.0**-23)
MARGIN = 4.0
"""How many times further from relu's kink than it moves a sum has to be for a step to be clear of it."""
SHORTER = 4.0
FLOOR = 2.0**-20
ROUNDOFF = 2.0**-49


@dataclass(frozen=True)
class SecondDerivative:
    """By name, the change of the gradients along a direction, and by how far the differences that it comes from can be off."""

    values: dict[str, Array]
    allowed: dict[str, Array]


def draw_direction(case: Case, values: Values) -> dict[str, Array]:
    """A direction over input, state (zero where none is given) and parameters, no entry of it near zero; it follows from the seed."""
    rng = np.random.default_rng([case.seed, 2])

    def draw(array: Array) -> Array:
        return rng.choice((-1.0, 1.0), array.shape) * rng.uniform(0.25, 1.0, array.shape)

    h_0 = draw(values.h_0) if case.initial_state is InitialState.GIVEN else np.zeros_like(values.h_0)
    return {
        "input": draw(values.input),
        "h_0": h_0,
        **{name: draw(array) for name, array in values.weights.items()},
    }


def estimate_second_derivative(
    case: Case, values: Values, direction: Mapping[str, Array]
) -> SecondDerivative:
    """The derivative of the gradients along a direction, by differences of the largest step that crosses no kink of relu.

    The error of a central difference is a third of its distance from that of twice the step, to leading order; four times that
    distance is allowed, and what rounding the gradients can add. Where a sum is so near a kink that every step crosses it, anything is.
    """
    step = next((each for each in STEPS if _is_clear(case, values, direction, each)), 0.0)
    wide, near = (
        _difference(case, values, direction, each)
        for each in (step or STEPS[0], (step or STEPS[0]) / 2)
    )
    size = max(np.abs(array).max(initial=0.0) for array in near.values())
    allowed = {}
    for name, array in near.items():
        spread = SHORTER * np.abs(array - wide[name]).max(initial=0.0)
        allowed[name] = np.full(
            array.shape, spread + FLOOR * size + ROUNDOFF * size / step if step else np.inf
        )
    return SecondDerivative(near, allowed)


def _is_clear(case: Case, values: Values, direction: Mapping[str, Array], step: float) -> bool:
    """Whether every sum under relu keeps its sign on the way from a step behind to a step ahead; tanh has no kinks."""
    if case.config.nonlinearity == "tanh":
        return True
    here = _sums(case, values)
    moved = np.maximum(
        *(
            np.abs(_sums(case, _moved(values, direction, sign * step)) - here)
            for sign in (1.0, -1.0)
        )
    )
    return bool((np.abs(here) >= MARGIN * moved).all())


def _sums(case: Case, values: Values) -> Array:
    return np.concatenate([layer.sums.ravel() for layer in Expected(case, values).trace.layers])


def _difference(
    case: Case, values: Values, direction: Mapping[str, Array], step: float
) -> dict[str, Array]:
    ahead, behind = (
        Expected(case, _moved(values, direction, sign * step)).gradients for sign in (1.0, -1.0)
    )
    return {name: (ahead[name] - behind[name]) / (2 * step) for name in ahead}


def _moved(values: Values, direction: Mapping[str, Array], step: float) -> Values:
    weights = {name: array + step * direction[name] for name, array in values.weights.items()}
    return replace(
        values,
        weights=weights,
        input=values.input + step * direction["input"],
        h_0=values.h_0 + step * direction["h_0"],
    )

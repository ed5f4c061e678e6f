"""Second derivatives along a direction, from central differences of the reference's gradients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rnnspec.cases.case import Case
from rnnspec.cases.values import Values
from rnnspec.observe.expected import Expected

Array = NDArray[np.float64]
STEP = 2.0**-13
SHORTER = 4.0
FLOOR = 2.0**-20
ROUNDOFF = 2.0**-49


@dataclass(frozen=True)
class SecondDerivative:
    """By name, the change of the gradients along a direction, and by how far the differences that it comes from can be off."""

    values: dict[str, Array]
    allowed: dict[str, Array]


def direction_of(case: Case, values: Values) -> dict[str, Array]:
    """A direction over input, state (zero where none is given) and parameters, no entry of it near zero; it follows from the seed."""
    rng = np.random.default_rng([case.seed, 2])

    def draw(array: Array) -> Array:
        return rng.choice((-1.0, 1.0), array.shape) * rng.uniform(0.25, 1.0, array.shape)

    h_0 = draw(values.h_0) if case.state == "given" else np.zeros_like(values.h_0)
    return {"input": draw(values.input), "h_0": h_0, **{name: draw(array) for name, array in values.weights.items()}}


def second_derivative(case: Case, values: Values, direction: Mapping[str, Array]) -> SecondDerivative:
    """The derivative of the gradients along a direction, by differences of step 2**-14.

    The error of a central difference is a third of its distance from that of twice the step, to leading order; four times that
    distance is allowed, and what rounding the gradients can add. Where relu has a kink in between, the two are far apart.
    """
    wide, near = _difference(case, values, direction, STEP), _difference(case, values, direction, STEP / 2)
    allowed = {}
    for name, array in near.items():
        spread = SHORTER * np.abs(array - wide[name]).max(initial=0.0)
        size = max(np.abs(array).max(initial=0.0) for array in near.values())
        allowed[name] = np.full(array.shape, spread + FLOOR * size + ROUNDOFF * size / STEP)
    return SecondDerivative(near, allowed)


def _difference(case: Case, values: Values, direction: Mapping[str, Array], step: float) -> dict[str, Array]:
    ahead, behind = (Expected(case, _moved(values, direction, sign * step)).gradients for sign in (1.0, -1.0))
    return {name: (ahead[name] - behind[name]) / (2 * step) for name in ahead}


def _moved(values: Values, direction: Mapping[str, Array], step: float) -> Values:
    weights = {name: array + step * direction[name] for name, array in values.weights.items()}
    return replace(values, weights=weights, input=values.input + step * direction["input"], h_0=values.h_0 + step * direction["h_0"])

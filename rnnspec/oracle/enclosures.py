"""Numbers with bounds on their errors, for equations that are written once for both.

The cells with gates write their equations for a type of numbers. With arrays they give the
reference, and with enclosures a bound on the errors of every implementation. An enclosure knows
four things of a number that two computations have, the reference and the layer under test:

    value      what the reference has
    error      by how much the two may differ
    reach      how large the number of the layer under test may be; it never exceeds
               |value| + error, but a gate does not exceed 1 even if nothing else is known of it
    magnitude  at least the sum of the magnitudes of all products that the number is made of, in
               both computations

After an operation the error is that of the operands, propagated, plus two roundings to the dtype,
relative to the magnitude. The magnitude of a sum is the sum of the magnitudes, and that of a
product is their product, as if all brackets were multiplied out. So every order of evaluation that
is algebraically equal is covered: an implementation adds, subtracts and multiplies the same
products, and rounds each of them at most twice as often as the equation has operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from rnnspec.oracle.layers import Array
from rnnspec.oracle.rounding import (
    REFERENCE_K,
    REFERENCE_SIGMOID_K,
    REFERENCE_U,
    SIGMOID_K_REL,
    SLOP,
    Rounding,
)


@dataclass(frozen=True)
class ElementRounding:
    """What enclosures need of a rounding: the same numbers, computed once for many operations.

    roundoff  the relative error of an operation: two roundings by each of both computations
    """

    roundoff: float
    relative_tanh: float
    relative_sigmoid: float
    absolute: float
    u: float
    eta: float
    largest: float

    @classmethod
    def from_rounding(cls, rounding: Rounding) -> ElementRounding:
        """Return these numbers for a rounding."""
        return cls(
            roundoff=rounding.factor(2),
            relative_tanh=rounding.k_rel * rounding.u_st,
            relative_sigmoid=SIGMOID_K_REL * rounding.u_st,
            absolute=rounding.k_abs * rounding.u_st,
            u=rounding.u_st,
            eta=rounding.eta,
            largest=rounding.largest,
        )

    def enclose(self, value: Array, error: Array) -> Enclosed:
        """Return the enclosure of a stored number, which may be flushed to zero when it is read."""
        error = error + self.eta
        reach = np.abs(value) + error
        return Enclosed(value, error, reach, reach, self)


@dataclass(frozen=True)
class Enclosed:
    """Numbers with bounds on their errors; see the module. The arrays have one shape.

    The magnitude is inf if an implementation may overflow on the way to the number.
    """

    value: Array
    error: Array
    reach: Array
    magnitude: Array
    rounding: ElementRounding

    def __getitem__(self, index: Any) -> Enclosed:
        return Enclosed(
            self.value[index],
            self.error[index],
            self.reach[index],
            self.magnitude[index],
            self.rounding,
        )

    def __add__(self, other: Enclosed) -> Enclosed:
        return self._add(self.value + other.value, other)

    def __sub__(self, other: Enclosed) -> Enclosed:
        return self._add(self.value - other.value, other)

    def __rsub__(self, constant: float) -> Enclosed:
        size = abs(constant)
        return self._round(
            constant - self.value, self.error, size + self.reach, size + self.magnitude
        )

    def __mul__(self, other: Enclosed) -> Enclosed:
        # x~ y~ - x y = x~ (y~ - y) + y (x~ - x) = y~ (x~ - x) + x (y~ - y)
        moved = np.minimum(
            self.reach * other.error + np.abs(other.value) * self.error,
            other.reach * self.error + np.abs(self.value) * other.error,
        )
        return self._round(
            self.value * other.value,
            moved,
            self.reach * other.reach,
            self.magnitude * other.magnitude,
        )

    def mix(self, first: Enclosed, second: Enclosed) -> Enclosed:
        """Return (1 - z) a + z b for a gate z and numbers a and b, as one operation.

        With errors d of z, e of a and f of b, the change of the exact result is
        d (b - a) + (1 - z - d) e + (z + d) f, and the result is no larger than a and b. An
        implementation may compute a + z (b - a) or b + (1 - z) (a - b) instead, so both numbers
        count with 1 + z. It rounds each product at most four times: it subtracts, multiplies, adds
        and stores. A gate is between 0 and 1, as every formula of `Rounding` computes it.
        """
        rounding, weight = self.rounding, self.value
        value = (1.0 - weight) * first.value + weight * second.value
        magnitude = (1.0 + self.magnitude) * (first.magnitude + second.magnitude)
        magnitude = np.where(magnitude <= rounding.largest, magnitude, np.inf)
        moved = (
            self.error * np.abs(second.value - first.value)
            + (1.0 - weight) * first.error
            + weight * second.error
            + self.error * np.abs(first.error - second.error)
        )
        rounded = 2.0 * rounding.roundoff * magnitude + 4.0 * rounding.eta
        reach = np.maximum(first.reach, second.reach) + rounded
        size, error = np.abs(value), moved + rounded
        return Enclosed(
            value,
            np.minimum(error, size + reach),
            np.minimum(reach, size + error),
            magnitude,
            rounding,
        )

    def allow_remainder(self) -> Enclosed:
        """Return this gate z, which may also be computed as 1 - (1 - z)."""
        return self._round(self.value, self.error, self.reach, 1.0 + self.magnitude)

    def allow_underflow(self, factors: Sequence[Enclosed]) -> Enclosed:
        """Return this product of factors, of which some may be multiplied first and underflow.

        What underflows is off by eta, and the other factors multiply that.
        """
        partners = np.asarray(self.rounding.eta)
        for factor in factors:
            partners = partners * (1.0 + factor.reach)
        error, reach = self.error + partners, self.reach + partners
        return Enclosed(self.value, error, reach, self.magnitude, self.rounding)

    def tanh(self) -> Enclosed:
        """Return the tanh: monotone, so its change is exact, plus the error of evaluating it."""
        value = np.tanh(self.value)
        size = np.abs(value)
        spread = spread_tanh(np.abs(self.value), size, self.error)
        return self._store(value, size, spread, REFERENCE_K, self.rounding.relative_tanh)

    def sigmoid(self) -> Enclosed:
        """Return the sigmoid, treated like tanh: sigmoid(s) = (1 + tanh(s / 2)) / 2."""
        value = compute_sigmoid(self.value)
        half = 0.5 * np.abs(self.value)
        spread = 0.5 * spread_tanh(half, np.tanh(half), 0.5 * self.error)
        relative = self.rounding.relative_sigmoid
        return self._store(value, value, spread, REFERENCE_SIGMOID_K, relative)

    def tanh_slope(self) -> Enclosed:
        """Return the slope 1 - y**2 of tanh, where y is this value of tanh."""
        slope = 1.0 - self.value * self.value
        moved = self.error * (2.0 * np.abs(self.value) + self.error)
        error = np.minimum(moved, np.maximum(slope, 1.0 - slope)) + TANH_SLOPE_K * self.rounding.u
        error = error + (4.0 * REFERENCE_U + self.rounding.eta)
        return self._settle(slope, error, slope + error)

    def sigmoid_slope(self) -> Enclosed:
        """Return the slope y (1 - y) of the sigmoid, where y is this value of the sigmoid.

        |y~ (1 - y~) - y (1 - y)| <= e (|1 - 2 y| + e), and both slopes are between 0 and 1/4.
        Evaluating y (1 - y) or y - y**2 has an error of 2 y u, evaluating (1 - t**2) / 4 with
        t = tanh(x / 2) one of u, and evaluating E / (1 + E)**2 with E = exp(-x) one of
        8 y (1 - y) u.
        """
        slope = self.value * (1.0 - self.value)
        moved = self.error * (np.abs(1.0 - 2.0 * self.value) + self.error)
        rounded = (1.0 + 2.0 * self.value + 8.0 * slope) * self.rounding.u
        error = np.minimum(moved, 0.25) + rounded
        error = error + (4.0 * REFERENCE_U + self.rounding.eta)
        return self._settle(slope, error, slope + error)

    def bound(self) -> Array:
        """Return the error, but inf where an implementation may overflow."""
        within = self.magnitude + self.error <= self.rounding.largest
        return np.where(within, self.error * SLOP, np.inf)

    def _add(self, value: Array, other: Enclosed) -> Enclosed:
        return self._round(
            value,
            self.error + other.error,
            self.reach + other.reach,
            self.magnitude + other.magnitude,
        )

    def _round(self, value: Array, moved: Array, reach: Array, magnitude: Array) -> Enclosed:
        magnitude = np.where(magnitude <= self.rounding.largest, magnitude, np.inf)
        rounded = self.rounding.roundoff * magnitude + self.rounding.eta
        size, error, reach = np.abs(value), moved + rounded, reach + rounded
        return Enclosed(
            value,
            np.minimum(error, size + reach),
            np.minimum(reach, size + error),
            magnitude,
            self.rounding,
        )

    def _store(
        self, value: Array, size: Array, spread: Array, reference: float, relative: float
    ) -> Enclosed:
        # The layer under test evaluates at its own argument, where the value is at most 1.
        absolute = self.rounding.absolute + self.rounding.eta
        own = relative * np.minimum(size + spread, 1.0) + absolute
        error = spread + own + reference * REFERENCE_U * size
        return self._settle(value, error, np.minimum(size + error, 1.0 + relative + absolute))

    def _settle(self, value: Array, error: Array, reach: Array) -> Enclosed:
        known = self.magnitude < np.inf
        error, reach = np.where(known, error, np.inf), np.where(known, reach, np.inf)
        return Enclosed(value, error, reach, np.maximum(np.abs(value), reach), self.rounding)


Number = TypeVar("Number", Array, Enclosed)
"""What the equations of a cell compute with.

Anything else works as well that has arithmetic and the methods `tanh` and `sigmoid`.
"""

TANH_SLOPE_K = 5.0
"""The absolute error of evaluating the slope of tanh, in units of the roundoff.

Evaluating 1 - y**2 has an error of 1. Evaluating 4 exp(2 x) / (1 + exp(2 x))**2 has an error of
(4 y + 4) (1 - y**2), which is at most 4.75.
"""


def tanh(numbers: Number) -> Number:
    """Return the tanh of numbers."""
    if not isinstance(numbers, Enclosed) and isinstance(numbers, np.ndarray):
        return np.tanh(numbers)
    return numbers.tanh()


def sigmoid(numbers: Number) -> Number:
    """Return the sigmoid of numbers."""
    if not isinstance(numbers, Enclosed) and isinstance(numbers, np.ndarray):
        return compute_sigmoid(numbers)
    return numbers.sigmoid()


def tanh_slope(values: Number) -> Number:
    """Return the slopes of tanh where it has these values."""
    return values.tanh_slope() if isinstance(values, Enclosed) else 1.0 - values * values


def sigmoid_slope(values: Number) -> Number:
    """Return the slopes of the sigmoid where it has these values."""
    return values.sigmoid_slope() if isinstance(values, Enclosed) else values * (1.0 - values)


def remainder(weight: Number) -> Number:
    """Return a gate z: what is left of 1 without 1 - z, which is how it may be computed."""
    return weight.allow_remainder() if isinstance(weight, Enclosed) else weight


def multiply(*factors: Number) -> Number:
    """Return the product of three or more factors, which may be multiplied in any order."""
    product = factors[0]
    for factor in factors[1:]:
        product = product * factor
    if isinstance(product, Enclosed):
        return product.allow_underflow([each for each in factors if isinstance(each, Enclosed)])
    return product


def mix(weight: Number, first: Number, second: Number) -> Number:
    """Return (1 - weight) * first + weight * second, where the weight is a gate."""
    if isinstance(weight, Enclosed):
        assert isinstance(first, Enclosed)
        assert isinstance(second, Enclosed)
        return weight.mix(first, second)
    return (1.0 - weight) * first + weight * second


def compute_sigmoid(sums: Array) -> Array:
    """Return the sigmoid; it is 0 where exp overflows, and NaN propagates."""
    values: Array = 1.0 / (1.0 + np.exp(-sums))
    return values


def spread_tanh(folded: Array, value: Array, distance: Array) -> Array:
    """Return the largest |tanh(s + e) - tanh(s)| with |e| <= distance, from |s| and |tanh s|."""
    # tanh(a) - tanh(b) = tanh(a - b) (1 - tanh(a) tanh(b)), and tanh changes most towards zero.
    # The 16 u cover the cancellation in the bracket.
    return np.tanh(distance) * ((1.0 + 16.0 * REFERENCE_U) - value * np.tanh(folded - distance))

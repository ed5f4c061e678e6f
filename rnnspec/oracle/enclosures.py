"""Numbers with bounds on their errors, used by equations that are written once for both.

The cells with gates write their equations for a type of numbers. Using arrays, they compute the
reference; using enclosures, a bound on the errors of every implementation. An enclosure describes a
number that two computations have, the reference and the layer under test, by four values:

    value      the number in the reference
    error      the largest difference between both numbers
    reach      the largest magnitude in the layer under test; it never exceeds |value| + error, and
               a gate does not exceed 1 even if nothing else is known about it
    magnitude  at least the sum of the magnitudes of all products that the number is made of, in
               both computations

After an operation, the error is the propagated error of the operands, plus two roundings to the
dtype, relative to the magnitude. The magnitude of a sum is the sum of the magnitudes, and the
magnitude of a product is their product, as if all brackets were multiplied out. So every order of
evaluation that is algebraically equal is covered: an implementation adds, subtracts and multiplies
the same products, and rounds each of them at most twice as often as the equation has operations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

HALF, ONE, INFINITE = np.array(0.5), np.array(1.0), np.array(np.inf)
ABOVE_ONE = np.array(1.0 + 16.0 * REFERENCE_U)
"""Constants as arrays: on small arrays, an operation with a Python number takes half as
long again."""


@dataclass(frozen=True)
class ElementRounding:
    """The properties of a rounding that enclosures use, computed once for many operations.

    They are arrays without axes. `roundoff` is the relative error of an operation: two roundings by
    each of the two computations.
    """

    roundoff: Array
    relative_tanh: Array
    relative_sigmoid: Array
    absolute: Array
    u: Array
    eta: Array
    largest: Array

    @classmethod
    def from_rounding(cls, rounding: Rounding) -> ElementRounding:
        """Return these properties of a rounding."""
        return cls(
            roundoff=np.array(rounding.factor(2)),
            relative_tanh=np.array(rounding.k_rel * rounding.u_st),
            relative_sigmoid=np.array(SIGMOID_K_REL * rounding.u_st),
            absolute=np.array(rounding.k_abs * rounding.u_st),
            u=np.array(rounding.u_st),
            eta=np.array(rounding.eta),
            largest=np.array(rounding.largest),
        )

    def enclose(self, value: Array, error: Array) -> Enclosed:
        """Return the enclosure of a stored number, which may be flushed to zero when it is read."""
        parts = np.empty((4, *value.shape))
        parts[0] = value
        np.add(error, self.eta, out=parts[1])
        np.add(np.abs(value), parts[1], out=parts[2])
        parts[3] = parts[2]
        return Enclosed(parts, self)


class Enclosed:
    """Numbers with bounds on their errors, as described in the module.

    parts  (4, ...) the value, error, reach and magnitude, in an array so that a single operation
           changes all four; the magnitude is inf if an implementation may overflow on the way
    """

    __slots__ = ("parts", "rounding")

    def __init__(self, parts: Array, rounding: ElementRounding) -> None:
        self.parts = parts
        self.rounding = rounding

    @property
    def value(self) -> Array:
        """The numbers in the reference."""
        return self.parts[0]  # type: ignore[no-any-return]

    @property
    def error(self) -> Array:
        """The largest differences between the two computations."""
        return self.parts[1]  # type: ignore[no-any-return]

    @property
    def reach(self) -> Array:
        """The largest magnitudes in the layer under test."""
        return self.parts[2]  # type: ignore[no-any-return]

    @property
    def magnitude(self) -> Array:
        """The largest sum of the magnitudes of all products."""
        return self.parts[3]  # type: ignore[no-any-return]

    def __getitem__(self, index: tuple[Any, ...]) -> Enclosed:
        return Enclosed(self.parts[(slice(None), *index)], self.rounding)

    def __add__(self, other: Enclosed) -> Enclosed:
        return self._round(self.parts + other.parts)

    def __sub__(self, other: Enclosed) -> Enclosed:
        parts = self.parts + other.parts
        np.subtract(self.value, other.value, out=parts[0])
        return self._round(parts)

    def __rsub__(self, constant: float) -> Enclosed:
        parts = self.parts.copy()
        np.subtract(constant, self.value, out=parts[0])
        parts[2:] += abs(constant)
        return self._round(parts)

    def __mul__(self, other: Enclosed) -> Enclosed:
        # x~ y~ - x y = x~ (y~ - y) + y (x~ - x) = y~ (x~ - x) + x (y~ - y)
        parts = self.parts * other.parts
        np.minimum(
            self.reach * other.error + np.abs(other.value) * self.error,
            other.reach * self.error + np.abs(self.value) * other.error,
            out=parts[1],
        )
        return self._round(parts)

    def mix(self, first: Enclosed, second: Enclosed) -> Enclosed:
        """Return (1 - z) a + z b for a gate z and numbers a and b, as a single operation.

        With errors d of z, e of a and f of b, the change of the exact result is d (b - a) + (1 - z
        - d) e + (z + d) f, and the result is no larger than a and b. An implementation may compute
        a + z (b - a) or b + (1 - z) (a - b) instead, so both numbers count with 1 + z. It rounds
        each product at most four times: it subtracts, multiplies, adds and stores. A gate is
        between 0 and 1 in every formula of `Rounding`.
        """
        rounding, weight = self.rounding, self.value
        rest = ONE - weight
        parts = rest * first.parts + weight * second.parts
        parts[1] += self.error * np.abs(second.value - first.value) + self.error * np.abs(
            first.error - second.error
        )
        magnitude = (ONE + self.magnitude) * (first.magnitude + second.magnitude)
        parts[3] = np.where(magnitude <= rounding.largest, magnitude, INFINITE)
        rounded = 2.0 * rounding.roundoff * parts[3] + 4.0 * rounding.eta
        parts[1] += rounded
        np.add(np.maximum(first.reach, second.reach), rounded, out=parts[2])
        return self._limit(parts)

    def allow_remainder(self) -> Enclosed:
        """Return this gate z, which an implementation may also compute as 1 - (1 - z)."""
        parts = self.parts.copy()
        np.add(self.magnitude, ONE, out=parts[3])
        return self._round(parts)

    def allow_underflow(self, factors: Sequence[Enclosed]) -> Enclosed:
        """Return this product of factors, some of which may be multiplied first and underflow.

        An underflow has an error of eta, which the other factors multiply.
        """
        partners = self.rounding.eta
        for factor in factors:
            partners = partners * (ONE + factor.reach)
        parts = self.parts.copy()
        parts[1:3] += partners
        return Enclosed(parts, self.rounding)

    def allow_separate_slopes(
        self, received: Enclosed, difference: Enclosed, slope: Enclosed
    ) -> Enclosed:
        """Return this product, in which each term of the difference may have a slope of its own.

        An implementation that evaluates 1 - z as the sigmoid of -x evaluates its slope as well, so
        the errors of both slopes multiply the terms and not their difference.
        """
        parts = self.parts.copy()
        parts[1:3] += received.reach * difference.magnitude * slope.error
        return self._limit(parts)

    def tanh(self) -> Enclosed:
        """Return the tanh: monotone, so its change is exact, plus the error of evaluating it."""
        value = np.tanh(self.value)
        size = np.abs(value)
        spread = spread_tanh(np.abs(self.value), size, self.error)
        return self._store(value, size, spread, REFERENCE_K, self.rounding.relative_tanh)

    def sigmoid(self) -> Enclosed:
        """Return the sigmoid, treated like tanh: sigmoid(s) = (1 + tanh(s / 2)) / 2."""
        value = compute_sigmoid(self.value)
        half = HALF * np.abs(self.value)
        spread = HALF * spread_tanh(half, np.tanh(half), HALF * self.error)
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
        """Return the error, or inf where an implementation may overflow."""
        within = self.magnitude + self.error <= self.rounding.largest
        return np.where(within, self.error * SLOP, INFINITE)

    def _round(self, parts: Array) -> Enclosed:
        """Return the result of an operation from its parts without rounding."""
        rounding, magnitude = self.rounding, parts[3]
        # The negation also catches NaN.
        np.copyto(magnitude, INFINITE, where=~(magnitude <= rounding.largest))
        parts[1:3] += rounding.roundoff * magnitude + rounding.eta
        return self._limit(parts)

    def _limit(self, parts: Array) -> Enclosed:
        """Return parts with error <= |value| + reach and reach <= |value| + error."""
        pair = parts[1:3]
        np.minimum(pair, np.abs(parts[0]) + pair[::-1], out=pair)
        return Enclosed(parts, self.rounding)

    def _store(
        self, value: Array, size: Array, spread: Array, reference: float, relative: Array
    ) -> Enclosed:
        # The layer under test evaluates at its own argument, where the value is at most 1.
        absolute = self.rounding.absolute + self.rounding.eta
        own = relative * np.minimum(size + spread, ONE) + absolute
        error = spread + own + np.asarray(reference * REFERENCE_U) * size
        return self._settle(value, error, np.minimum(size + error, ONE + relative + absolute))

    def _settle(self, value: Array, error: Array, reach: Array) -> Enclosed:
        parts = np.empty_like(self.parts)
        parts[0], parts[1], parts[2] = value, error, reach
        np.copyto(parts[1:3], INFINITE, where=~(self.magnitude < INFINITE))
        np.maximum(np.abs(value), parts[2], out=parts[3])
        return Enclosed(parts, self.rounding)


Number = TypeVar("Number", Array, Enclosed)
"""The numbers of the equations of a cell.

Any other type works as well if it has arithmetic and the methods `tanh` and `sigmoid`.
"""

TANH_SLOPE_K = 5.0
"""The absolute error of evaluating the slope of tanh, in units of the roundoff.

Evaluating 1 - y**2 has an error of 1. Evaluating 4 exp(2 x) / (1 + exp(2 x))**2 has an error of (4
y + 4) (1 - y**2), which is at most 4.75.
"""


def tanh(numbers: Number) -> Number:
    """Return the tanh of numbers."""
    # The first condition is for the type checker: the second does not exclude Enclosed.
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
    """Return a gate z as the remainder 1 - (1 - z), which an implementation may compute."""
    return weight.allow_remainder() if isinstance(weight, Enclosed) else weight


def multiply(*factors: Number) -> Number:
    """Return the product of three or more factors, which may be multiplied in any order."""
    product = factors[0]
    for factor in factors[1:]:
        product = product * factor
    return allow_any_order(product, *factors)


def allow_any_order(product: Number, *factors: Number) -> Number:
    """Return the product of three or more factors, which may be multiplied in any order."""
    if isinstance(product, Enclosed):
        return product.allow_underflow([each for each in factors if isinstance(each, Enclosed)])
    return product


def allow_separate_slopes(
    product: Number, received: Number, difference: Number, slope: Number
) -> Number:
    """Return received * difference * slope, where each term may have a slope of its own."""
    if isinstance(product, Enclosed):
        assert isinstance(received, Enclosed)
        assert isinstance(difference, Enclosed)
        assert isinstance(slope, Enclosed)
        return product.allow_separate_slopes(received, difference, slope)
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
    values: Array = ONE / (ONE + np.exp(-sums))
    return values


def spread_tanh(folded: Array, value: Array, distance: Array) -> Array:
    """Return the largest |tanh(s + e) - tanh(s)| with |e| <= distance, using |s| and |tanh s|."""
    # tanh(a) - tanh(b) = tanh(a - b) (1 - tanh(a) tanh(b)), and tanh changes most towards zero.
    # The 16 u cover the cancellation in the bracket.
    return np.tanh(distance) * (ABOVE_ONE - value * np.tanh(folded - distance))


def stack(numbers: Sequence[Number]) -> Number:
    """Return blocks (..., H) of numbers side by side."""
    first = numbers[0]
    if not isinstance(first, Enclosed):
        return np.concatenate(numbers, axis=-1)
    enclosed: Sequence[Enclosed] = numbers
    return Enclosed(np.concatenate([each.parts for each in enclosed], axis=-1), first.rounding)


def split(numbers: Number, blocks: int) -> tuple[Number, ...]:
    """Return the blocks of numbers that are side by side."""
    values = numbers.value if isinstance(numbers, Enclosed) else numbers
    size = values.shape[-1] // blocks
    return tuple(numbers[..., size * block : size * (block + 1)] for block in range(blocks))


def apply_to_each(function: Callable[..., Number], *blocks: Sequence[Number]) -> Sequence[Number]:
    """Return the result of a function for each block of numbers, evaluated together if enclosed."""
    if not isinstance(blocks[0][0], Enclosed):
        return [function(*each) for each in zip(*blocks, strict=True)]
    return split(function(*map(stack, blocks)), len(blocks[0]))

"""Values that are the same in every arithmetic: sums that do not round, and settled activations."""

from __future__ import annotations

import numpy as np

from rnnspec.oracle.layers import Array, Flags

SATURATED = 32.0
"""At this magnitude and above, |tanh| is 1 in every dtype up to float64, with any formula."""

SATURATED_SIGMOID = 1024.0
"""At this magnitude and above, the sigmoid is 0 or 1 in every dtype up to float64.

exp(1024) overflows and exp(-1024) underflows to 0 in every dtype, also if it is computed as a power
of 2. So 1 / (1 + exp(-x)) is 1 / (1 + 0) or 1 / inf, exp(x) / (1 + exp(x)) is 0 / 1 for negative
arguments, and (1 + tanh(x / 2)) / 2 is (1 + 1) / 2 or (1 - 1) / 2, all of which are exact.
"""


def has_settled_tanh(sums: Array, alive: Flags) -> bool:
    """Return whether tanh is 0 or saturated except at padding, so that it does not round."""
    size = np.abs(sums)
    return bool((((size == 0.0) | (size >= SATURATED)) | ~alive).all())


def has_settled_sigmoid(sums: Array, alive: Flags) -> bool:
    """Return whether the sigmoid is 0, 1/2 or 1 except at padding, with any formula."""
    size = np.abs(sums)
    return bool((((size == 0.0) | (size >= SATURATED_SIGMOID)) | ~alive).all())


def has_exact_sums(products: list[tuple[Array, ...]], magnitude: Array, limit: float) -> bool:
    """Return whether sums of these products, up to this magnitude, are exact.

    They are exact if they are multiples of a common power of two and less than `limit` times that
    power. The operands must satisfy the same condition.
    """
    # The operands count as well, because a layer may round them before it multiplies, as TF32 does.
    operands = [operand for product in products for operand in product]
    if not all(np.abs(operand).max(initial=0.0) < limit * unit(operand) for operand in operands):
        return False
    common = min(float(np.prod([unit(operand) for operand in product])) for product in products)
    return bool((magnitude < limit * common).all())


def unit(values: Array) -> float:
    """Return the largest power of two that divides every value.

    The result is inf if all values are zero, and NaN if a value is not finite.
    """
    if not np.isfinite(values).all():
        return float("nan")
    # A mantissa of float64 has 53 bits, so `whole` is an integer. Its lowest set bit is the largest
    # power of two that divides it.
    mantissa, exponent = np.frexp(values[values != 0.0])
    whole = (mantissa * 2.0**53).astype(np.int64)
    return float(np.ldexp((whole & -whole).astype(np.float64), exponent - 53).min(initial=np.inf))

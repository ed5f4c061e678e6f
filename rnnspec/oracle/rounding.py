"""Rounding models: what arithmetic an implementation may use, as a handful of numbers."""

from __future__ import annotations

from dataclasses import dataclass
from math import expm1, log1p

REFERENCE_U = 2.0**-53
"""Unit roundoff of the reference itself."""

REFERENCE_K = 4.0
"""Relative error of NumPy's tanh, in units of REFERENCE_U (2 ulp)."""

SLOP = 1.0 + 2.0**-40
"""Covers the rounding of the bound's own evaluation: more than (H + 20) * 2**-53 for any H below 8000, once a step."""


@dataclass(frozen=True)
class Rounding:
    """One class of implementations; u is a unit roundoff, half the distance from 1 to the next larger number.

    u_op     rounding of the operands of a product (TF32)
    u_acc    rounding of products and partial sums
    u_st     rounding of stored intermediates, and of what is returned
    c_st     how many times a sum may be stored on its way
    k_rel    relative error of tanh, in u_st
    k_abs    absolute error of tanh, in u_st
    eta      absolute error where a result underflows
    largest  largest finite number: beyond it the model does not apply

    tanh may be the library's, (1 - e) / (1 + e), 2 sigmoid(2 x) - 1 or sinh / cosh. With a relative error eps of exp or sigmoid and
    y = |tanh x| these are off by eps (1 - y^2) / 2 + 3 u y, eps (1 + y) + u y and eps (1 - y^2) + 3 u y. With eps = 4 u (2 ulp) the
    second is the largest, (4 + 5 y) u <= (5 + 4 y) u; one more u covers an exp whose error grows with its argument. Step by step in a
    16-bit dtype eps is u, and the worst is a sigmoid made of 1 / (1 + e): (2.5 + 3 y) u.
    """

    name: str
    u_op: float
    u_acc: float
    u_st: float
    c_st: int
    k_rel: float
    k_abs: float
    eta: float
    largest: float

    def gamma(self, terms: float, stores: int = 0) -> float:
        """Relative error of a sum of so many products, in any order, stored c_st + stores times, plus the reference's.

        (1 + u_acc)^terms (1 + u_op)^2 (1 + u_st)^(c_st + stores) - 1, by expm1 and log1p since 1 + 2**-53 rounds to 1.
        """
        judged = (
            terms * log1p(self.u_acc)
            + 2 * log1p(self.u_op)
            + (self.c_st + stores) * log1p(self.u_st)
        )
        return expm1(judged) + expm1((terms + 2) * log1p(REFERENCE_U))

    def factor(self, roundings: float) -> float:
        """Relative error of a value that is rounded to the dtype so many times, with the reference's own."""
        return expm1(roundings * log1p(self.u_st)) + expm1(roundings * log1p(REFERENCE_U))


ROUNDINGS: dict[str, Rounding] = {
    model.name: model
    for model in (
        Rounding(
            "float64",
            0.0,
            2.0**-53,
            2.0**-53,
            4,
            4.0,
            6.0,
            2.0**-1022,
            (2.0 - 2.0**-52) * 2.0**1023,
        ),
        Rounding(
            "float32", 0.0, 2.0**-24, 2.0**-24, 4, 4.0, 6.0, 2.0**-126, (2.0 - 2.0**-23) * 2.0**127
        ),
        # Tensor cores truncate partial sums, and may truncate TF32 operands: twice the roundoff of rounding to nearest.
        Rounding(
            "tf32",
            2.0**-10,
            2.0**-23,
            2.0**-24,
            4,
            4.0,
            6.0,
            2.0**-126,
            (2.0 - 2.0**-23) * 2.0**127,
        ),
        Rounding(
            "bfloat16", 0.0, 2.0**-23, 2.0**-8, 4, 3.0, 3.0, 2.0**-126, (2.0 - 2.0**-7) * 2.0**127
        ),
        Rounding("float16", 0.0, 2.0**-23, 2.0**-11, 4, 3.0, 3.0, 2.0**-24, 65504.0),
    )
}
"""Every rounding model by name."""

"""Models of rounding: the arithmetic of each dtype and precision, as a few numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import expm1, log1p, sqrt

REFERENCE_U = 2.0**-53
"""The unit roundoff of the reference."""

REFERENCE_K = 4.0
"""The relative error of NumPy's tanh, in units of REFERENCE_U (2 ulp)."""

REFERENCE_SIGMOID_K = 6.0
"""The relative error of the reference's 1 / (1 + exp(-x)), in units of REFERENCE_U.

It is 4 for NumPy's exp (2 ulp), plus 1 for the sum and 1 for the quotient.
"""

SIGMOID_K_REL = 2.0
"""The relative error of the sigmoid, in units of u_st; see Rounding for its derivation."""

LARGEST_EXPONENT = 600.0
"""The exponent at which gamma stops growing. Times any number of a dtype, e**600 is beyond its
largest number, so the bound is inf."""

USUAL_FACTOR = 4.0
"""The largest multiple of its usual error that a sum may have without being suspicious.

With a factor of 1, the largest error among the arithmetics in tests/oracle/variants.py is 0.88 of
the limit, for truncated TF32, and 0.45 of it for the others and for torch's own layers.
"""

SLOP = 1.0 + 2.0**-40
"""A factor that covers the rounding errors of evaluating a bound; use it once per step.

It exceeds 1 + (H + 20) * 2**-53 for any hidden size H below 8000.
"""


@dataclass(frozen=True)
class Rounding:
    """The rounding used by a class of implementations.

    A unit roundoff is half the distance from 1 to the next larger number.

    u_op     unit roundoff of the operands of a product (TF32)
    u_acc    unit roundoff of products and partial sums; in 16-bit dtypes the same as u_st
    u_st     unit roundoff of stored intermediates and of returned values
    c_st     how many times a sum may be stored while it is computed
    k_rel    relative error of tanh, in units of u_st
    k_abs    absolute error of tanh and of the sigmoid, in units of u_st
    eta      absolute error of a result that underflows
    largest  the largest finite number; the bound of a value that may exceed it is inf

    A sum of n products goes through a tree of n - 1 additions, in whatever order they are made: one
    term after the other, from either end, pairwise, or over blocks. A product is rounded once, and
    then at most once in each of the n - 1 additions above it, so it is multiplied by at most n
    factors of 1 + u_acc. If the products and partial sums of a 16-bit dtype are themselves rounded
    to 16 bits, u_acc = u_st, and the sum is off by at most ((1 + u_st)^n - 1) sum |w| |x|. This
    includes sums that are partly added in float32, and every mixture of both. A partial sum may
    overflow although the whole sum does not; no partial sum exceeds the sum of the magnitudes and
    its error, so the bound is inf if that exceeds `largest`.

    An implementation may call a library's tanh, or compute it as (1 - e) / (1 + e) with an
    exponential e, as 2 sigmoid(2 x) - 1, or as sinh / cosh. Let eps be the relative error of exp or
    sigmoid, and let y = |tanh x|. The errors of the three formulas are eps (1 - y^2) / 2 + 3 u y,
    eps (1 + y) + u y, and eps (1 - y^2) + 3 u y. With eps = 4 u (2 ulp), the second is the largest:
    (4 + 5 y) u <= (5 + 4 y) u. One more u covers an exp whose error grows with its argument. In a
    16-bit dtype in which every step is stored, eps is u, and the largest error is that of a sigmoid
    computed as 1 / (1 + e): (2.5 + 3 y) u.

    The sigmoid y may be computed as 1 / (1 + e) with e = exp(-x), as e / (1 + e) with e = exp(x),
    or as (1 + t) / 2 with t = tanh(x / 2). The first two have a relative error of
    eps (1 - y) + 2 u, so with eps = 5 u an error of at most (7 - 5 y) y u <= 2.5 u. The third has
    half the error of t, which is at most (k_abs + k_rel |t|) u, and one rounding of 1 + t, which is
    y u; the product with 1/2 is exact. As |t| <= 1 and k_rel <= k_abs, that is at most
    (k_abs + y) u. The second u of y is for storing it in the dtype, so the error of a sigmoid is
    (k_abs + 2 y) u. If exp(-x) overflows, y is 0 instead of less than 1 / largest, which k_abs and
    eta cover.
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
        """Return the relative error of a sum of `terms` products, in any order.

        The sum is stored c_st + stores times, so the error of the layer under test is (1 +
        u_acc)^terms (1 + u_op)^2 (1 + u_st)^(c_st + stores) - 1. The error of the reference is
        added.
        """
        # Use expm1 and log1p, because 1 + 2**-53 rounds to 1.
        tested = (
            terms * log1p(self.u_acc)
            + 2 * log1p(self.u_op)
            + (self.c_st + stores) * log1p(self.u_st)
        )
        # expm1 raises OverflowError above 709, which sums of more than 180,000 terms in 16 bits
        # exceed.
        return expm1(min(tested, LARGEST_EXPONENT)) + expm1((terms + 2) * log1p(REFERENCE_U))

    def usual(self, terms: float, stores: int = 0) -> float:
        """Return the usual error of a sum of `terms` products, times `USUAL_FACTOR`.

        It is relative to the size of partial sums. If their roundings are independent of each
        other, the error grows like sqrt(n) u, not like n u (Higham and Mary 2019, theorem 2.4). The
        sum is stored, and operands are rounded, as in `gamma`.
        """
        roundoff = self.u_acc * sqrt(terms) + (self.c_st + stores) * self.u_st + 2.0 * self.u_op
        return USUAL_FACTOR * roundoff

    def factor(self, roundings: float) -> float:
        """Return the relative error of a value that is rounded to the dtype `roundings` times.

        The error of the reference is added.
        """
        return expm1(roundings * log1p(self.u_st)) + expm1(roundings * log1p(REFERENCE_U))


_FLOAT32 = Rounding(
    "float32", 0.0, 2.0**-24, 2.0**-24, 4, 4.0, 6.0, 2.0**-126, (2.0 - 2.0**-23) * 2.0**127
)
_BFLOAT16 = Rounding(
    "bfloat16", 0.0, 2.0**-8, 2.0**-8, 4, 3.0, 3.0, 2.0**-126, (2.0 - 2.0**-7) * 2.0**127
)
# float16 has subnormal numbers down to 2**-24. Other dtypes may flush a number below the smallest
# normal number to zero.
_FLOAT16 = Rounding("float16", 0.0, 2.0**-11, 2.0**-11, 4, 3.0, 3.0, 2.0**-24, 65504.0)

# Tensor cores truncate partial sums in float32 and may truncate TF32 operands. Truncation has twice
# the unit roundoff of rounding to nearest.
_TRUNCATED_U = 2.0**-23

ROUNDINGS: dict[str, Rounding] = {
    rounding.name: rounding
    for rounding in (
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
        _FLOAT32,
        replace(_FLOAT32, name="tf32", u_op=2.0**-10, u_acc=_TRUNCATED_U),
        _BFLOAT16,
        _FLOAT16,
    )
}
"""The rounding used for each dtype, and for float32 with TF32, by name."""

AUTOCAST: dict[str, Rounding] = {
    each.name: replace(each, name=f"{each.name} under autocast", u_op=each.u_st)
    for each in (_BFLOAT16, _FLOAT16)
}
"""The rounding used for a layer in float32 whose products are autocast, operands included, by the
dtype of autocast."""

FLOAT32_SUMS: dict[str, Rounding] = {
    each.name: replace(each, name=f"{each.name} with float32 sums", u_acc=_TRUNCATED_U)
    for each in (_BFLOAT16, _FLOAT16)
}
"""The rounding used for a layer in a 16-bit dtype that adds in float32, as torch's kernels do, by
dtype."""

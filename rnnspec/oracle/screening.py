"""Thresholds of differences that need a bound, which costs ten times as much as the reference.

A difference below the threshold is not compared with its bound, so a fault of that size goes
unnoticed, but no layer is ever accused because of it. Thresholds are in units of the roundoff of
the dtype, times max(1, |expected|).
"""

from __future__ import annotations

COARSE = 64.0
"""The usual threshold: 7e-15 in float64, 4e-6 in float32.

Correct kernels in float64 and float32 stay below it in nearly all generated cases (their sums of up
to 1025 products are off by about the square root of the number of terms), so the bound is rarely
computed.
"""

SUMMED = 2048.0
"""The threshold for gradients in float64 and float32 that differ by less than `COARSE` roundoffs of
the largest element of their tensor: 2e-13 in float64, 1e-4 in float32.

A gradient sums terms of all steps and samples, and is rounded like the largest of them, also where
the sum is small. Of the gradients in a quick check of nn.LSTM that differ by more than `COARSE`
from the reference, the largest differ by 1,885 roundoffs of their own size and by 24 of the
largest element.
"""

FINE = 8.0
"""The threshold used by rules about 16-bit dtypes, where 64 roundoffs of bfloat16 are 0.25.

Kernels that add in float32 round a result only a few times (once for each stored intermediate), so
they stay below 8 roundoffs; the bound decides about larger differences.
"""

SMALL_ERROR = 1e-4
"""A smaller relative error is a lack of precision, and not another formula."""

REPEATED_PREDICTION = 1e-5
"""The largest difference of two predictions of a model, relative to 1 + |prediction|, in float32.

The same model computes both from the same input, in training and in evaluation mode or by its two
read-outs. They may take different kernels, which add in another order: that changes a sum of n
products by at most about n * 2**-24, or 6e-6 for n = 100, the largest width of the generated
inputs.
"""

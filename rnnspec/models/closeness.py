"""Compare predictions: are they equal, and does a prediction depend on a changed input?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# The same sequence in a batch of another size may use a kernel that adds in another order, and no
# error bound is known for a user's model. The tolerances for float64 and float32 are far above that
# difference, and far below the effect of reading padding or another sample. The tolerance for
# float64 allows for a constant such as 1e-8 in a denominator. The 16-bit tolerances are a dozen
# roundoffs.
TOLERANCE = {torch.float64: 1e-6, torch.float16: 1e-2, torch.bfloat16: 1e-1}
"""The largest difference between equal predictions, relative to 1 + |prediction|, by dtype."""

DEFAULT_TOLERANCE = 1e-3
"""The tolerance for all other dtypes."""

# If a model subtracts the maximum of the batch before a softmax, the maximum cancels except for
# rounding: 3e-17 in a prediction of 0.3. A constant that keeps a denominator from zero, as in
# w / (w.sum(1) + 1e-8), leaves about as much as the constant. Samples that really mix change each
# other's predictions by 1e-3 and more. The tolerance in float32 is 800 roundoffs, because the
# numbers that cancel may be a hundred times as large as the result.
DEPENDENCE = {torch.float64: 1e-6, torch.float16: 1e-2, torch.bfloat16: 1e-1}
"""The largest relative change of a prediction that does not count as a dependence, by dtype."""

DEFAULT_DEPENDENCE = 1e-4
"""The same limit for all other dtypes."""


def find_changes(before: Tensor, after: Tensor) -> Tensor:
    """Return where two predictions of the same shape differ by more than cancellation explains.

    Changes are relative to the size of a number, but at least to the largest prediction or 1,
    whichever is smaller: a probability among thousands is small, and a class masked by -1e9 hides
    no other.
    """
    sizes = torch.where(before.isfinite(), before.abs(), torch.zeros_like(before.abs()))
    least = sizes.max().clamp(max=1.0) if sizes.numel() else 1.0
    is_close = (after - before).abs() <= _choose_dependence(before) * sizes.clamp(min=least)
    return ~(is_close | (before == after) | (before.isnan() & after.isnan()))


def find_sources(gradients: Sequence[Tensor]) -> list[Tensor]:
    """Return where gradients are larger than the remains of terms that cancel."""
    largest = max((float(each.abs().max()) for each in gradients if each.numel()), default=0.0)
    return [each.abs() > _choose_dependence(each) * largest for each in gradients]


def _choose_dependence(values: Tensor) -> float:
    return DEPENDENCE.get(values.dtype, DEFAULT_DEPENDENCE)


def find_difference(expected: Tensor, got: Tensor) -> tuple[int, ...] | None:
    """Return the index of the first difference between two tensors of the same shape, or None.

    NaN equals NaN and differs from any number.
    """
    relative = TOLERANCE.get(expected.dtype, DEFAULT_TOLERANCE)
    is_close = ((expected - got).abs() <= relative * (1 + expected.abs())) & expected.isfinite()
    same = is_close | (expected == got) | (expected.isnan() & got.isnan())
    return None if bool(same.all()) else tuple((~same).nonzero()[0].tolist())

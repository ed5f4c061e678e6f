"""Whether two predictions agree, and whether one depends on what was changed in between."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# The same sequence in a batch of another size may take a kernel that adds in another order, and no
# error bound is known for a user's model. The tolerances for float64 and float32 are far above that
# difference, and far below the effect of padding or of another sample that is read. That for
# float64 leaves room for a constant such as 1e-8 in a denominator. In 16 bits, they are a dozen
# roundoffs.
TOLERANCE = {torch.float64: 1e-6, torch.float16: 1e-2, torch.bfloat16: 1e-1}
"""The largest difference of equal predictions, relative to 1 + |prediction|, by dtype."""

DEFAULT_TOLERANCE = 1e-3
"""The tolerance for every dtype that is not in `TOLERANCE`."""

# A maximum over the batch that is subtracted before a softmax cancels: of it, rounding remains,
# 3e-17 in a prediction of 0.3. A constant that keeps a denominator from zero, as in
# w / (w.sum(1) + 1e-8), leaves about as much as the constant. Samples that really mix change each
# other's predictions by 1e-3 and more. The tolerance in float32 is 800 roundoffs, because what
# cancels may be a hundred times as large as what remains.
DEPENDENCE = {torch.float64: 1e-6, torch.float16: 1e-2, torch.bfloat16: 1e-1}
"""The largest change of a prediction, relative to its size, that is no dependence, by dtype."""

DEFAULT_DEPENDENCE = 1e-4
"""The same for every dtype that is not in `DEPENDENCE`."""


def find_changes(before: Tensor, after: Tensor) -> Tensor:
    """Return where two predictions of one shape differ by more than what cancels leaves behind.

    The size of a number is at least that of the largest prediction, or 1 if that is larger: a
    probability among thousands is small, and a class that is masked by -1e9 hides no other.
    """
    sizes = torch.where(before.isfinite(), before.abs(), torch.zeros_like(before.abs()))
    least = sizes.max().clamp(max=1.0) if sizes.numel() else 1.0
    is_close = (after - before).abs() <= _choose_dependence(before) * sizes.clamp(min=least)
    return ~(is_close | (before == after) | (before.isnan() & after.isnan()))


def find_sources(gradients: Sequence[Tensor]) -> list[Tensor]:
    """Return where gradients of one number are more than what is left of gradients that cancel."""
    largest = max((float(each.abs().max()) for each in gradients if each.numel()), default=0.0)
    return [each.abs() > _choose_dependence(each) * largest for each in gradients]


def _choose_dependence(values: Tensor) -> float:
    return DEPENDENCE.get(values.dtype, DEFAULT_DEPENDENCE)


def find_difference(expected: Tensor, got: Tensor) -> tuple[int, ...] | None:
    """Return the index of the first number that differs between two tensors of one shape, or None.

    A number that is NaN in one of them only differs; one that is NaN in both does not.
    """
    relative = TOLERANCE.get(expected.dtype, DEFAULT_TOLERANCE)
    is_close = ((expected - got).abs() <= relative * (1 + expected.abs())) & expected.isfinite()
    same = is_close | (expected == got) | (expected.isnan() & got.isnan())
    return None if bool(same.all()) else tuple((~same).nonzero()[0].tolist())

"""Whether two predictions for one sequence agree that were made in calls of different sizes."""

from __future__ import annotations

import torch
from torch import Tensor

# The same sequence in a batch of another size may take a kernel that adds in another order, and no
# error bound is known for a user's model. The tolerances for float64 and float32 are far above that
# difference, and far below the effect of padding or of another sample that is read. In 16
# bits, they are a dozen roundoffs.
TOLERANCE = {torch.float64: 1e-9, torch.float16: 1e-2, torch.bfloat16: 1e-1}
"""The largest difference of equal predictions, relative to 1 + |prediction|, by dtype."""

DEFAULT_TOLERANCE = 1e-3
"""The tolerance for every dtype that is not in `TOLERANCE`."""


def find_difference(expected: Tensor, got: Tensor) -> tuple[int, ...] | None:
    """Return the index of the first number that differs between two tensors of one shape, or None.

    A number that is NaN in one of them only differs; one that is NaN in both does not.
    """
    relative = TOLERANCE.get(expected.dtype, DEFAULT_TOLERANCE)
    is_close = ((expected - got).abs() <= relative * (1 + expected.abs())) & expected.isfinite()
    same = is_close | (expected == got) | (expected.isnan() & got.isnan())
    return None if bool(same.all()) else tuple((~same).nonzero()[0].tolist())

"""Mistakes with small numbers, which are zero below a limit. It is inferred from a case.

The limit is reported only if the same limit explains all cases.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from rnnspec.mistakes.cell_formulas import RULES_OF_STATE
from rnnspec.mistakes.clips import Clip, find_limits
from rnnspec.mistakes.evidence import Evidence
from rnnspec.mistakes.hypothesis import Hypothesis
from rnnspec.mistakes.situations import has_cell_state

# By the definition of the format, with 5 bits for the exponent and 10 for the fraction.
SMALLEST_HALF, LEAST_HALF = 2.0**-14, 2.0**-24
"""The smallest normal number of float16, and its smallest number of all."""
LIMITS = (0.1, 0.01, 1e-3, 1e-4, SMALLEST_HALF, 1e-5, 1e-6, 1e-7, LEAST_HALF, 1e-8)
"""The limits below which numbers may be replaced by zero, the largest first."""
RANKS = {
    limit: rank for rank, limit in enumerate(dict.fromkeys((SMALLEST_HALF, LEAST_HALF, *LIMITS)))
}
"""The ranks of limits. If no number lies between two limits, the limit with the lower rank is
reported."""


@dataclass(frozen=True)
class Flush(Clip):
    """A state whose small numbers may be replaced by zero."""

    doing: str = "flushed"
    done: str = "smaller than {:.3g} are taken for zero"
    remedy: str = "keep small numbers as they are"

    def limit_to(self, limit: float) -> Hypothesis:
        """Return the hypothesis that numbers below a limit are replaced by zero."""
        return replace(super().limit_to(limit), rank=RANKS[limit])


def flush(limit: float, numbers: Tensor) -> Tensor:
    """Return numbers with zero for numbers that are smaller than a limit."""
    return torch.where(numbers.abs() < limit, torch.zeros_like(numbers), numbers)


FLUSHES: tuple[Flush, ...] = (
    Flush(
        "h",
        "numbers of the hidden state that are {}",
        lambda limit: {"updated.h": partial(flush, limit)},
        rules=("recurrence.output",),
    ),
    Flush(
        "c",
        "numbers of the cell state that are {}",
        lambda limit: {"c": partial(flush, limit)},
        has_cell_state,
        rules=RULES_OF_STATE,
    ),
)
"""The states whose small numbers may be replaced by zero."""


def infer_flushes(case: Evidence) -> Iterator[Hypothesis]:
    """Yield the hypotheses that a wrong case suggests."""
    for state in FLUSHES:
        yield from find_limits(case, state, LIMITS)

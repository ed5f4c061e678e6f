"""Compare the two in 16 bits: as modules of such a dtype, and under autocast."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from rnnspec.comparing.evaluation import Pair, PairCase, convert_module, is_real
from rnnspec.subjects.failures import Ended, Failure

# Two modules that round to 16 bits in other places differ by about the error of one of them: in the
# right candidates of the tests by at most 2.1 times it.
SLACK_OF_HALVES = 8.0
"""The tolerance as a multiple of the error of the reference in 16 bits."""
# At one part in four, a result that is half as large as it should be would pass soon.
LARGEST_ERROR = 0.25
"""Results are not compared if the tolerance exceeds this share of the largest result."""


@dataclass(frozen=True)
class Half:
    """A use in 16 bits: a dtype, and whether the modules stay in float32 under autocast."""

    dtype: torch.dtype
    is_autocast: bool

    def describe(self) -> str:
        """Return the use in words."""
        name = str(self.dtype).removeprefix("torch.")
        return f"under autocast to {name}" if self.is_autocast else f"in {name}"

    def prepare(self, module: nn.Module) -> nn.Module:
        """Return a module for this use."""
        return module if self.is_autocast else module.to(self.dtype)

    def open(self, device: str) -> AbstractContextManager[Any]:
        """Return the context of a call."""
        kind = device.partition(":")[0]
        return torch.autocast(kind, self.dtype) if self.is_autocast else nullcontext()

    def round(self, value: Any) -> Any:
        """Return an argument of a call in this use."""
        return value.to(self.dtype) if is_real(value) and not self.is_autocast else value


HALVES = tuple(
    Half(dtype, is_autocast)
    for dtype in (torch.bfloat16, torch.float16)
    for is_autocast in (False, True)
)


def find_wrong_halves(pair: Pair, case: PairCase) -> list[str]:
    """Return the uses in 16 bits for which the candidate's numbers are wrong, in words.

    A use that the reference or the candidate refuses is left out.
    """
    return [half.describe() for half in HALVES if _is_wrong(pair, case, half)]


def _is_wrong(pair: Pair, case: PairCase, half: Half) -> bool:
    given = pair.make_given(case).map(half.round)
    # The reference in float64, with weights that are rounded to 16 bits.
    wide = convert_module(half.prepare(pair.build_reference(case)).float())
    sides = (pair.recipe.reference, pair.recipe.candidate)
    try:
        exact = pair.call_exactly(wide, given.map(_widen), case)
        modules = (half.prepare(pair.build(side, case)) for side in sides)
        with half.open(pair.device):
            theirs, mine = map(pair.call, sides, modules, (given, given), (case, case))
    except Ended:
        raise
    except Failure:
        return False
    for name, each in exact.items():
        largest = float(each.abs().max()) if each.numel() else 0.0
        error = float((theirs[name].double() - each).abs().max()) if each.numel() else 0.0
        tolerance = SLACK_OF_HALVES * max(error, torch.finfo(half.dtype).eps * largest)
        got = mine.get(name)
        if got is None or got.shape != each.shape or tolerance > LARGEST_ERROR * largest:
            continue
        if not bool(((got.double() - each).abs() <= tolerance).all()):
            return True
    return False


def _widen(value: Any) -> Any:
    return value.double() if is_real(value) else value

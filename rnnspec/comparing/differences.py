"""Find where the results of a candidate differ from the expected ones."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch
from torch import Tensor

from rnnspec.comparing.evaluation import ExpectedResults, Results
from rnnspec.models.steps import find_cause, phrase_error
from rnnspec.subjects.failures import Failure, Unsupported


class DifferenceKind(Enum):
    """The kind of a difference: in the form of the results, or in their numbers.

    RAISES is an exception that says nothing about why, and REFUSES one by which code says that it
    does not take something: AssertionError, ValueError or NotImplementedError.
    """

    RAISES = "raises"
    REFUSES = "refuses"
    FORM = "form"
    SHAPE = "shape"
    DTYPE = "dtype"
    VALUES = "values"


@dataclass(frozen=True)
class ResultDifference:
    """One difference: its kind, the place of the result, and a description.

    `times` is how many times the tolerance the largest error is, and `count` how many of how many
    numbers are wrong.
    """

    kind: DifferenceKind
    place: str
    text: str
    times: float = 0.0


REFUSALS = (AssertionError, ValueError, NotImplementedError)


def describe_failure(failure: Failure) -> ResultDifference:
    """Return the difference of a candidate that raises in a call."""
    is_refusal = isinstance(find_cause(failure), REFUSALS) or isinstance(failure, Unsupported)
    kind = DifferenceKind.REFUSES if is_refusal else DifferenceKind.RAISES
    return ResultDifference(kind, "output", f"it {phrase_error(failure)}")


def find_difference(expected: ExpectedResults, got: Results) -> ResultDifference | None:
    """Return the first difference of a candidate's results, or None."""
    if expected.results.keys() != got.keys():
        names = ", ".join(expected.results), ", ".join(got) or "no tensor"
        return ResultDifference(
            DifferenceKind.FORM, "output", f"it returns {names[1]}, expected {names[0]}"
        )
    for name, exact in expected.results.items():
        found = _compare_tensor(
            name, exact, got[name], expected.single[name], expected.tolerances[name]
        )
        if found is not None:
            return found
    return None


def _compare_tensor(
    name: str, exact: Tensor, got: Tensor, like: Tensor, tolerance: float
) -> ResultDifference | None:
    if got.shape != exact.shape:
        shapes = tuple(got.shape), tuple(exact.shape)
        return ResultDifference(
            DifferenceKind.SHAPE, name, f"{name} has shape {shapes[0]}, expected {shapes[1]}"
        )
    if got.dtype is not like.dtype:
        return ResultDifference(
            DifferenceKind.DTYPE, name, f"{name} is {got.dtype}, expected {like.dtype}"
        )
    if not exact.is_floating_point():
        return (
            None
            if torch.equal(exact, got)
            else ResultDifference(DifferenceKind.VALUES, name, f"{name} differs")
        )
    wrong = find_wrong(exact, got, tolerance)
    if not bool(wrong.any()):
        return None
    error = (got.double() - exact).abs().nan_to_num(torch.inf, torch.inf).masked_fill(~wrong, -1)
    index = tuple(map(int, np.unravel_index(int(error.argmax()), error.shape)))
    times = float(error.max()) / tolerance if tolerance else torch.inf
    place = name + (f"[{', '.join(map(str, index))}]" if index else "")
    return ResultDifference(
        DifferenceKind.VALUES,
        name,
        f"{place} is {float(got[index]):.6g}, expected {float(exact[index]):.6g} "
        f"({times:.2g} times the tolerance, {int(wrong.sum())} of {wrong.numel()} numbers)",
        times,
    )


def find_wrong(exact: Tensor, got: Tensor, tolerance: float) -> Tensor:
    """Return where numbers are further than a tolerance from exact ones, or not finite alone."""
    wide = got.double()
    same = (wide == exact) | (wide.isnan() & exact.isnan())
    return ~(same | ((wide - exact).abs() <= tolerance))

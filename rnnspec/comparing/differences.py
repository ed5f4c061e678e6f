"""Find where the results of a candidate differ from the expected results."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial

import numpy as np
import torch
from torch import Tensor

from rnnspec.comparing.beside import call_beside
from rnnspec.comparing.evaluation import (
    SLACK,
    UNITS,
    ExpectedResults,
    Pair,
    PairCase,
    Precision,
    ResultTensors,
)
from rnnspec.comparing.proved import Proof, find_proof
from rnnspec.comparing.rows import estimate_work
from rnnspec.models.steps import find_cause, phrase_error
from rnnspec.subjects.failures import Ended, Failure, Unsupported


class DifferenceKind(Enum):
    """The kind of a difference: in the form of the results, or in their numbers.

    REFUSES is one of the exceptions with which code refuses an argument: AssertionError, ValueError
    or NotImplementedError. RAISES is any other exception.
    """

    RAISES = "raises"
    REFUSES = "refuses"
    FORM = "form"
    SHAPE = "shape"
    DTYPE = "dtype"
    VALUES = "values"


@dataclass(frozen=True)
class ResultDifference:
    """A difference: its kind, a description, the exception if any, and the tolerances."""

    kind: DifferenceKind
    text: str
    error: BaseException | None = None
    tolerances: tuple[float, ...] = ()


# A process more takes some hundredths of a second.
LONG = 1e10
"""A case with more work than this calls the reference in a separate process."""
REFUSALS = (AssertionError, ValueError, NotImplementedError)


def describe_failure(failure: Failure) -> ResultDifference:
    """Return the difference of a candidate that raises in a call."""
    error = find_cause(failure)
    is_refusal = isinstance(error, REFUSALS) or isinstance(failure, Unsupported)
    kind = DifferenceKind.REFUSES if is_refusal else DifferenceKind.RAISES
    return ResultDifference(kind, f"it {phrase_error(failure)}", error)


def compare_case(pair: Pair, case: PairCase, draws: int | None = None) -> ResultDifference | None:
    """Return the first difference of the two in a case, or None.

    `draws` is an argument of `Pair.compute_expected`. Raises Failure if the reference refuses the
    case.
    """
    given = pair.make_given(case)
    with ExitStack() as stack:
        try:
            reference, candidate = pair.build_both(case)
            call = partial(pair.call, pair.recipe.reference, reference, given, case)
            is_long = estimate_work(pair, case.sizes) > LONG
            beside = call_beside(call, pair.device, is_long=is_long)
            call_reference = stack.enter_context(beside)
            got = pair.call(pair.recipe.candidate, candidate, given, case)
        except Ended as error:
            return describe_failure(error)
        except Failure as error:
            pair.call_reference(case, given)
            return describe_failure(error)
        single = call_reference()
    if not are_near(single, got):
        expected = pair.compute_expected(case, given, draws, single)
        found = find_difference(expected, got)
        if found is not None:
            return replace(found, tolerances=tuple(expected.tolerances.values()))
    proof = find_proof(pair, case)
    return find_unexplained(proof, got) if proof is not None else None


def find_unexplained(proof: Proof, got: ResultTensors) -> ResultDifference | None:
    """Return the first result with an error that no rounding can explain, or None."""
    for name, exact in proof.exact.items():
        bound = proof.bounds[name]
        ratio = ((got[name].double() - exact).abs() / bound).nan_to_num(0.0)
        if bool((ratio > 1).any()):
            place, index = _find_largest(name, ratio)
            text = (
                f"{place} is {float(got[name][index]):.6g}, expected {float(exact[index]):.6g} "
                f"({float(ratio.max()):.2g} times what rounding can explain, "
                f"{int((ratio > 1).sum())} of {ratio.numel()} numbers)"
            )
            least = float(bound[index])
            tolerances = [float(each.max()) for each in proof.bounds.values()]
            tolerances[list(proof.bounds).index(name)] = least
            return ResultDifference(DifferenceKind.VALUES, text, tolerances=tuple(tolerances))
    return None


def _find_largest(name: str, values: Tensor) -> tuple[str, tuple[int, ...]]:
    """Return the place of the largest value in words, and its index."""
    index = tuple(map(int, np.unravel_index(int(values.argmax()), values.shape)))
    return name + (f"[{', '.join(map(str, index))}]" if index else ""), index


def are_near(single: ResultTensors, got: ResultTensors) -> bool:
    """Return whether results are right because they are near those of the reference in float32.

    Results within (`SLACK` - 2) * u of the reference in float32, where u is one rounding of the
    largest number, are within the tolerance whatever the error e of the reference is: they are at
    most (`SLACK` - 2) * u + e away from the exact results, and the tolerance is `SLACK` * max(e,
    u). So most right candidates need no call in float64.
    """
    return single.keys() == got.keys() and all(
        is_near(each, got[name]) for name, each in single.items()
    )


def is_near(single: Tensor, got: Tensor) -> bool:
    """Return whether a tensor is within the same distance of the reference in float32."""
    if got.shape != single.shape or got.dtype is not single.dtype:
        return False
    if torch.equal(single, got) or single.dtype is not torch.float32:
        return torch.equal(single, got)
    unit = UNITS[Precision.IEEE] * float(single.abs().max())
    return bool(((got - single).abs().double() <= (SLACK - 2) * unit).all())


def find_difference(expected: ExpectedResults, got: ResultTensors) -> ResultDifference | None:
    """Return the first difference of a candidate's results, or None."""
    if expected.results.keys() != got.keys():
        names = ", ".join(expected.results), ", ".join(got) or "no tensor"
        return ResultDifference(DifferenceKind.FORM, f"it returns {names[1]}, expected {names[0]}")
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
            DifferenceKind.SHAPE, f"{name} has shape {shapes[0]}, expected {shapes[1]}"
        )
    if got.dtype is not like.dtype:
        return ResultDifference(
            DifferenceKind.DTYPE, f"{name} is {got.dtype}, expected {like.dtype}"
        )
    if not exact.is_floating_point():
        return (
            None
            if torch.equal(exact, got)
            else ResultDifference(DifferenceKind.VALUES, f"{name} differs")
        )
    wrong = find_wrong(exact, got, tolerance)
    if not bool(wrong.any()):
        return None
    error = (got.double() - exact).abs().nan_to_num(torch.inf, torch.inf).masked_fill(~wrong, -1)
    place, index = _find_largest(name, error)
    times = float(error.max()) / tolerance if tolerance else torch.inf
    return ResultDifference(
        DifferenceKind.VALUES,
        f"{place} is {float(got[index]):.6g}, expected {float(exact[index]):.6g} "
        f"({times:.2g} times the tolerance, {int(wrong.sum())} of {wrong.numel()} numbers)",
    )


def find_wrong(exact: Tensor, got: Tensor, tolerance: float) -> Tensor:
    """Return a mask of the numbers that differ from the exact numbers by more than a tolerance."""
    wide = got.double()
    same = (wide == exact) | (wide.isnan() & exact.isnan())
    return ~(same | ((wide - exact).abs() <= tolerance))

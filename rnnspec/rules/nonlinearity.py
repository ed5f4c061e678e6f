"""The nonlinearity: which one, and what it makes of large, infinite and NaN values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rnnspec.judging.conditions import axis, one_in, predictable
from rnnspec.judging.misreadings import wrong_nonlinearity
from rnnspec.judging.relations import both_as_expected, explained, is_right, unless, works
from rnnspec.judging.rule import rule
from rnnspec.judging.spoiling import arrived, planted, proof_of, reach, spot, traceable, with_input
from rnnspec.judging.violation import agree
from rnnspec.observe.expected import Expected
from rnnspec.observe.observation import Observation

Array = NDArray[np.float64]
LARGEST = float(np.finfo(np.float64).max)
SATURATING = 2.0**20
"""A finite input at which every unit that reads them is saturated, as it is at infinity, and no sum overflows."""

ENLARGED = """large = ({input}, *given[1:])
close(layer(*large)[0], reference(*large)[0])
close(layer(*large)[1], reference(*large)[1])"""


@rule("rnn.recurrence.relu", when=axis("nonlinearity", "relu") & predictable)
def relu(seen: Observation) -> None:
    """With nonlinearity='relu' every state is max(0, the sum).

    Output and h_n are compared with the reference; about half of the sums are negative.

    Catches tanh in its place, in some layers or all, negative values that leak, an upper end.
    """
    both_as_expected(seen)


@rule("rnn.recurrence.tanh", when=axis("nonlinearity", "tanh") & predictable)
def tanh(seen: Observation) -> None:
    """With nonlinearity='tanh' every state is tanh of the sum.

    Where output or h_n differ from the reference, the reference is asked whether relu explains it.

    Catches relu in its place.
    """
    explained(lambda: both_as_expected(seen), lambda: wrong_nonlinearity(seen))


@rule("rnn.recurrence.tanh", "rnn.recurrence.relu", when=axis("values", "large", "spread", "ternary") & predictable)
def large(seen: Observation) -> None:
    """Large, tiny and zero values of either sign go through the nonlinearity as any other do.

    Inputs of up to 40, inputs from 2**-14 to 8 with exact zeros, and sums of 64 and more, compared with the reference.

    Catches sums that are clipped, exponentials that overflow, approximations that are good near zero only.
    """
    both_as_expected(seen, ENLARGED.format(input="packed._replace(data=20 * packed.data)" if seen.case.packed else "20 * x"))


@rule("rnn.recurrence.non-finite", when=axis("values", "plain") & traceable)
def infinite(seen: Observation) -> None:
    """An infinite input saturates tanh, passes relu where the sum is positive, and is else arithmetic as IEEE 754 says.

    One input is infinite. Under tanh results are those of a large finite input; under relu infinities and NaN must be where the formula
    has them, in whatever order it is summed. Judged where the layer is right about finite values, large ones included.

    Catches infinities that are cut off, counted as zero, or turned into NaN.
    """
    rng, place = np.random.default_rng(seen.case.seed), spot(seen.case)
    feature, sign = int(rng.integers(seen.case.config.input_size)), float(rng.choice((-1.0, 1.0)))
    index = (place.step, place.sample, feature)

    def fits() -> None:
        spoiled, expected = with_input(seen, index, sign * np.inf), _limit(seen, index, sign)
        proof = proof_of(seen.case, step=str(place.step), sample=place.sample, feature=str(feature), value=str(sign * np.inf))
        for name in ("output", "h_n"):
            got, limit, bound = (getattr(each, name) for each in (spoiled, expected, expected.bound))
            _fits(seen, name, got, limit, bound, proof)

    unless(lambda: not is_right(seen) or not works(with_input(seen, index, sign * SATURATING)), fits)


def _limit(seen: Observation, index: tuple[int, int, int], sign: float) -> Expected:
    value = np.inf if seen.case.config.nonlinearity == "relu" else SATURATING
    return Expected(seen.case, replace(seen.values, input=planted(seen.values.input, index, sign * value)))


def _fits(seen: Observation, name: str, got: Array, expected: Array, bound: Array, proof: str) -> None:
    """Infinities and NaN have to be the same; what is finite has to be within the bound, or finite where the bound is not."""
    allowed = np.where(np.isfinite(expected), np.minimum(bound, LARGEST), 0.0)
    agree(seen, name, got, expected, lambda: allowed, proof)


@rule("rnn.recurrence.non-finite", when=traceable & one_in(2, 1))
def nan(seen: Observation) -> None:
    """NaN in the input reaches every output that depends on it: the same and all later steps of its sample, backward the earlier ones.

    One step of one sample is NaN; where NaN is in output and h_n has to be exactly where something depends on that step. Judged where
    the layer is right about finite values.

    Catches NaN that is replaced, swallowed by relu, or spread to other samples and steps.
    """
    place = spot(seen.case)
    if is_right(seen):
        spoiled = with_input(seen, (place.step, place.sample))
        found = reach(seen.case, place.sample, steps=(place.step,))
        arrived(seen, spoiled, place.sample, found, proof_of(seen.case, step=str(place.step), sample=place.sample))

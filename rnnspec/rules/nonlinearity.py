"""The nonlinearity: which one, and what it makes of large, infinite and NaN values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rnnspec.cases.axes import Distribution
from rnnspec.diagnosis.hypotheses import find_other_nonlinearity
from rnnspec.observe.expected import Expected
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.assertions.nan_propagation import (
    choose_spot,
    compute_reach,
    find_nan,
    plant_nan,
    traceable,
    with_input,
    write_nan_snippet,
)
from rnnspec.rulekit.assertions.relations import (
    assert_both_expected,
    fail_only_if_explained,
    fail_unless_excused,
    has_right_results,
    is_right,
)
from rnnspec.rulekit.conditions import axis_is, has_value, one_in, predictable
from rnnspec.rulekit.rule import rule
from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.violation import assert_close

Array = NDArray[np.float64]
LARGEST = float(np.finfo(np.float64).max)
SATURATING = 2.0**20
"""A finite input at which every unit that reads them is saturated, as it is at infinity, and no sum overflows."""

ENLARGED = Snippet("""large = ({input}, *given[1:])
close(layer(*large)[0], reference(*large)[0])
close(layer(*large)[1], reference(*large)[1])""", (Helper.CLOSE,))


@rule("rnn.recurrence.relu", when=axis_is("nonlinearity", "relu") & predictable)
def relu(observation: Observation) -> None:
    """With nonlinearity='relu' every state is max(0, the sum).

    Output and h_n are compared with the reference; about half of the sums are negative.

    Catches tanh in its place, in some layers or all, negative values that leak, an upper end.
    """
    assert_both_expected(observation)


@rule("rnn.recurrence.tanh", when=axis_is("nonlinearity", "tanh") & predictable)
def tanh(observation: Observation) -> None:
    """With nonlinearity='tanh' every state is tanh of the sum.

    Where output or h_n differ from the reference, the reference is asked whether relu explains it.

    Catches relu in its place.
    """
    fail_only_if_explained(
        lambda: assert_both_expected(observation), lambda: find_other_nonlinearity(observation)
    )


@rule(
    "rnn.recurrence.tanh",
    "rnn.recurrence.relu",
    when=has_value(Distribution.LARGE, Distribution.SPREAD, Distribution.TERNARY) & predictable,
)
def large(observation: Observation) -> None:
    """Large, tiny and zero values of either sign go through the nonlinearity as any other do.

    Inputs of up to 40, inputs from 2**-14 to 8 with exact zeros, and sums of 64 and more, compared with the reference.

    Catches sums that are clipped, exponentials that overflow, approximations that are good near zero only.
    """
    assert_both_expected(
        observation,
        ENLARGED.format(
            input="packed._replace(data=20 * packed.data)"
            if observation.case.is_packed
            else "20 * x"
        ),
    )


@rule("rnn.recurrence.non-finite", when=has_value(Distribution.PLAIN) & traceable)
def infinite(observation: Observation) -> None:
    """An infinite input saturates tanh, passes relu where the sum is positive, and is else arithmetic as IEEE 754 says.

    One input is infinite. Under tanh results are those of a large finite input; under relu infinities and NaN must be where the formula
    has them, in whatever order it is summed. Judged where the layer is right about finite values, large ones included.

    Catches infinities that are cut off, counted as zero, or turned into NaN.
    """
    rng, place = np.random.default_rng(observation.case.seed), choose_spot(observation.case)
    feature, sign = (
        int(rng.integers(observation.case.config.input_size)),
        float(rng.choice((-1.0, 1.0))),
    )
    index = (place.step, place.sample, feature)

    def fits() -> None:
        spoiled, expected = (
            with_input(observation, index, sign * np.inf),
            _limit(observation, index, sign),
        )
        snippet = write_nan_snippet(
            observation.case,
            step=str(place.step),
            sample=place.sample,
            feature=str(feature),
            value=str(sign * np.inf),
        )
        for name in ("output", "h_n"):
            got, limit, bound = (
                getattr(each, name) for each in (spoiled, expected, expected.bound)
            )
            _fits(observation, name, got, limit, bound, snippet)

    fail_unless_excused(
        lambda: (
            not is_right(observation)
            or not has_right_results(with_input(observation, index, sign * SATURATING))
        ),
        fits,
    )


def _limit(observation: Observation, index: tuple[int, int, int], sign: float) -> Expected:
    value = np.inf if observation.case.config.nonlinearity == "relu" else SATURATING
    return Expected(
        observation.case,
        replace(observation.values, input=plant_nan(observation.values.input, index, sign * value)),
    )


def _fits(
    observation: Observation, name: str, got: Array, expected: Array, bound: Array, snippet: Snippet
) -> None:
    """Infinities and NaN have to be the same; what is finite has to be within the bound, or finite where the bound is not."""
    allowed = np.where(np.isfinite(expected), np.minimum(bound, LARGEST), 0.0)
    assert_close(observation, name, got, expected, lambda: allowed, snippet)


@rule("rnn.recurrence.non-finite", when=traceable & one_in(2, 1))
def nan(observation: Observation) -> None:
    """NaN in the input reaches every output that depends on it: the same and all later steps of its sample, backward the earlier ones.

    One step of one sample is NaN; where NaN is in output and h_n has to be exactly where something depends on that step. Judged where
    the layer is right about finite values.

    Catches NaN that is replaced, swallowed by relu, or spread to other samples and steps.
    """
    place = choose_spot(observation.case)
    if is_right(observation):
        spoiled = with_input(observation, (place.step, place.sample))
        found = compute_reach(observation.case, place.sample, steps=(place.step,))
        find_nan(
            observation,
            spoiled,
            place.sample,
            found,
            write_nan_snippet(observation.case, step=str(place.step), sample=place.sample),
        )

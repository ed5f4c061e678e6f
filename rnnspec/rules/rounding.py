"""Rules about 16-bit dtypes: how far rounding may move results and gradients."""

from __future__ import annotations

from functools import partial

from rnnspec import oracle
from rnnspec.cases.axes import Distribution, Feature
from rnnspec.cases.conditions import (
    has_known_gradients,
    has_predictable_results,
    has_value,
    has_wide_dtype,
)
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.assertions.float32_sums import (
    assert_accurate_gradients,
    assert_accurate_results,
)
from rnnspec.rulekit.assertions.relations import assert_certified, get_bound, is_right
from rnnspec.rulekit.assertions.results import (
    assert_gradients,
    assert_usual_gradients,
    list_gradient_names,
)
from rnnspec.rulekit.fixtures.swamped_sums import build_swamped_layer, can_be_swamped
from rnnspec.rulekit.rule import DROPOUT, FIRST_GRADIENTS, OF_THE_CELL, REPEATED_CALLS, Fact, rule
from rnnspec.rulekit.snippets import results as snippets
from rnnspec.rulekit.snippets.float32_sums import compare_errors, compare_swamped_errors
from rnnspec.rulekit.violation import assert_close

LARGER_FAULTS = (
    *OF_THE_CELL,
    *REPEATED_CALLS,
    "states.*",
    "stacking.*",
    "directions.*",
    "layouts.*",
    "packed.*",
    "nonlinearity.*",
    DROPOUT,
    "samples.*",
    *FIRST_GRADIENTS,
)
"""Rules that report errors larger than a lack of accuracy."""


@rule(
    "rnn.recurrence.dtypes",
    when=has_predictable_results & ~has_wide_dtype,
    about=("dtype",),
    id="recurrence.half-precision",
)
def results(observation: Observation) -> None:
    """In bfloat16 and float16, results differ from the formula by no more than rounding explains.

    Results that differ from the reference by more than 8 roundoffs are compared with a bound that
    holds even if every product and partial sum is rounded to 16 bits, in any order of summation.

    Catches faults in code that only 16-bit input reaches.
    """
    for name in observation.result_names:
        assert_close(
            observation,
            name,
            observation.get_result(name),
            observation.expected.results[name],
            partial(get_bound, observation.expected, name),
            snippets.compare_result(name),
            threshold=oracle.FINE,
        )
        assert_certified(observation, name, threshold=oracle.FINE)


@rule(
    "rnn.recurrence.float32-sums",
    when=has_predictable_results & ~has_wide_dtype,
    about=("dtype",),
    presupposes=(
        "recurrence.half-precision",
        *LARGER_FAULTS,
    ),
    id="recurrence.float32-sums",
)
def result_sums(observation: Observation) -> None:
    """In bfloat16 and float16, results are as accurate as if sums are accumulated in float32.

    Results that differ from the reference by more than 8 roundoffs are compared with a bound for
    sums that are accumulated in float32 and rounded once. In addition, a new layer with 384
    features and 96 units, whose gates are held by biases, gets numbers that are lost individually
    if they are added in 16 bits. Errors that exceed even the bound for sums in 16 bits are left to
    `recurrence.half-precision`.

    Catches sums that are rounded to 16 bits after each addition.
    """
    assert_accurate_results(observation, compare_errors)
    if can_be_swamped(observation.case):
        assert_accurate_results(build_swamped_layer(observation), compare_swamped_errors)


@rule(
    "rnn.recurrence.accuracy",
    when=has_predictable_results,
    about=("dtype",),
    presupposes=(
        Fact.RESULTS,
        "recurrence.half-precision",
        "recurrence.float32-sums",
        *LARGER_FAULTS,
    ),
    id="recurrence.accuracy",
)
def accuracy(observation: Observation) -> None:
    """Each step is as accurate as sums whose roundings are independent of each other.

    Each step is computed from the hidden state that the layer returned before it. Errors within the
    proven bound of a step are still suspicious if they exceed four times the square root of the
    number of terms, in roundoffs of the terms: correct implementations stay below a quarter of
    that, in whatever order they add. In 16 bits, sums are in float32. Wrong results are left to the
    rules about them.

    Catches input, weights or states that are rounded to a narrower dtype at large sizes, coarse
    approximations of activations, and small errors in single units or steps.
    """
    narrow = observation.expected.rounding.name
    for name in observation.result_names:
        if is_right(observation, name):
            assert_certified(
                observation,
                name,
                snippet=compare_errors(name, observation.case),
                rounding=oracle.FLOAT32_SUMS.get(narrow),
                threshold=oracle.FINE,
                is_usual=True,
            )


@rule(
    "rnn.gradients.input",
    "rnn.gradients.h_0",
    "rnn.gradients.parameters",
    when=has_known_gradients & ~has_wide_dtype,
    needs=(Feature.GRADIENTS,),
    about=("dtype",),
    presupposes=("recurrence.half-precision", "gradients.saturated"),
    id="gradients.half-precision",
)
def gradients(observation: Observation) -> None:
    """In bfloat16 and float16, gradients differ from the formula by no more than rounding explains.

    All gradients are compared with the reference, within a bound that holds even if every product
    and partial sum is rounded to 16 bits, in any order of summation.

    Catches a backward pass that is wrong only in 16-bit dtypes.
    """
    names = list_gradient_names(observation)
    assert_gradients(observation, observation.gradients, observation.expected, names)


@rule(
    "rnn.gradients.accuracy",
    when=has_known_gradients & has_wide_dtype & has_value(Distribution.NEW),
    needs=(Feature.GRADIENTS,),
    presupposes=(Fact.GRADIENTS, "recurrence.accuracy", *LARGER_FAULTS),
    id="gradients.accuracy",
)
def gradient_accuracy(observation: Observation) -> None:
    """At sizes of real models, gradients are as accurate as sums whose roundings are independent.

    In layers with newly initialised weights, the reference's backward pass runs on the hidden
    states that the layer returned. Its proven bound grows with every step, so that it would allow
    any number at such sizes. Errors are suspicious if they exceed four times the root of the summed
    squares of the roundings: correct implementations stay below a quarter of that. 16-bit dtypes
    are left out, since intermediate gradients may be stored in them.

    Catches small errors in gradients at large sizes, and a backward pass that uses a narrower
    dtype.
    """
    assert_usual_gradients(observation, compare_errors)


@rule(
    "rnn.recurrence.float32-sums",
    when=has_known_gradients & ~has_wide_dtype,
    needs=(Feature.GRADIENTS,),
    about=("dtype",),
    presupposes=(
        "gradients.half-precision",
        "recurrence.float32-sums",
        *LARGER_FAULTS,
    ),
    id="gradients.float32-sums",
)
def gradient_sums(observation: Observation) -> None:
    """In bfloat16 and float16, gradients are as accurate as if sums are accumulated in float32.

    All gradients are compared with the reference, within a bound for sums that are accumulated in
    float32 and rounded once, or once for each time step in gradients of parameters. In addition, a
    new layer with 384 features and 96 units, whose gates are held by biases, gets numbers that are
    lost individually if they are added in 16 bits. Errors that exceed even the bound for sums in 16
    bits are left to `gradients.half-precision`.

    Catches gradients that are summed in 16 bits over units or samples.
    """
    assert_accurate_gradients(observation, compare_errors)
    if can_be_swamped(observation.case):
        assert_accurate_gradients(build_swamped_layer(observation), compare_swamped_errors)

"""Rules about the nonlinearity: the function, and its values for large, infinite and NaN input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rnnspec.cases.axes import Distribution, Feature
from rnnspec.cases.conditions import (
    has_axis_value,
    has_initial_state,
    has_known_gradients,
    has_predictable_results,
    has_value,
    is_packed,
    one_in,
)
from rnnspec.contract.kinds import Nonlinearity
from rnnspec.observe.expected import Expected
from rnnspec.observe.observation import Observation
from rnnspec.oracle import Array
from rnnspec.rulekit.assertions.known_mistakes import find_mistake
from rnnspec.rulekit.assertions.nan_propagation import (
    SATURATING_INPUT,
    assert_nan_reach,
    call_with_planted_input,
    call_with_planted_state,
    can_trace_nan,
    choose_spot,
    compute_reach,
    find_sequence_length,
    plant_value,
    write_nan_snippet,
)
from rnnspec.rulekit.assertions.relations import (
    assert_all_expected,
    fail_only_if_explained,
    fail_unless_excused,
    has_right_results,
    is_right,
)
from rnnspec.rulekit.rule import FIRST_GRADIENTS, REPEATED_CALLS, STEP_FORMULAS, Fact, rule
from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.violation import assert_close, assert_identical
from rnnspec.rules.cell_state import has_cell_state

LARGEST_FINITE = float(np.finfo(np.float64).max)

ENLARGED = Snippet(
    """large = ({input}, *given[1:])
close(layer(*large)[0], reference(*large)[0])
close(layer(*large)[1], reference(*large)[1])""",
    (Helper.CLOSE,),
)


@rule(
    "rnn.recurrence.relu",
    when=has_axis_value("nonlinearity", Nonlinearity.RELU.value) & has_predictable_results,
    about=("nonlinearity",),
)
def relu(observation: Observation) -> None:
    """With `nonlinearity='relu'`, each state is max(0, x), where x is the sum of the weighted
    input, the weighted previous state and the biases.

    The results are compared with the reference. About half of the sums are negative.

    Catches tanh instead of relu (in some or all layers), negative values that leak through, and an
    upper limit.
    """
    assert_all_expected(observation)


@rule(
    "rnn.recurrence.tanh",
    when=has_axis_value("nonlinearity", Nonlinearity.TANH.value) & has_predictable_results,
    about=("nonlinearity",),
)
def tanh(observation: Observation) -> None:
    """With `nonlinearity='tanh'`, each state is tanh(x), where x is the sum of the weighted
    input, the weighted previous state and the biases.

    If a result differs from the reference, the rule fails if relu explains the results. Other
    errors are left to other rules.

    Catches relu instead of tanh.
    """
    fail_only_if_explained(
        lambda: assert_all_expected(observation),
        lambda: find_mistake(observation, "nonlinearity.tanh", "tanh.relu"),
    )


@rule(
    *STEP_FORMULAS,
    when=has_value(Distribution.LARGE, Distribution.SPREAD, Distribution.TERNARY)
    & has_predictable_results,
    about=("distribution",),
)
def large(observation: Observation) -> None:
    """Nonlinearities and gates are computed accurately for large, tiny and zero values of either
    sign.

    The results are compared with the reference, for inputs of up to 40, for inputs from 2**-14 to 8
    with exact zeros among them, or for sums of 64 and more.

    Catches clipped sums, exponentials that overflow, and approximations that are good only near
    zero.
    """
    larger = "packed._replace(data=20 * packed.data)" if observation.case.is_packed else "20 * x"
    assert_all_expected(observation, ENLARGED.format(input=larger))


is_sampled = has_value(Distribution.PLAIN) & one_in(5, of_cells=3)
keeps_ended_cell_states = (
    has_cell_state
    & has_initial_state
    & is_packed
    & has_value(Distribution.PLAIN, Distribution.SPREAD)
)
"""Cases whose sequences may end at different steps, which few cases of the sample have."""


@rule(
    "rnn.recurrence.non-finite",
    when=can_trace_nan & (is_sampled | keeps_ended_cell_states),
    presupposes=(
        Fact.RESULTS,
        "samples.*",
        "gradients.input",
        "gradients.earlier-call",
        "gradients.weights",
        "recurrence.output",
        "nonlinearity.large",
        "nonlinearity.nan",
        *REPEATED_CALLS,
    ),
)
def infinite(observation: Observation) -> None:
    """An infinite input saturates tanh, and an infinite cell state stays infinite. With relu,
    infinities and NaN follow IEEE 754 arithmetic.

    A single element of the input is infinite, or of `c_0` in the shortest sequence, if the case has
    a `c_0` and packed input or an odd seed. With tanh, the results must be the same as for a large
    finite input. With relu or an infinite `c_0`, infinities and NaN must be where the formula has
    them, in any order of summation. The rule applies if the layer is right about finite values,
    including large ones.

    Catches infinities that are clipped, treated as zero, or turned into NaN, also by a product with
    a mask of zeros.
    """
    case = observation.case
    has_cell = (has_cell_state & has_initial_state)(case)
    if has_cell and (case.is_packed or case.seed % 2):
        _assert_infinite_cell_state(observation)
    else:
        _assert_infinite_input(observation)


def _assert_infinite_cell_state(observation: Observation) -> None:
    """Raise Violation unless infinities and NaN are in the right places with an infinite `c_0`."""
    case, rng = observation.case, np.random.default_rng([observation.case.seed, 11])
    sample = min(range(case.batch), key=lambda each: find_sequence_length(case, each))
    row, unit = choose_spot(case).row, int(rng.integers(case.config.hidden_size))
    sign = float(rng.choice((-1.0, 1.0)))
    snippet = write_nan_snippet(
        case, sample=sample, row=row, state="c", unit=unit, value=str(sign * np.inf)
    )

    def assert_limits() -> None:
        spoiled = call_with_planted_state(
            observation, (row, sample, unit), sign * np.inf, letter="c"
        )
        expected = Expected(case, spoiled.values)
        bounds = expected.bound.results
        for name, got in spoiled.results.items():
            # Sums that meet an infinity have no bound.
            bound = np.nan_to_num(bounds[name], nan=np.inf, posinf=np.inf)
            _assert_limit(observation, name, got, expected.results[name], bound, snippet)

    def is_wrong_about_finite_values() -> bool:
        return not is_right(observation) or not has_right_results(
            call_with_planted_state(
                observation, (row, sample, unit), sign * SATURATING_INPUT, letter="c"
            )
        )

    fail_unless_excused(is_wrong_about_finite_values, assert_limits)


def _assert_infinite_input(observation: Observation) -> None:
    """Raise Violation unless an infinite input saturates tanh and is propagated by relu."""
    rng, spot = np.random.default_rng(observation.case.seed), choose_spot(observation.case)
    feature, sign = (
        int(rng.integers(observation.case.config.input_size)),
        float(rng.choice((-1.0, 1.0))),
    )
    index = (spot.step, spot.sample, feature)
    snippet = write_nan_snippet(
        observation.case,
        step=str(spot.step),
        sample=spot.sample,
        feature=str(feature),
        value=str(sign * np.inf),
    )

    def assert_limits() -> None:
        spoiled, expected = (
            call_with_planted_input(observation, index, sign * np.inf),
            _expect_limit(observation, index, sign),
        )
        for name, got in spoiled.results.items():
            limit, bound = expected.results[name], expected.bound.results[name]
            _assert_limit(observation, name, got, limit, bound, snippet)

    def is_wrong_about_finite_values() -> bool:
        return not is_right(observation) or not has_right_results(
            call_with_planted_input(observation, index, sign * SATURATING_INPUT)
        )

    fail_unless_excused(is_wrong_about_finite_values, assert_limits)


def _expect_limit(observation: Observation, index: tuple[int, int, int], sign: float) -> Expected:
    """Return the expected results for the infinite input.

    With tanh, they are the results for a finite input that saturates every unit that reads it.
    """
    is_relu = observation.case.config.nonlinearity == Nonlinearity.RELU
    value = np.inf if is_relu else SATURATING_INPUT
    planted = plant_value(observation.values.input, index, sign * value)
    return Expected(observation.case, replace(observation.values, input=planted))


def _assert_limit(
    observation: Observation, name: str, got: Array, expected: Array, bound: Array, snippet: Snippet
) -> None:
    """Raise Violation unless infinities and NaN are the same and finite values within the bound.

    If the bound is infinite, a finite expected value only requires a finite result.
    """
    allowed = np.where(np.isfinite(expected), np.minimum(bound, LARGEST_FINITE), 0.0)
    assert_close(observation, name, got, expected, lambda: allowed, snippet)


@rule(
    "rnn.recurrence.non-finite",
    when=can_trace_nan & one_in(5, 1),
    presupposes=(Fact.RESULTS, *REPEATED_CALLS, "samples.independent", "recurrence.causal"),
    of_cells="NaN in the input or in a state reaches the states of its sample, and no others.",
)
def nan(observation: Observation) -> None:
    """NaN in the input or in an initial state reaches every result that depends on it, and no
    other: the same and later time steps of its sample, and in the backward direction the same and
    earlier time steps.

    A single time step of a single sample is NaN or, in half of the cases with initial states, a
    row of one of them for a single sample. Output and `h_n` must be NaN exactly where they depend
    on it. The rule applies if the layer is right about finite values.

    Catches NaN that is replaced, removed by relu, or spread to other samples or time steps.
    """
    if not is_right(observation):
        return
    case, spot = observation.case, choose_spot(observation.case)
    if has_initial_state(case) and case.seed // 2 % 2:
        letters = case.config.kind_data.states
        letter = letters[case.seed // 4 % len(letters)]
        spoiled = call_with_planted_state(observation, (spot.row, spot.sample), letter=letter)
        reach = compute_reach(case, spot.sample, rows=(spot.row,))
        snippet = write_nan_snippet(case, sample=spot.sample, row=spot.row, state=letter)
    else:
        spoiled = call_with_planted_input(observation, (spot.step, spot.sample))
        reach = compute_reach(case, spot.sample, steps=(spot.step,))
        snippet = write_nan_snippet(case, step=str(spot.step), sample=spot.sample)
    assert_nan_reach(observation, spoiled, spot.sample, reach, snippet)


SLOPE_AT_ZERO = Snippet(
    """zeros = torch.zeros_like(x).requires_grad_()
with torch.no_grad():
    for name, parameter in named(layer).items():
        parameter.mul_(0.0 if "bias" in name else 1.0)
sum(result.sum() for result in list_tensors(layer(zeros))).backward()
assert not zeros.grad.any(), zeros.grad""",
    (Helper.NAMED, Helper.LIST_TENSORS, Helper.BACKWARD),
)


@rule(
    "rnn.gradients.relu-at-zero",
    when=has_axis_value("nonlinearity", Nonlinearity.RELU.value) & has_known_gradients & one_in(8),
    needs=(Feature.GRADIENTS,),
    id="nonlinearity.relu-slope-at-zero",
    presupposes=("nonlinearity.relu", *FIRST_GRADIENTS),
)
def relu_slope_at_zero(observation: Observation) -> None:
    """The derivative of relu at exactly 0 is 0.

    A new layer without biases, or with biases of 0, is called on an input and a state of zeros, so
    that every sum is exactly 0. All gradients must be 0.

    Catches slopes of 1/2 and 1.
    """
    values = observation.values
    weights = {
        name: 0.0 * array if name.startswith("bias") else array
        for name, array in values.weights.items()
    }
    zeros = observation.new_layer(
        observation.case.make_fresh(),
        weights=weights,
        input=0.0 * values.input,
        initial=0.0 * values.initial,
    )
    for name, gradient in zeros.gradients.items():
        quantity = f"with relu at 0, the gradient of {name}"
        none = np.zeros_like(gradient)
        assert_identical(quantity, gradient, none, SLOPE_AT_ZERO, case=zeros.case)

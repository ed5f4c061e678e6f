"""Gradients: every result has the derivative of the formula, with respect to everything that it depends on."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from rnnspec import oracle
from rnnspec.cases.axes import Distribution, DType, Feature, Float32Precision
from rnnspec.cases.case import Case
from rnnspec.cases.values import draw_values
from rnnspec.observe.expected import Expected
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.assertions.finite_differences import draw_direction, estimate_second_derivative
from rnnspec.rulekit.assertions.results import (
    BOTH,
    assert_gradients,
    derivable,
    exclude_masked_gradients,
    list_differentiated,
)
from rnnspec.rulekit.conditions import (
    Condition,
    batched,
    bidirectional,
    differentiable,
    has_value,
    one_in,
    packed,
    precise,
    size_at_least,
    state_given,
)
from rnnspec.rulekit.fixtures.frozen import call_frozen, choose_frozen, write_frozen_snippet
from rnnspec.rulekit.fixtures.orthogonal_weights import build_undamped_layer
from rnnspec.rulekit.rule import rule
from rnnspec.rulekit.snippets import results as snippets
from rnnspec.rulekit.snippets.gradients import (
    LATER_CALL,
    LATER_STEPS,
    OTHER_SAMPLES,
    SECOND,
    SINGLE,
    TWICE,
)
from rnnspec.rulekit.violation import Violation, assert_close, assert_identical

Array = NDArray[np.float64]
NEEDS = (Feature.GRADIENTS,)
LONG = 20

has_bias: Condition[Case] = Condition("with biases", lambda case: case.config.bias)
small: Condition[Case] = Condition(
    "sizes up to 8",
    lambda case: max(case.steps, case.batch, case.config.input_size, case.config.hidden_size) <= 8,
)
separable = (size_at_least("batch", 2) & (batched | packed)) | (~bidirectional & size_at_least("steps", 2))


@rule("rnn.gradients.input", "rnn.packed.gradients", when=derivable & precise, needs=NEEDS)
def input(observation: Observation) -> None:
    """The gradient of the results with respect to the input is that of the formula.

    Compared with back-propagation through the reference in units of the largest error that rounding can explain.

    Catches a backward pass of the wrong layout, of the wrong activation, cut off or scaled between layers or steps.
    """
    assert_gradients(observation, observation.gradients, observation.expected, ["input"])


@rule("rnn.gradients.h_0", when=derivable & precise & state_given, needs=NEEDS)
def h_0(observation: Observation) -> None:
    """The gradient of the results with respect to the initial state is that of the formula.

    Compared with back-propagation through the reference, for each layer and direction.

    Catches a state that is detached, in one layer or direction or in all.
    """
    assert_gradients(observation, observation.gradients, observation.expected, ["h_0"])


@rule("rnn.gradients.parameters", when=derivable & precise, needs=NEEDS)
def weights(observation: Observation) -> None:
    """The gradients of the results with respect to every weight matrix are those of the formula.

    Compared with back-propagation through the reference, summed over steps and samples.

    Catches gradients that are doubled, averaged, truncated in time or lost in the last rows.
    """
    assert_gradients(
        observation, observation.gradients, observation.expected, _parameters(observation, "weight")
    )


@rule("rnn.gradients.parameters", when=derivable & precise & has_bias, needs=NEEDS)
def biases(observation: Observation) -> None:
    """The gradients of the results with respect to every bias are those of the formula, the same for b_ih and b_hh.

    Compared with back-propagation through the reference, summed over steps and samples.

    Catches a bias gradient that comes from one step or sample, belongs to the other bias, or is missing above the first layer.
    """
    assert_gradients(
        observation, observation.gradients, observation.expected, _parameters(observation, "bias")
    )


@rule(
    "rnn.gradients.input",
    "rnn.gradients.h_0",
    "rnn.gradients.parameters",
    when=derivable & ~precise,
    needs=NEEDS,
)
def half_precision(observation: Observation) -> None:
    """In bfloat16 and float16 gradients differ from those of the formula by no more than rounding to that dtype explains.

    All gradients at once, compared under the rounding model of the dtype.

    Catches a backward pass that goes wrong in 16 bits only.
    """
    assert_gradients(
        observation,
        observation.gradients,
        observation.expected,
        list_differentiated(observation.case, observation.values.weights),
    )


@rule("rnn.gradients.each-result", when=derivable & one_in(4), needs=NEEDS)
def h_n_alone(observation: Observation) -> None:
    """h_n can be differentiated alone.

    A further call of which only h_n enters the sum that is differentiated; all gradients are compared with the reference's.

    Catches final states that are detached or copied out of the graph, of one direction or of all.
    """
    _alone(observation, "h_n")


@rule("rnn.gradients.each-result", when=derivable & one_in(4, 1), needs=NEEDS)
def output_alone(observation: Observation) -> None:
    """output can be differentiated alone.

    A further call of which only output enters the sum that is differentiated; all gradients are compared with the reference's.

    Catches an output that is detached in one mode or at its last step, where h_n still carries a gradient.
    """
    _alone(observation, "output")


def _alone(observation: Observation, result: str) -> None:
    call = observation.second_call().call
    if not (call.output_tensor if result == "output" else call.h_n_tensor).requires_grad:
        raise Violation(
            f"{result} carries no gradient", snippets.compare_gradients("input", (result,))
        )
    found = observation.differentiated(call, (result,))
    names = list_differentiated(observation.case, observation.values.weights)
    assert_gradients(observation, found, observation.expected.of((result,)), names, (result,))


@rule(
    "rnn.gradients.input",
    "rnn.recurrence.every-step",
    when=derivable & precise & size_at_least("steps", LONG),
    needs=NEEDS,
)
def reach_first_step(observation: Observation) -> None:
    """The gradient reaches the first step of a long sequence from the last.

    Weights that pass states on undamped, and a loss on each direction's last step alone, so that what arrives at the first step has
    gone through the whole length; compared with the reference.

    Catches back-propagation that is cut after some number of steps.
    """
    case = observation.case.replace(distribution=Distribution.PLAIN, dropout=0.0)
    lasting = observation.new_layer(case, **build_undamped_layer(case, draw_values(case)))
    found = lasting.differentiated(lasting.call, ("output",))
    names = list_differentiated(case, lasting.values.weights)
    assert_gradients(lasting, found, lasting.expected.of(("output",)), names, ("output",))


@rule(
    "rnn.gradients.input",
    "rnn.gradients.parameters",
    when=derivable & has_value(Distribution.INTEGER) & one_in(2, 1),
    needs=NEEDS,
)
def exact(observation: Observation) -> None:
    """Where every sum is exact, gradients have the same bits in whatever order an implementation adds.

    Small integers under relu; gradients that depend on the slope of relu at exactly 0, which nothing promises, are left out.

    Catches errors down to the last bit, slopes that leak below zero, sums kept in another dtype.
    """
    expected = observation.expected
    if not expected.exact_gradients:
        return
    allowed = oracle.compute_gradient_bound(
        expected.problem, expected.trace, *expected.cotangents, oracle.ROUNDINGS["float64"]
    )
    for name in exclude_masked_gradients(observation.case, observation.gradients):
        settled = allowed[name] < 0.5
        got, wanted = (
            np.where(settled, found[name], 0.0)
            for found in (observation.gradients, expected.gradients)
        )
        assert_identical(f"gradient of {name}", got, wanted, snippets.compare_gradients(name))


@rule(
    "rnn.recurrence.samples-independent",
    "rnn.recurrence.causal",
    when=differentiable & ~has_value(Distribution.TERNARY) & separable & one_in(4, 3),
    needs=NEEDS,
)
def exact_zeros(observation: Observation) -> None:
    """What a result does not depend on receives a gradient of exactly zero.

    The results of one sample with respect to all others, or in one direction the earlier outputs with respect to later input.

    Catches leaks between samples or from the future that only the backward pass has, however small.
    """
    if observation.case.batch > 1 and (
        observation.case.config.bidirectional
        or observation.case.steps == 1
        or observation.case.seed % 2
    ):
        _other_samples(observation)
    else:
        _later_steps(observation)


def _other_samples(observation: Observation) -> None:
    sample = observation.case.seed % observation.case.batch
    chosen = (np.arange(observation.case.batch) == sample)[:, None]
    marked = observation.second_call(
        d_output=observation.values.d_output * chosen, d_h_n=observation.values.d_h_n * chosen
    )
    snippet = OTHER_SAMPLES if batched(observation.case) else None
    for name, gradient in marked.differentiated(marked.call, BOTH).items():
        if name in ("input", "h_0"):
            others = np.delete(gradient, sample, axis=1)
            assert_identical(
                f"gradient of {name} of the samples other than {sample}",
                others,
                np.zeros_like(others),
                snippet,
            )


def _later_steps(observation: Observation) -> None:
    cut = (observation.case.steps + 1) // 2
    earlier = (np.arange(observation.case.steps) < cut)[:, None, None]
    marked = observation.second_call(d_output=observation.values.d_output * earlier)
    later = marked.differentiated(marked.call, ("output",))["input"][cut:]
    assert_identical(
        f"gradient of input from step {cut} on",
        later,
        np.zeros_like(later),
        LATER_STEPS if not observation.case.is_packed else None,
    )


@rule("rnn.gradients.second-backward", when=derivable & one_in(8), needs=NEEDS)
def second_backward(observation: Observation) -> None:
    """With a retained graph a second backward gives the same gradients, and gradients add up in .grad.

    Two passes with torch.autograd.grad, then on a further call, or on one of a single step and sample, two with .backward(), or one
    where twice a gradient can overflow; each is compared with the reference.

    Catches buffers that the first pass frees or overwrites, and gradients that are stored where they should be added, or share memory.
    """
    names = list_differentiated(observation.case, observation.values.weights)
    backward = observation.backward(observation.second_call().call)
    for _ in range(2):
        assert_gradients(
            observation, backward.first(BOTH), observation.expected, names, snippet=TWICE
        )
    odd = observation.case.seed % 2 == 1
    again = (
        observation.second_call()
        if odd
        else observation.second_call_as(observation.case.replace(steps=1, batch=1))
    )
    times = 2 if _fit_twice(again.expected) else 1
    found = {
        name: gradient / times
        for name, gradient in again.backward(again.call).accumulated(times).items()
    }
    assert_gradients(again, found, again.expected, names, snippet=TWICE if odd else SINGLE)


def _fit_twice(expected: Expected) -> bool:
    """Whether twice every gradient, as large as rounding can make it, is a number of the dtype."""
    doubled = (
        (2 * expected.gradient_bound[name], 2 * np.abs(gradient))
        for name, gradient in expected.gradients.items()
    )
    return all(
        bool(np.isfinite(oracle.finite(error, size, expected.rounding)).all())
        for error, size in doubled
    )


@rule(
    "rnn.gradients.parameters", "rnn.effects.stateless", when=derivable & one_in(6, 1), needs=NEEDS
)
def earlier_call(observation: Observation) -> None:
    """A call can still be differentiated after a later call of the same layer.

    The layer is called on other numbers before the gradients of the first call are taken; they are compared with the reference's.

    Catches intermediates that are kept on the layer and not with the call.
    """
    earlier, _ = (
        observation.second_call().call,
        observation.second_call(input=-observation.values.input).call,
    )
    found = observation.differentiated(earlier, BOTH)
    assert_gradients(
        observation,
        found,
        observation.expected,
        list_differentiated(observation.case, observation.values.weights),
        snippet=LATER_CALL,
    )


@rule(
    "rnn.gradients.second-order",
    when=derivable & small & one_in(3, 2),
    needs=(*NEEDS, Feature.SECOND_ORDER, Feature.FLOAT64),
)
def second_order(observation: Observation) -> None:
    """The gradients can be differentiated once more.

    In float64 their derivative along one direction over input, state and parameters is compared with differences of the
    reference's gradients.

    Catches a backward pass that cannot be differentiated, or that takes for constant what is not.
    """
    case = observation.new_layer(
        observation.case.replace(dtype=DType.FLOAT64, float32_precision=Float32Precision.IEEE, distribution=Distribution.PLAIN, dropout=0.0)
    )
    direction = draw_direction(case.case, case.values)
    found = case.backward(case.call).second(direction)
    expected = estimate_second_derivative(case.case, case.values, direction)
    for name in found:
        allowed = partial(expected.allowed.__getitem__, name)
        assert_close(
            case,
            f"second derivative of {name}",
            found[name],
            expected.values[name],
            allowed,
            SECOND,
        )


@rule("rnn.module.frozen", when=derivable & one_in(4, 2), needs=NEEDS)
def frozen(observation: Observation) -> None:
    """What requires no gradient receives none, and everything else receives the same gradient as before.

    A further call with the input and state, one kind of parameter, one layer, one parameter or all parameters frozen; the other
    gradients are compared with the reference's.

    Catches layers where one frozen parameter stops the rest, where a plain input loses the gradients of the weights, and calls that
    make frozen parameters require gradients again.
    """
    names = list_differentiated(observation.case, observation.values.weights)
    still = choose_frozen(observation.case, observation.values)
    snippet = write_frozen_snippet(still)
    with call_frozen(observation, still) as call:
        found = observation.differentiated(call, BOTH)
    thawed = [name for name in still if name in found]
    if thawed:
        raise Violation(f"{thawed[0]} was frozen and requires a gradient after a call", snippet)
    assert_gradients(
        observation,
        found,
        observation.expected,
        [name for name in names if name not in still],
        snippet=snippet,
    )


def _parameters(observation: Observation, kind: str) -> list[str]:
    return exclude_masked_gradients(
        observation.case, [name for name in observation.values.weights if name.startswith(kind)]
    )

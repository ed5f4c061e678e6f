"""Rules about gradients: they are the derivatives of the formula, for every result and tensor."""

from __future__ import annotations

from rnnspec.cases.axes import Distribution, Feature
from rnnspec.cases.case import Case
from rnnspec.cases.conditions import (
    Condition,
    has_axis_value,
    has_holdable_gates,
    has_initial_state,
    has_known_gradients,
    has_size_at_least,
    has_small_sizes,
    has_value,
    has_wide_dtype,
    is_batched,
    is_bidirectional,
    is_differentiable,
    is_packed,
    one_in,
)
from rnnspec.contract.kinds import Nonlinearity
from rnnspec.observe.backward import exclude_masked_gradients
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.assertions.gradients import (
    assert_differentiable_alone,
    assert_exact_gradients,
    assert_samples_independent,
    assert_second_derivative,
    assert_steps_causal,
    can_be_doubled,
)
from rnnspec.rulekit.assertions.results import assert_gradients, list_gradient_names
from rnnspec.rulekit.fixtures.weights import LENGTHENED, LONG, build_undamped_layer
from rnnspec.rulekit.rule import FIRST_GRADIENTS, REPEATED_CALLS, rule
from rnnspec.rulekit.snippets.gradients import (
    LATER_CALL,
    LENGTHEN,
    SATURATE,
    SECOND_BACKWARD,
    SECOND_BACKWARD_OF_ONE_STEP,
)
from rnnspec.rulekit.violation import Violation
from rnnspec.subjects.failures import Unsupported

NEEDS = (Feature.GRADIENTS,)
has_bias: Condition[Case] = Condition("bias=True", lambda case: case.config.bias)
has_independent_parts = (has_size_at_least("batch", 2) & (is_batched | is_packed)) | (
    ~is_bidirectional & has_size_at_least("steps", 2)
)


is_lengthened = has_small_sizes & ~is_packed & one_in(60, 3, with_gates=5)
"""Short cases that get a long sequence. Layers with gates get it more often, since few of their
cases have a long sequence.
"""


@rule(
    "rnn.gradients.input",
    "rnn.packed.gradients",
    when=has_known_gradients & has_wide_dtype,
    needs=NEEDS,
    id="gradients.input",
)
def input_gradient(observation: Observation) -> None:
    """The gradient with respect to the input is the derivative of the formula.

    The gradient of the input is compared with the reference's back-propagation, in units of the
    largest error that rounding can explain.

    Catches a backward pass for the wrong layout or activation, or that is cut off or scaled between
    layers or time steps.
    """
    _assert_named_gradients(observation, ["input"])


@rule(
    "rnn.gradients.h_0",
    when=has_known_gradients & has_wide_dtype & has_initial_state,
    needs=(*NEEDS, Feature.STATE_GRADIENTS),
    about=("initial_state",),
)
def h_0(observation: Observation) -> None:
    """The gradient with respect to `h_0` is the derivative of the formula.

    The gradient of `h_0` is compared with the reference's back-propagation, for each layer and
    direction.

    Catches an initial state that is detached, in some layers or directions or in all.
    """
    _assert_named_gradients(observation, ["h_0"])


@rule("rnn.gradients.parameters", when=has_known_gradients & has_wide_dtype, needs=NEEDS)
def weights(observation: Observation) -> None:
    """The gradients with respect to the weights are the derivatives of the formula.

    The gradients of the weights are compared with the reference's back-propagation, summed over
    time steps and samples.

    Catches gradients that are doubled, averaged, truncated in time, or lost in the last rows.
    """
    _assert_parameter_gradients(observation, "weight")


@rule("rnn.gradients.parameters", when=has_known_gradients & has_wide_dtype & has_bias, needs=NEEDS)
def biases(observation: Observation) -> None:
    """The gradients with respect to the biases are the derivatives of the formula.

    The gradients of the biases are compared with the reference's back-propagation, summed over time
    steps and samples. `b_ih` and `b_hh` have the same gradient, except in the new gate of a GRU.

    Catches a bias gradient that comes from only one time step or sample, that is stored in the
    other bias, or that is missing above the first layer.
    """
    _assert_parameter_gradients(observation, "bias")


def _assert_parameter_gradients(observation: Observation, kind: str) -> None:
    names = [name for name in observation.values.weights if name.startswith(kind)]
    _assert_named_gradients(observation, exclude_masked_gradients(observation.case, names))


def _assert_named_gradients(observation: Observation, names: list[str]) -> None:
    assert_gradients(observation, observation.gradients, observation.expected, names)


@rule(
    "rnn.gradients.each-result",
    "lstm.gradients.each-result",
    "lstm-cell.gradients.each-result",
    when=has_known_gradients & one_in(12, 4),
    needs=(*NEEDS, Feature.FINAL_STATE),
    presupposes=(*REPEATED_CALLS,),
    of_cells="`h_1` can be differentiated without `c_1`.",
)
def h_n_alone(observation: Observation) -> None:
    """`h_n` can be differentiated without `output`.

    In a second call, only `h_n` is differentiated. All gradients are compared with the reference.

    Catches final states that are detached or copied out of the graph, in some directions or in all.
    """
    assert_differentiable_alone(observation, observation.case.config.kind_data.name_final("h"))


@rule(
    "rnn.gradients.each-result",
    "lstm.gradients.each-result",
    when=has_known_gradients & one_in(12, 3),
    needs=NEEDS,
    presupposes=(*REPEATED_CALLS,),
)
def output_alone(observation: Observation) -> None:
    """`output` can be differentiated without `h_n`.

    In a second call, only `output` is differentiated. All gradients are compared with the
    reference.

    Catches an output that is detached in some modes, or at its last time step, although `h_n` is
    not.
    """
    assert_differentiable_alone(observation, "output")


SATURATING = 5000
"""A factor of plain input, whose sums then exceed 709: exp overflows there, even in float64."""


@rule(
    "rnn.gradients.input",
    "rnn.gradients.parameters",
    when=has_known_gradients
    & has_wide_dtype
    & has_value(Distribution.PLAIN)
    & ~has_axis_value("nonlinearity", Nonlinearity.RELU.value)
    & ~is_packed
    & one_in(2, 1),
    needs=NEEDS,
    presupposes=(*REPEATED_CALLS, *FIRST_GRADIENTS, "nonlinearity.large"),
)
def saturated(observation: Observation) -> None:
    """Gradients are finite where gates and the nonlinearity are saturated.

    In a second call, the input is 5,000 times as large, so gates are nearly 0 or 1. All gradients
    are compared with the reference.

    Catches sigmoids and tanh that divide by an exponential: if it overflows, the result can be
    right, but its derivative is infinity times zero.
    """
    second = observation.second_call(input=SATURATING * observation.values.input)
    found = second.differentiate(second.call, second.result_names)
    before, names = SATURATE.format(factor=SATURATING), list_gradient_names(second)
    assert_gradients(second, found, second.expected, names, before=before)


@rule(
    "rnn.gradients.input",
    "rnn.recurrence.every-step",
    when=has_known_gradients
    & has_wide_dtype
    & (has_size_at_least("steps", LONG) | is_lengthened)
    & has_holdable_gates,
    needs=NEEDS,
    about=("steps",),
    results=("output",),
    presupposes=("gradients.saturated",),
)
def reach_first_step(observation: Observation) -> None:
    """In a long sequence, the gradient of the last time step reaches the first one.

    In a new layer without projections, the weights pass states on undamped, and the loss depends
    only on the last time step of each direction. All gradients are compared with the reference. In
    some cases of small sizes, the layer gets 40 time steps.

    Catches back-propagation that is cut off after some number of time steps.
    """
    if observation.subject.fixed.get("proj_size"):
        raise Unsupported("proj_size is fixed, and projections damp what the weights pass on")
    undamped = build_undamped_layer(observation)
    found = undamped.differentiate(undamped.call, ("output",))
    names = list_gradient_names(undamped)
    expected = undamped.expected.restrict_to(("output",))
    before = LENGTHEN.format(steps=LENGTHENED) if observation.case.steps < LONG else None
    assert_gradients(undamped, found, expected, names, ("output",), before=before)


@rule(
    "rnn.gradients.input",
    "rnn.gradients.parameters",
    when=has_known_gradients & has_value(Distribution.INTEGER),
    needs=NEEDS,
    about=("distribution",),
)
def exact(observation: Observation) -> None:
    """If every sum is exact, the gradients are exact too, in whatever order the layer adds.

    The numbers are small integers with relu. Gradients that depend on the slope of relu at exactly
    0, which PyTorch does not document, are not compared.

    Catches errors in the last bit, a slope of relu below zero, and sums that are kept in another
    dtype.
    """
    assert_exact_gradients(observation)


@rule(
    "rnn.recurrence.samples-independent",
    "rnn.recurrence.causal",
    "use.autograd.unused",
    when=is_differentiable
    & ~has_value(Distribution.TERNARY)
    & has_independent_parts
    & one_in(10, 5, of_cells=4),
    needs=NEEDS,
    presupposes=(*REPEATED_CALLS,),
)
def exact_zeros(observation: Observation) -> None:
    """A tensor that a result does not depend on receives a gradient of exactly zero from it.

    The results of one sample are differentiated with respect to the other samples, or, in a
    unidirectional layer, the earlier outputs with respect to the later input.

    Catches leaks between samples or from later time steps that only the backward pass has, however
    small.
    """
    if observation.case.batch > 1 and (
        observation.case.config.bidirectional
        or observation.case.steps == 1
        or observation.case.seed % 2
    ):
        assert_samples_independent(observation)
    else:
        assert_steps_causal(observation)


@rule(
    "rnn.gradients.second-backward",
    "use.autograd.accumulate",
    "use.autograd.separate-gradients",
    when=has_known_gradients & one_in(20, 6, with_gates=12, of_cells=6),
    needs=NEEDS,
    presupposes=(*REPEATED_CALLS, *FIRST_GRADIENTS),
    program=SECOND_BACKWARD,
)
def second_backward(observation: Observation) -> None:
    """With a retained graph, a second backward pass gives the same gradients. Gradients accumulate
    in `.grad`.

    Two passes with `torch.autograd.grad` are compared with the reference. Then a second call, in
    some cases with a single time step and sample, is differentiated twice with `.backward()`, or
    once if doubled gradients can overflow.

    Catches buffers that the first pass frees or overwrites, and gradients that are stored instead
    of added, or that share memory.
    """
    names = list_gradient_names(observation)
    backward = observation.prepare_backward(observation.borrow_repeated().call)
    for _ in range(2):
        assert_gradients(
            observation,
            backward.compute_gradients(observation.result_names),
            observation.expected,
            names,
            snippet=SECOND_BACKWARD,
        )
    is_odd = observation.case.seed % 2 == 1
    second = (
        observation.second_call()
        if is_odd
        else observation.second_call_as(observation.case.replace(steps=1, batch=1))
    )
    times = 2 if can_be_doubled(second.expected) else 1
    accumulated = second.prepare_backward(second.call)
    sums = accumulated.accumulate_gradients(times)
    found = {name: gradient / times for name, gradient in sums.items()}
    try:
        assert_gradients(
            second,
            found,
            second.expected,
            names,
            snippet=SECOND_BACKWARD if is_odd else SECOND_BACKWARD_OF_ONE_STEP,
        )
    except Violation as broken:
        raise _name_shared_memory(broken, accumulated.sharing) from None


def _name_shared_memory(broken: Violation, sharing: list[tuple[str, str]]) -> Violation:
    """Return the violation, with any gradients that share memory added to its message."""
    if not sharing:
        return broken
    pairs = " and ".join(f"those of {one} and {other}" for one, other in sharing)
    return Violation(
        f"{broken.message}; of the gradients, {pairs} share memory, so that each also receives what"
        " is added to the other",
        broken.snippet,
        difference=broken.difference,
    )


@rule(
    "rnn.gradients.parameters",
    "rnn.effects.stateless",
    "use.autograd.interleaved",
    when=has_known_gradients & one_in(8, 1),
    needs=NEEDS,
    presupposes=(*REPEATED_CALLS, *FIRST_GRADIENTS, "gradients.second-backward"),
)
def earlier_call(observation: Observation) -> None:
    """A call can still be differentiated after the layer has been called again.

    The layer is called on other numbers before the first call is differentiated. All gradients are
    compared with the reference.

    Catches intermediate results that are stored on the layer instead of in the graph.
    """
    _ = observation.gradients  # other rules check the first backward pass of this call
    _ = observation.call_negated().call
    found = observation.differentiate(observation.call, observation.result_names)
    names = list_gradient_names(observation)
    assert_gradients(observation, found, observation.expected, names, snippet=LATER_CALL)


@rule(
    "rnn.gradients.second-order",
    when=has_known_gradients & has_small_sizes & one_in(7, 2, with_gates=4, of_cells=4),
    needs=(*NEEDS, Feature.SECOND_ORDER, Feature.FLOAT64),
    presupposes=("gradients.earlier-call", "gradients.second-backward", "side-effects.backward"),
)
def second_order(observation: Observation) -> None:
    """The gradients can be differentiated a second time.

    In float64, their derivative along a direction over input, `h_0` and parameters is compared with
    finite differences of the reference's gradients.

    Catches a backward pass that cannot be differentiated, or that treats a variable as a constant.
    """
    assert_second_derivative(observation)

"""Gradients: every result has the derivative of the formula, with respect to everything that it depends on."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from rnnspec import oracle
from rnnspec.cases.values import values_of
from rnnspec.judging import proofs
from rnnspec.judging.computing import BOTH, derivable, differentiated_names, gradients_agree, known
from rnnspec.judging.conditions import (
    Condition,
    at_least,
    axis,
    batched,
    bidirectional,
    differentiable,
    one_in,
    packed,
    precise,
    state_given,
)
from rnnspec.judging.curvature import direction_of, second_derivative
from rnnspec.judging.freezing import chosen_to_freeze, frozen_call, frozen_proof
from rnnspec.judging.gradient_proofs import LATER_CALL, LATER_STEPS, OTHER_SAMPLES, SECOND, SINGLE, TWICE
from rnnspec.judging.rule import rule
from rnnspec.judging.undamped import undamped
from rnnspec.judging.violation import agree, identical, violated
from rnnspec.observe.expected import Expected
from rnnspec.observe.observation import Observation

Array = NDArray[np.float64]
NEEDS = ("gradients",)
LONG = 20

has_bias = Condition("with biases", lambda case: case.config.bias)
small = Condition("sizes up to 8", lambda case: max(case.steps, case.batch, case.config.input_size, case.config.hidden_size) <= 8)
separable = (at_least("batch", 2) & (batched | packed)) | (~bidirectional & at_least("steps", 2))


@rule("rnn.gradients.input", "rnn.packed.gradients", when=derivable & precise, needs=NEEDS)
def input(seen: Observation) -> None:
    """The gradient of the results with respect to the input is that of the formula.

    Compared with back-propagation through the reference in units of the largest error that rounding can explain.

    Catches a backward pass of the wrong layout, of the wrong activation, cut off or scaled between layers or steps.
    """
    gradients_agree(seen, seen.gradients, seen.expected, ["input"])


@rule("rnn.gradients.h_0", when=derivable & precise & state_given, needs=NEEDS)
def h_0(seen: Observation) -> None:
    """The gradient of the results with respect to the initial state is that of the formula.

    Compared with back-propagation through the reference, for each layer and direction.

    Catches a state that is detached, in one layer or direction or in all.
    """
    gradients_agree(seen, seen.gradients, seen.expected, ["h_0"])


@rule("rnn.gradients.parameters", when=derivable & precise, needs=NEEDS)
def weights(seen: Observation) -> None:
    """The gradients of the results with respect to every weight matrix are those of the formula.

    Compared with back-propagation through the reference, summed over steps and samples.

    Catches gradients that are doubled, averaged, truncated in time or lost in the last rows.
    """
    gradients_agree(seen, seen.gradients, seen.expected, _parameters(seen, "weight"))


@rule("rnn.gradients.parameters", when=derivable & precise & has_bias, needs=NEEDS)
def biases(seen: Observation) -> None:
    """The gradients of the results with respect to every bias are those of the formula, the same for b_ih and b_hh.

    Compared with back-propagation through the reference, summed over steps and samples.

    Catches a bias gradient that comes from one step or sample, belongs to the other bias, or is missing above the first layer.
    """
    gradients_agree(seen, seen.gradients, seen.expected, _parameters(seen, "bias"))


@rule("rnn.gradients.input", "rnn.gradients.h_0", "rnn.gradients.parameters", when=derivable & ~precise, needs=NEEDS)
def low_precision(seen: Observation) -> None:
    """In bfloat16 and float16 gradients differ from those of the formula by no more than rounding to that dtype explains.

    All gradients at once, compared under the rounding model of the dtype.

    Catches a backward pass that goes wrong in 16 bits only.
    """
    gradients_agree(seen, seen.gradients, seen.expected, differentiated_names(seen.case, seen.values.weights))


@rule("rnn.gradients.each-result", when=derivable & one_in(4), needs=NEEDS)
def h_n_alone(seen: Observation) -> None:
    """h_n can be differentiated alone.

    A further call of which only h_n enters the sum that is differentiated; all gradients are compared with the reference's.

    Catches final states that are detached or copied out of the graph, of one direction or of all.
    """
    _alone(seen, "h_n")


@rule("rnn.gradients.each-result", when=derivable & one_in(4, 1), needs=NEEDS)
def output_alone(seen: Observation) -> None:
    """output can be differentiated alone.

    A further call of which only output enters the sum that is differentiated; all gradients are compared with the reference's.

    Catches an output that is detached in one mode or at its last step, where h_n still carries a gradient.
    """
    _alone(seen, "output")


def _alone(seen: Observation, result: str) -> None:
    call = seen.again().call
    if not (call.output_tensor if result == "output" else call.h_n_tensor).requires_grad:
        raise violated(f"{result} carries no gradient", proofs.gradient("input", (result,)))
    found = seen.differentiated(call, (result,))
    names = differentiated_names(seen.case, seen.values.weights)
    gradients_agree(seen, found, seen.expected.of((result,)), names, (result,))


@rule("rnn.gradients.input", "rnn.recurrence.every-step", when=derivable & precise & at_least("steps", LONG), needs=NEEDS)
def long(seen: Observation) -> None:
    """The gradient reaches the first step of a long sequence from the last.

    Weights that pass states on undamped, and a loss on each direction's last step alone, so that what arrives at the first step has
    gone through the whole length; compared with the reference.

    Catches back-propagation that is cut after some number of steps.
    """
    case = seen.case.altered(values="plain", dropout=0.0)
    lasting = seen.other(case, **undamped(case, values_of(case)))
    found = lasting.differentiated(lasting.call, ("output",))
    names = differentiated_names(case, lasting.values.weights)
    gradients_agree(lasting, found, lasting.expected.of(("output",)), names, ("output",))


@rule("rnn.gradients.input", "rnn.gradients.parameters", when=derivable & axis("values", "integer") & one_in(2, 1), needs=NEEDS)
def exact(seen: Observation) -> None:
    """Where every sum is exact, gradients have the same bits in whatever order an implementation adds.

    Small integers under relu; gradients that depend on the slope of relu at exactly 0, which nothing promises, are left out.

    Catches errors down to the last bit, slopes that leak below zero, sums kept in another dtype.
    """
    expected = seen.expected
    if not expected.exact_gradients:
        return
    allowed = oracle.gradient_bound(expected.problem, expected.trace, *expected.cotangents, oracle.ROUNDINGS["float64"])
    for name in known(seen.case, seen.gradients):
        settled = allowed[name] < 0.5
        got, wanted = (np.where(settled, found[name], 0.0) for found in (seen.gradients, expected.gradients))
        identical(f"gradient of {name}", got, wanted, proofs.gradient(name))


@rule(
    "rnn.recurrence.samples-independent",
    "rnn.recurrence.causal",
    when=differentiable & ~axis("values", "ternary") & separable & one_in(4, 3),
    needs=NEEDS,
)
def exact_zeros(seen: Observation) -> None:
    """What a result does not depend on receives a gradient of exactly zero.

    The results of one sample with respect to all others, or in one direction the earlier outputs with respect to later input.

    Catches leaks between samples or from the future that only the backward pass has, however small.
    """
    if seen.case.batch > 1 and (seen.case.config.bidirectional or seen.case.steps == 1 or seen.case.seed % 2):
        _other_samples(seen)
    else:
        _later_steps(seen)


def _other_samples(seen: Observation) -> None:
    sample = seen.case.seed % seen.case.batch
    chosen = (np.arange(seen.case.batch) == sample)[:, None]
    marked = seen.again(d_output=seen.values.d_output * chosen, d_h_n=seen.values.d_h_n * chosen)
    proof = OTHER_SAMPLES if batched(seen.case) else ""
    for name, gradient in marked.differentiated(marked.call, BOTH).items():
        if name in ("input", "h_0"):
            others = np.delete(gradient, sample, axis=1)
            identical(f"gradient of {name} of the samples other than {sample}", others, np.zeros_like(others), proof)


def _later_steps(seen: Observation) -> None:
    cut = (seen.case.steps + 1) // 2
    earlier = (np.arange(seen.case.steps) < cut)[:, None, None]
    marked = seen.again(d_output=seen.values.d_output * earlier)
    later = marked.differentiated(marked.call, ("output",))["input"][cut:]
    identical(f"gradient of input from step {cut} on", later, np.zeros_like(later), LATER_STEPS if not seen.case.packed else "")


@rule("rnn.gradients.second-backward", when=derivable & one_in(8), needs=NEEDS)
def second_backward(seen: Observation) -> None:
    """With a retained graph a second backward gives the same gradients, and gradients add up in .grad.

    Two passes with torch.autograd.grad, then on a further call, or on one of a single step and sample, two with .backward(), or one
    where twice a gradient can overflow; each is compared with the reference.

    Catches buffers that the first pass frees or overwrites, and gradients that are stored where they should be added, or share memory.
    """
    names = differentiated_names(seen.case, seen.values.weights)
    backward = seen.backward(seen.again().call)
    for _ in range(2):
        gradients_agree(seen, backward.first(BOTH), seen.expected, names, proof=TWICE)
    odd = seen.case.seed % 2 == 1
    again = seen.again() if odd else seen.called_as(seen.case.altered(steps=1, batch=1))
    times = 2 if _fit_twice(again.expected) else 1
    found = {name: gradient / times for name, gradient in again.backward(again.call).accumulated(times).items()}
    gradients_agree(again, found, again.expected, names, proof=TWICE if odd else SINGLE)


def _fit_twice(expected: Expected) -> bool:
    """Whether twice every gradient, as large as rounding can make it, is a number of the dtype."""
    doubled = ((2 * expected.gradient_bound[name], 2 * np.abs(gradient)) for name, gradient in expected.gradients.items())
    return all(bool(np.isfinite(oracle.finite(error, size, expected.rounding)).all()) for error, size in doubled)


@rule("rnn.gradients.parameters", "rnn.effects.stateless", when=derivable & one_in(6, 1), needs=NEEDS)
def earlier_call(seen: Observation) -> None:
    """A call can still be differentiated after a later call of the same layer.

    The layer is called on other numbers before the gradients of the first call are taken; they are compared with the reference's.

    Catches intermediates that are kept on the layer and not with the call.
    """
    earlier, _ = seen.again().call, seen.again(input=-seen.values.input).call
    found = seen.differentiated(earlier, BOTH)
    gradients_agree(seen, found, seen.expected, differentiated_names(seen.case, seen.values.weights), proof=LATER_CALL)


@rule(
    "rnn.gradients.second-order",
    when=derivable & small & one_in(3, 2),
    needs=(*NEEDS, "second-order", "float64"),
)
def second_order(seen: Observation) -> None:
    """The gradients can be differentiated once more.

    In float64 their derivative along one direction over input, state and parameters is compared with differences of the
    reference's gradients.

    Catches a backward pass that cannot be differentiated, or that takes for constant what is not.
    """
    case = seen.other(seen.case.altered(dtype="float64", arithmetic="ieee", values="plain", dropout=0.0))
    direction = direction_of(case.case, case.values)
    found = case.backward(case.call).second(direction)
    expected = second_derivative(case.case, case.values, direction)
    for name in found:
        allowed = partial(expected.allowed.__getitem__, name)
        agree(case, f"second derivative of {name}", found[name], expected.values[name], allowed, SECOND)


@rule("rnn.module.frozen", when=derivable & one_in(4, 2), needs=NEEDS)
def frozen(seen: Observation) -> None:
    """What requires no gradient receives none, and everything else receives the same gradient as before.

    A further call with the input and state, one kind of parameter, one layer, one parameter or all parameters frozen; the other
    gradients are compared with the reference's.

    Catches layers where one frozen parameter stops the rest, where a plain input loses the gradients of the weights, and calls that
    make frozen parameters require gradients again.
    """
    names = differentiated_names(seen.case, seen.values.weights)
    still = chosen_to_freeze(seen.case, seen.values)
    proof = frozen_proof(still)
    with frozen_call(seen, still) as call:
        found = seen.differentiated(call, BOTH)
    thawed = [name for name in still if name in found]
    if thawed:
        raise violated(f"{thawed[0]} was frozen and requires a gradient after a call", proof)
    gradients_agree(seen, found, seen.expected, [name for name in names if name not in still], proof=proof)


def _parameters(seen: Observation, kind: str) -> list[str]:
    return known(seen.case, [name for name in seen.values.weights if name.startswith(kind)])

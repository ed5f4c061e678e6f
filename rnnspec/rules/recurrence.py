"""The recurrence itself: every state follows from the input, the state before it and the weights."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from rnnspec import oracle
from rnnspec.cases.axes import ConstructorStyle, Distribution, DType, EarlierCalls
from rnnspec.cases.case import Case
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.assertions.documented_loop import run_documented_loop
from rnnspec.rulekit.assertions.nan_propagation import separable
from rnnspec.rulekit.assertions.relations import assert_expected, is_right
from rnnspec.rulekit.conditions import (
    Condition,
    axis_is,
    batched,
    bidirectional,
    dropping,
    exact_values,
    precise,
    predictable,
    size_at_least,
    state_given,
)
from rnnspec.rulekit.conditions import unbatched as single
from rnnspec.rulekit.rule import rule
from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.snippets import results as snippets
from rnnspec.rulekit.violation import Violation, assert_close, assert_identical

Array = NDArray[np.float64]

EXCHANGED = Snippet("""biases = dict(layer.named_parameters())
before = layer(*given)
with torch.no_grad():
    for name in [name for name in biases if "bias_ih" in name]:
        one, two = biases[name], biases[name.replace("bias_ih", "bias_hh")]
        one.data, two.data = two.detach().clone(), one.detach().clone()
after = layer(*given)
close(after[0], before[0])
close(after[1], before[1])""", (Helper.CLOSE,))
DTYPE = Snippet("""output, h_n = layer(*given)
assert data(output).dtype == h_n.dtype == next(reference.parameters()).dtype""", (Helper.DATA,))


@rule("rnn.recurrence.two-biases", when=axis_is("bias", True) & predictable)
def two_biases(observation: Observation) -> None:
    """b_ih and b_hh are both added, and only their sum matters.

    Where results are wrong, a further layer is given the two biases exchanged, and the results are compared.

    Catches a bias left out, added twice, or scaled.
    """
    if is_right(observation):
        return
    weights = {_twin(name): array for name, array in observation.values.weights.items()}
    case = observation.case.replace(prior_use=EarlierCalls.FRESH, constructor_style=ConstructorStyle.CHANGED)
    other = Observation(observation.subject, case, replace(observation.values, weights=weights))
    for name in ("output", "h_n"):
        assert_close(
            observation,
            name,
            getattr(other, name),
            getattr(observation, name),
            partial(_either, observation, other, name),
            EXCHANGED,
        )


def _bound_of(observation: Observation, name: str) -> Array:
    bound: Array = getattr(observation.expected.bound, name)
    return bound


def _twin(name: str) -> str:
    twins = {"bias_ih": "bias_hh", "bias_hh": "bias_ih"}
    kind, _, place = name.partition("_l")
    return f"{twins.get(kind, kind)}_l{place}"


def _either(observation: Observation, other: Observation, name: str) -> Array:
    bound: Array = getattr(observation.expected.bound, name) + getattr(other.expected.bound, name)
    return bound


@rule("rnn.recurrence.first-step", when=state_given & ~bidirectional & predictable)
def first_step(observation: Observation) -> None:
    """The state one step before the first step is the initial state.

    The first step of the output is compared with the reference.

    Catches an initial state that enters too late or not at all.
    """
    assert_expected(observation, "output", (np.s_[:1],), "first step of output")


@rule(
    "rnn.recurrence.tanh",
    "rnn.recurrence.relu",
    "rnn.recurrence.two-biases",
    "rnn.recurrence.every-step",
    "rnn.output.last-layer",
    when=predictable & precise,
)
def output(observation: Observation) -> None:
    """Output holds the last layer's state at every step, as the documented formula gives it.

    Compared with the reference in units of the largest error that rounding can explain.

    Catches a wrong formula, transposed or scaled weights, a bias left out or counted twice, clipped or approximated activations.
    """
    assert_expected(observation, "output")


@rule("rnn.h_n.final", when=predictable & precise)
def h_n(observation: Observation) -> None:
    """h_n holds the state in which every layer and direction has ended.

    Compared with the reference in units of the largest error that rounding can explain.

    Catches states taken a step too early, of the wrong layer, or changed after the last step.
    """
    assert_expected(observation, "h_n")


@rule("rnn.recurrence.tanh", "rnn.recurrence.relu", when=predictable & exact_values)
def exact(observation: Observation) -> None:
    """Where every sum is exact, results have the same bits in whatever order an implementation adds.

    Small integers under relu, saturated units under tanh: each intermediate is representable, so no error at all is allowed.

    Catches relative errors down to the last bit, leaks between samples, intermediates rounded to another dtype.
    """
    if observation.expected.exact:
        assert_identical("output", observation.output, observation.expected.output, snippets.OUTPUT)
        assert_identical("h_n", observation.h_n, observation.expected.h_n, snippets.H_N)


SINGLE = np.dtype(np.float32)


@rule("rnn.recurrence.dtypes", when=predictable)
def dtypes(observation: Observation) -> None:
    """The layer computes in the dtype of its parameters and returns results in it.

    The dtypes of output and h_n; and in float64 not all of the results may be numbers that float32 has too, where none is saturated.

    Catches results or intermediates in another dtype.
    """
    call = observation.call
    found = {str(tensor.dtype) for tensor in (call.output_tensor, call.h_n_tensor)}
    if found != {f"torch.{observation.case.dtype}"}:
        raise Violation(
            f"results are {' and '.join(sorted(found))}, expected torch.{observation.case.dtype}",
            DTYPE,
        )
    if (
        observation.case.dtype is DType.FLOAT64
        and observation.case.distribution in (Distribution.PLAIN, Distribution.LARGE, Distribution.SPREAD)
        and _all_single(observation.output)
    ):
        raise Violation("every result in float64 is a float32 number", snippets.OUTPUT)


def _all_single(values: Array) -> bool:
    telling = values[(np.abs(values) < 1.0) & (values != 0.0)]
    return telling.size > 1 and bool((telling.astype(SINGLE) == telling).all())


@rule("rnn.recurrence.dtypes", when=predictable & ~precise)
def half_precision(observation: Observation) -> None:
    """In bfloat16 and float16 results differ from the formula by no more than rounding to that dtype explains.

    Compared with the reference under the rounding model of the dtype, from a difference of 8 roundoffs on.

    Catches branches that only 16-bit input takes.
    """
    for name, snippet in (("output", snippets.OUTPUT), ("h_n", snippets.H_N)):
        got, expected = getattr(observation, name), getattr(observation.expected, name)
        assert_close(
            observation,
            name,
            got,
            expected,
            partial(_bound_of, observation, name),
            snippet,
            threshold=oracle.FINE,
        )


@rule(
    "rnn.recurrence.causal",
    when=separable & ~bidirectional & (batched | single) & size_at_least("steps", 2),
)
def causal(observation: Observation) -> None:
    """An output of a one-directional layer depends on no later step.

    The later half of the input is replaced by NaN; the earlier outputs must stay bit for bit.

    Catches looking ahead, time reversed, normalisation or padding along the steps.
    """
    cut = observation.case.steps // 2
    spoiled = np.array(observation.values.input)
    spoiled[cut:] = np.nan
    _ = observation.call
    snippet = CAUSAL.format(cut=cut)
    assert_identical(
        f"output before step {cut}",
        observation.second_call(input=spoiled).output[:cut],
        observation.output[:cut],
        snippet,
    )


CAUSAL = Snippet("""spoiled = x.detach().clone()
spoiled.narrow(time, {cut}, x.shape[time] - {cut}).fill_(float("nan"))
close(layer(spoiled, *given[1:])[0].narrow(time, 0, {cut}), layer(*given)[0].narrow(time, 0, {cut}))""", (Helper.CLOSE, Helper.TIME))


_printed = predictable & precise & ~bidirectional & (batched | single) & ~dropping


def _is_short(case: Case) -> bool:
    return case.steps * case.config.num_layers <= 48


@rule(
    "rnn.recurrence.printed-loop",
    when=_printed & Condition("at most 48 steps of layers", _is_short),
)
def documented_loop(observation: Observation) -> None:
    """For one direction the layer gives what the program printed on the page gives, up to rounding.

    Output and h_n are compared with that loop, written out in float64.

    Catches outputs that are all views of one state, states overwritten while they are still read, layers that read the input.
    """
    config, values = observation.case.config, observation.values
    output, h_n = run_documented_loop(config, values.weights, values.input, values.h_0)
    assert_close(
        observation,
        "output",
        observation.output,
        output,
        lambda: observation.expected.bound.output,
        snippets.OUTPUT,
    )
    assert_close(
        observation,
        "h_n",
        observation.h_n,
        h_n,
        lambda: observation.expected.bound.h_n,
        snippets.H_N,
    )

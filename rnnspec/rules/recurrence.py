"""The recurrence itself: every state follows from the input, the state before it and the weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rnnspec.cases.case import Case
from rnnspec.judging import printed, proofs
from rnnspec.judging.conditions import (
    Condition,
    at_least,
    axis,
    batched,
    bidirectional,
    dropping,
    exact_values,
    precise,
    predictable,
    state_given,
)
from rnnspec.judging.conditions import unbatched as single
from rnnspec.judging.relations import as_expected, is_right
from rnnspec.judging.rule import rule
from rnnspec.judging.spoiling import separable
from rnnspec.judging.violation import agree, identical, violated
from rnnspec.observe.observation import Observation

Array = NDArray[np.float64]

EXCHANGED = """biases = dict(layer.named_parameters())
before = layer(*given)
with torch.no_grad():
    for name in [name for name in biases if "bias_ih" in name]:
        one, two = biases[name], biases[name.replace("bias_ih", "bias_hh")]
        one.data, two.data = two.detach().clone(), one.detach().clone()
after = layer(*given)
close(after[0], before[0])
close(after[1], before[1])"""
DTYPE = """output, h_n = layer(*given)
assert data(output).dtype == h_n.dtype == next(reference.parameters()).dtype"""


@rule("rnn.recurrence.two-biases", when=axis("bias", True) & predictable)
def two_biases(seen: Observation) -> None:
    """b_ih and b_hh are both added, and only their sum matters.

    Where results are wrong, a further layer is given the two biases exchanged, and the results are compared.

    Catches a bias left out, added twice, or scaled.
    """
    if is_right(seen):
        return
    weights = {_twin(name): array for name, array in seen.values.weights.items()}
    case = seen.case.altered(history="fresh", build="changed")
    other = Observation(seen.subject, case, replace(seen.values, weights=weights))
    for name in ("output", "h_n"):
        agree(seen, name, getattr(other, name), getattr(seen, name), lambda name=name: _either(seen, other, name), EXCHANGED)  # type: ignore[misc]


def _twin(name: str) -> str:
    twins = {"bias_ih": "bias_hh", "bias_hh": "bias_ih"}
    kind, _, place = name.partition("_l")
    return f"{twins.get(kind, kind)}_l{place}"


def _either(seen: Observation, other: Observation, name: str) -> Array:
    bound: Array = getattr(seen.expected.bound, name) + getattr(other.expected.bound, name)
    return bound


@rule("rnn.recurrence.first-step", when=state_given & ~bidirectional & predictable)
def first_step(seen: Observation) -> None:
    """The state one step before the first step is the initial state.

    The first step of the output is compared with the reference.

    Catches an initial state that enters too late or not at all.
    """
    as_expected(seen, "output", (np.s_[:1],), "first step of output")


@rule(
    "rnn.recurrence.tanh",
    "rnn.recurrence.relu",
    "rnn.recurrence.two-biases",
    "rnn.recurrence.every-step",
    "rnn.output.last-layer",
    when=predictable & precise,
)
def output(seen: Observation) -> None:
    """Output holds the last layer's state at every step, as the documented formula gives it.

    Compared with the reference in units of the largest error that rounding can explain.

    Catches a wrong formula, transposed or scaled weights, a bias left out or counted twice, clipped or approximated activations.
    """
    as_expected(seen, "output")


@rule("rnn.h_n.final", when=predictable & precise)
def h_n(seen: Observation) -> None:
    """h_n holds the state in which every layer and direction has ended.

    Compared with the reference in units of the largest error that rounding can explain.

    Catches states taken a step too early, of the wrong layer, or changed after the last step.
    """
    as_expected(seen, "h_n")


@rule("rnn.recurrence.tanh", "rnn.recurrence.relu", when=predictable & exact_values)
def exact(seen: Observation) -> None:
    """Where every sum is exact, results have the same bits in whatever order an implementation adds.

    Small integers under relu, saturated units under tanh: each intermediate is representable, so no error at all is allowed.

    Catches relative errors down to the last bit, leaks between samples, intermediates rounded to another dtype.
    """
    if seen.expected.exact:
        identical("output", seen.output, seen.expected.output, proofs.OUTPUT)
        identical("h_n", seen.h_n, seen.expected.h_n, proofs.H_N)


SINGLE = np.dtype(np.float32)


@rule("rnn.recurrence.dtypes", when=predictable)
def dtypes(seen: Observation) -> None:
    """The layer computes in the dtype of its parameters and returns results in it.

    The dtypes of output and h_n; and in float64 not all of the results may be numbers that float32 has too, where none is saturated.

    Catches results or intermediates in another dtype.
    """
    call = seen.call
    found = {str(tensor.dtype) for tensor in (call.output_tensor, call.h_n_tensor)}
    if found != {f"torch.{seen.case.dtype}"}:
        raise violated(f"results are {' and '.join(sorted(found))}, expected torch.{seen.case.dtype}", DTYPE)
    if seen.case.dtype == "float64" and seen.case.values in ("plain", "large", "spread") and _all_single(seen.output):
        raise violated("every result in float64 is a float32 number", proofs.OUTPUT)


def _all_single(values: Array) -> bool:
    telling = values[(np.abs(values) < 1.0) & (values != 0.0)]
    return telling.size > 1 and bool((telling.astype(SINGLE) == telling).all())


@rule("rnn.recurrence.dtypes", when=predictable & ~precise)
def low_precision(seen: Observation) -> None:
    """In bfloat16 and float16 results differ from the formula by no more than rounding to that dtype explains.

    Compared with the reference under the rounding model of the dtype, from a difference of 8 roundoffs on.

    Catches branches that only 16-bit input takes.
    """
    for name, proof in (("output", proofs.OUTPUT), ("h_n", proofs.H_N)):
        got, expected = getattr(seen, name), getattr(seen.expected, name)
        agree(seen, name, got, expected, lambda name=name: getattr(seen.expected.bound, name), proof, visible=8.0)  # type: ignore[misc]


@rule("rnn.recurrence.causal", when=separable & ~bidirectional & (batched | single) & at_least("steps", 2))
def causal(seen: Observation) -> None:
    """An output of a one-directional layer depends on no later step.

    The later half of the input is replaced by NaN; the earlier outputs must stay bit for bit.

    Catches looking ahead, time reversed, normalisation or padding along the steps.
    """
    cut = seen.case.steps // 2
    spoiled = np.array(seen.values.input)
    spoiled[cut:] = np.nan
    _ = seen.call
    proof = CAUSAL.format(cut=cut)
    identical(f"output before step {cut}", seen.again(input=spoiled).output[:cut], seen.output[:cut], proof)


CAUSAL = """spoiled = x.detach().clone()
spoiled.narrow(time, {cut}, x.shape[time] - {cut}).fill_(float("nan"))
close(layer(spoiled, *given[1:])[0].narrow(time, 0, {cut}), layer(*given)[0].narrow(time, 0, {cut}))"""


_printed = predictable & precise & ~bidirectional & (batched | single) & ~dropping


def _is_short(case: Case) -> bool:
    return case.steps * case.config.num_layers <= 48


@rule("rnn.recurrence.printed-loop", when=_printed & Condition("at most 48 steps of layers", _is_short))
def printed_loop(seen: Observation) -> None:
    """For one direction the layer gives what the program printed on the page gives, up to rounding.

    Output and h_n are compared with that loop, written out in float64.

    Catches outputs that are all views of one state, states overwritten while they are still read, layers that read the input.
    """
    config, values = seen.case.config, seen.values
    output, h_n = printed.run(config, values.weights, values.input, values.h_0)
    agree(seen, "output", seen.output, output, lambda: seen.expected.bound.output, proofs.OUTPUT)
    agree(seen, "h_n", seen.h_n, h_n, lambda: seen.expected.bound.h_n, proofs.H_N)

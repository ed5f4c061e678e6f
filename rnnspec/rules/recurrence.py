"""The recurrence itself: every state follows from the input, the state before it and the weights."""

from __future__ import annotations

import numpy as np

from rnnspec.observe.observation import Observation
from rnnspec.rules import proofs
from rnnspec.rules.conditions import at_least, batched, bidirectional, exact_values, precise, predictable, unbatched
from rnnspec.rules.rule import rule
from rnnspec.rules.violation import agree, identical


@rule("rnn.recurrence.tanh", "rnn.recurrence.relu", "rnn.recurrence.two-biases", "rnn.recurrence.every-step", "rnn.output.last-layer", when=predictable & precise)
def output(seen: Observation) -> None:
    """Output holds the last layer's state at every step, as the documented formula gives it.

    Compared with the reference in units of the largest error that rounding can explain.

    Catches a wrong formula, transposed or scaled weights, a bias left out or counted twice, clipped or approximated activations.
    """
    agree(seen, "output", seen.output, seen.expected.output, lambda: seen.expected.bound.output, proofs.OUTPUT)


@rule("rnn.h_n.final", when=predictable & precise)
def h_n(seen: Observation) -> None:
    """h_n holds the state in which every layer and direction has ended.

    Compared with the reference in units of the largest error that rounding can explain.

    Catches states taken a step too early, of the wrong layer, or changed after the last step.
    """
    agree(seen, "h_n", seen.h_n, seen.expected.h_n, lambda: seen.expected.bound.h_n, proofs.H_N)


@rule("rnn.recurrence.tanh", "rnn.recurrence.relu", when=predictable & exact_values)
def exact(seen: Observation) -> None:
    """Where every sum is exact, results have the same bits in whatever order an implementation adds.

    Small integers under relu, saturated units under tanh: each intermediate is representable, so no error at all is allowed.

    Catches relative errors down to the last bit, leaks between samples, intermediates rounded to another dtype.
    """
    if seen.expected.exact:
        identical("output", seen.output, seen.expected.output, proofs.OUTPUT)
        identical("h_n", seen.h_n, seen.expected.h_n, proofs.H_N)


@rule("rnn.recurrence.dtypes", when=predictable & ~precise)
def low_precision(seen: Observation) -> None:
    """In bfloat16 and float16 results differ from the formula by no more than rounding to that dtype explains.

    Compared with the reference under the rounding model of the dtype.

    Catches branches that only 16-bit input takes.
    """
    agree(seen, "output", seen.output, seen.expected.output, lambda: seen.expected.bound.output, proofs.OUTPUT)
    agree(seen, "h_n", seen.h_n, seen.expected.h_n, lambda: seen.expected.bound.h_n, proofs.H_N)


CAUSAL = """cut = x.shape[time] // 2
spoiled = x.detach().clone()
spoiled.narrow(time, cut, x.shape[time] - cut).fill_(float("nan"))
close(layer(spoiled, *given[1:])[0].narrow(time, 0, cut), layer(*given)[0].narrow(time, 0, cut))"""


@rule("rnn.recurrence.causal", when=predictable & ~bidirectional & (batched | unbatched) & at_least("steps", 2))
def causal(seen: Observation) -> None:
    """An output of a one-directional layer depends on no later step.

    The later half of the input is replaced by NaN; the earlier outputs must stay bit for bit.

    Catches looking ahead, time reversed, normalisation or padding along the steps.
    """
    cut = seen.case.steps // 2
    spoiled = np.array(seen.values.input)
    spoiled[cut:] = np.nan
    identical("output", seen.again(input=spoiled).output[:cut], seen.output[:cut], CAUSAL)

"""The states: given or not, to which layer, carried on, and what comes back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rnnspec.cases.case import Case
from rnnspec.judging.conditions import at_least, axis, bidirectional, one_in, predictable, stacked, state_given
from rnnspec.judging.misreadings import LAYERS, wrong_order, wrong_rows
from rnnspec.judging.proofs import H_N
from rnnspec.judging.relations import Place, alike, both_as_expected, explained, is_right, recast, unexplained, unless, works
from rnnspec.judging.rule import rule
from rnnspec.judging.spoiling import arrived, length, proof_of, reach, spot, traceable, with_state
from rnnspec.judging.violation import agree
from rnnspec.observe.call import gradient_mode, perform
from rnnspec.observe.observation import Observation
from rnnspec.observe.tensors import arguments
from rnnspec.subjects.subject import observing

Array = NDArray[np.float64]

ZEROS = """zeros = torch.zeros_like(reference(*given)[1])
close(layer(given[0])[0], layer(given[0], zeros)[0])
close(layer(given[0])[1], layer(given[0], zeros)[1])"""
LAST = """output, h_n = layer(*given)
close(h_n[-1], output.select(time, -1))"""
LAST_BOTH = """output, h_n = layer(*given)
close(h_n[-2], output.select(time, -1)[..., :{hidden}])
close(h_n[-1], output.select(time, 0)[..., {hidden}:])"""
NAMED = """output, h_n = layer(given[0], hx=h_0)
close(output, layer(*given)[0])
close(h_n, layer(*given)[1])"""
CARRIED = """first, state = layer(x.narrow(time, 0, {cut}), *given[1:])
rest, state = layer(x.narrow(time, {cut}, x.shape[time] - {cut}), state)
output, h_n = layer(*given)
close(rest, output.narrow(time, {cut}, x.shape[time] - {cut}))
close(state, h_n)"""


@rule("rnn.h_0.order", when=stacked & state_given & predictable)
def order(seen: Observation) -> None:
    """Row layer * D + direction of the initial state belongs to that layer and direction.

    Where output or h_n differ from the reference, the reference is asked whether rows of other layers explain it.

    Catches states counted from the top, ordered by direction, taken from the first layer for all.
    """
    explained(lambda: both_as_expected(seen), lambda: wrong_rows(seen, LAYERS))


@rule("rnn.recurrence.first-step", "rnn.h_0.shape.batched", when=state_given & predictable)
def given(seen: Observation) -> None:
    """An initial state that is given is what every layer and direction starts from.

    Output and h_n are compared with the reference; rows that are merely exchanged are told by other rules.

    Catches a state ignored, clipped, rounded, or ignored in some configurations.
    """
    unexplained(lambda: both_as_expected(seen), lambda: wrong_rows(seen))


@rule("rnn.h_0.keyword", when=state_given & predictable & ~axis("history", "functional") & one_in(6))
def by_name(seen: Observation) -> None:
    """The initial state can be given by the name hx too.

    The judged call is repeated with hx= ; the results may differ by two roundings.

    Catches a second argument of another name.
    """
    call = seen.call
    with gradient_mode(seen.case.grad), observing("the call with hx="):
        named = replace(call, returned=seen.module(call.given.input, hx=call.given.h_0))
    alike(seen, named, proof=NAMED)


@rule("rnn.h_0.absent", when=axis("state", "absent") & predictable & one_in(3), needs=("state",))
def absent_is_zero(seen: Observation) -> None:
    """A call without initial state computes what a call with zeros computes.

    The same layer is called both ways; the results may differ by two roundings. A layer that is right without a state and wrong with
    any is told by other rules.

    Catches default states of ones, of the wrong size or uninitialised, and biases skipped where there is no state.
    """
    values = replace(seen.values, h_0=np.full_like(seen.values.h_0, 0.5))

    def takes_no_state() -> bool:
        return is_right(seen) and not works(recast(seen, values, state="given"))

    unless(takes_no_state, lambda: alike(seen, recast(seen, state="given"), proof=ZEROS))


@rule(
    "rnn.h_n.continues",
    when=~bidirectional & axis("layout", "batched", "unbatched") & at_least("steps", 2) & predictable & one_in(2),
    needs=("state",),
)
def carried(seen: Observation) -> None:
    """In one direction a sequence can be cut: the second part, started from the first part's h_n, gives the rest of the uncut result.

    The tensor that the first call returned is handed to the second as it is, and the results may differ by two roundings. Judged
    where the uncut call is right, and the second one when it is given a copy of that tensor.

    Catches states lost or changed between calls, steps counted from the start of a call, a first step that is special.
    """
    cut = 1 + seen.case.seed % (seen.case.steps - 1)
    first = recast(seen, replace(seen.values, input=seen.values.input[:cut]), steps=cut)
    case = seen.case.altered(steps=seen.case.steps - cut, state="given")
    values = replace(seen.values, input=seen.values.input[cut:], h_0=first.h_n)

    def continues() -> None:
        given_rest = arguments(case, values.input, values.h_0, seen.subject.device)
        rest = perform(seen.stage, case, replace(given_rest, h_0=first.call.h_n_tensor))
        alike(seen, rest, Place((np.s_[cut:],)), CARRIED.format(cut=cut))

    unless(lambda: not works(seen) or not works(Observation(seen.subject, case, values, seen.stage)), continues)


@rule("rnn.h_n.is-last-output", when=predictable)
def h_n_is_last_output(seen: Observation) -> None:
    """The last layer's rows of h_n are in output too: forward at the last step, backward at the first.

    Compared with each other at each sequence's own end; the results may differ by two roundings. An output that is wrong itself, and
    rows that are right but in another order, are told by other rules.

    Catches states of another step or layer, initial states returned, states rounded or scaled on their way out.
    """
    rows, ends = _last_rows(seen, seen.h_n), _ends(seen)

    def equal() -> None:
        agree(seen, "last rows of h_n", rows, ends, lambda: 2.0 * _last_rows(seen, seen.expected.bound.h_n), _last_proof(seen.case))

    unexplained(equal, lambda: None if is_right(seen, "output") and not wrong_order(seen) else "told elsewhere")


def _last_proof(case: Case) -> str:
    if case.packed:
        return H_N
    return (LAST_BOTH if case.config.bidirectional else LAST).format(hidden=case.config.hidden_size)


def _last_rows(seen: Observation, states: Array) -> Array:
    """The last layer's states (D * num_layers, N, H), directions side by side: (N, D * H)."""
    return np.concatenate(list(states[-seen.case.config.num_directions :]), axis=-1)


def _ends(seen: Observation) -> Array:
    """What output says of the same states: forward at each sequence's last step, backward at its first."""
    samples = range(seen.case.batch)
    last = [length(seen.case, sample) - 1 for sample in samples]
    ends = np.array(seen.output[last, samples])
    hidden = seen.case.config.hidden_size
    ends[:, hidden:] = seen.output[0, :, hidden:]
    return ends


@rule("rnn.h_0.order", "rnn.recurrence.non-finite", when=stacked & state_given & traceable)
def routing(seen: Observation) -> None:
    """What depends on one row of the initial state depends on that row alone.

    NaN in one row of an upper layer and one sample must arrive in that layer and direction, in what reads it, and nowhere else.

    Catches rows that go to another layer, direction or sample, and rows that go nowhere.
    """
    place = spot(seen.case)
    row = _upper_row(seen.case, place.row)
    spoiled = with_state(seen, (row, place.sample))
    proof = proof_of(seen.case, sample=place.sample, row=row)
    arrived(seen, spoiled, place.sample, reach(seen.case, place.sample, rows=(row,)), proof)


def _upper_row(case: Case, drawn: int) -> int:
    """A row of a layer above the first, rather of a high one: what goes wrong in the third layer is wrong in no lower one."""
    upper, directions = case.config.num_layers - 1, case.config.num_directions
    return (1 + max(drawn % upper, case.seed % upper)) * directions + drawn % directions

"""The states: given or not, to which layer, carried on, and what comes back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rnnspec.cases.axes import Feature, InitialState, Layout, ModuleUses
from rnnspec.cases.case import Case
from rnnspec.diagnosis.hypotheses import LAYERS, find_misread_rows, is_reordered
from rnnspec.observe.call import perform_call
from rnnspec.observe.observation import Observation
from rnnspec.observe.tensors import build_arguments
from rnnspec.rulekit.assertions.nan_propagation import (
    choose_spot,
    compute_reach,
    find_nan,
    length,
    traceable,
    with_state,
    write_nan_snippet,
)
from rnnspec.rulekit.assertions.relations import (
    Place,
    assert_both_expected,
    assert_same_results,
    call_as,
    fail_only_if_explained,
    fail_only_if_unexplained,
    fail_unless_excused,
    has_right_results,
    is_right,
)
from rnnspec.rulekit.conditions import (
    bidirectional,
    has_value,
    one_in,
    predictable,
    size_at_least,
    stacked,
    state_given,
)
from rnnspec.rulekit.rule import rule
from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.snippets.results import H_N
from rnnspec.rulekit.violation import assert_close
from rnnspec.subjects.subject import observing

Array = NDArray[np.float64]

ZEROS = Snippet("""zeros = torch.zeros_like(reference(*given)[1])
close(layer(given[0])[0], layer(given[0], zeros)[0])
close(layer(given[0])[1], layer(given[0], zeros)[1])""", (Helper.CLOSE,))
LAST = Snippet("""output, h_n = layer(*given)
close(h_n[-1], output.select(time, -1))""", (Helper.CLOSE, Helper.TIME))
LAST_BOTH = Snippet("""output, h_n = layer(*given)
close(h_n[-2], output.select(time, -1)[..., :{hidden}])
close(h_n[-1], output.select(time, 0)[..., {hidden}:])""", (Helper.CLOSE, Helper.TIME))
NAMED = Snippet("""output, h_n = layer(given[0], hx=h_0)
close(output, layer(*given)[0])
close(h_n, layer(*given)[1])""", (Helper.CLOSE,))
CARRIED = Snippet("""first, state = layer(x.narrow(time, 0, {cut}), *given[1:])
rest, state = layer(x.narrow(time, {cut}, x.shape[time] - {cut}), state)
output, h_n = layer(*given)
close(rest, output.narrow(time, {cut}, x.shape[time] - {cut}))
close(state, h_n)""", (Helper.CLOSE, Helper.TIME))


@rule("rnn.h_0.order", when=stacked & state_given & predictable)
def order(observation: Observation) -> None:
    """Row layer * D + direction of the initial state belongs to that layer and direction.

    Where output or h_n differ from the reference, the reference is asked whether rows of other layers explain it.

    Catches states counted from the top, ordered by direction, taken from the first layer for all.
    """
    fail_only_if_explained(
        lambda: assert_both_expected(observation), lambda: find_misread_rows(observation, LAYERS)
    )


@rule("rnn.recurrence.first-step", "rnn.h_0.shape.batched", when=state_given & predictable)
def initial_state_used(observation: Observation) -> None:
    """An initial state that is given is what every layer and direction starts from.

    Output and h_n are compared with the reference; rows that are merely exchanged are told by other rules.

    Catches a state ignored, clipped, rounded, or ignored in some configurations.
    """
    fail_only_if_unexplained(
        lambda: assert_both_expected(observation), lambda: find_misread_rows(observation)
    )


@rule(
    "rnn.h_0.keyword", when=state_given & predictable & ~has_value(ModuleUses.FUNCTIONAL) & one_in(6)
)
def by_name(observation: Observation) -> None:
    """The initial state can be given by the name hx too.

    The judged call is repeated with hx= ; the results may differ by two roundings.

    Catches a second argument of another name.
    """
    call = observation.call
    with observation.case.grad_mode.enter(), observing("the call with hx="):
        named = replace(call, returned=observation.module(call.given.input, hx=call.given.h_0))
    assert_same_results(observation, named, snippet=NAMED)


@rule("rnn.h_0.absent", when=has_value(InitialState.ABSENT) & predictable & one_in(3), needs=(Feature.STATE,))
def absent_is_zero(observation: Observation) -> None:
    """A call without initial state computes what a call with zeros computes.

    The same layer is called both ways; the results may differ by two roundings. A layer that is right without a state and wrong with
    any is told by other rules.

    Catches default states of ones, of the wrong size or uninitialised, and biases skipped where there is no state.
    """
    values = replace(observation.values, h_0=np.full_like(observation.values.h_0, 0.5))

    def takes_no_state() -> bool:
        return is_right(observation) and not has_right_results(
            call_as(observation, values, initial_state=InitialState.GIVEN)
        )

    fail_unless_excused(
        takes_no_state,
        lambda: assert_same_results(observation, call_as(observation, initial_state=InitialState.GIVEN), snippet=ZEROS),
    )


@rule(
    "rnn.h_n.continues",
    when=~bidirectional
    & has_value(Layout.BATCHED, Layout.UNBATCHED)
    & size_at_least("steps", 2)
    & predictable
    & one_in(2),
    needs=(Feature.STATE,),
)
def carried(observation: Observation) -> None:
    """In one direction a sequence can be cut: the second part, started from the first part's h_n, gives the rest of the uncut result.

    The tensor that the first call returned is handed to the second as it is, and the results may differ by two roundings. Judged
    where the uncut call is right, and the second one when it is given a copy of that tensor.

    Catches states lost or changed between calls, steps counted from the start of a call, a first step that is special.
    """
    cut = 1 + observation.case.seed % (observation.case.steps - 1)
    first = call_as(
        observation, replace(observation.values, input=observation.values.input[:cut]), steps=cut
    )
    case = observation.case.replace(steps=observation.case.steps - cut, initial_state=InitialState.GIVEN)
    values = replace(observation.values, input=observation.values.input[cut:], h_0=first.h_n)

    def continues() -> None:
        given_rest = build_arguments(case, values.input, values.h_0, observation.subject.device)
        rest = perform_call(
            observation.prepared, case, replace(given_rest, h_0=first.call.h_n_tensor)
        )
        assert_same_results(observation, rest, Place((np.s_[cut:],)), CARRIED.format(cut=cut))

    fail_unless_excused(
        lambda: (
            not has_right_results(observation)
            or not has_right_results(
                Observation(observation.subject, case, values, observation.prepared)
            )
        ),
        continues,
    )


@rule("rnn.h_n.is-last-output", when=predictable)
def h_n_is_last_output(observation: Observation) -> None:
    """The last layer's rows of h_n are in output too: forward at the last step, backward at the first.

    Compared with each other at each sequence's own end; the results may differ by two roundings. An output that is wrong itself, and
    rows that are right but in another order, are told by other rules.

    Catches states of another step or layer, initial states returned, states rounded or scaled on their way out.
    """
    rows, ends = _last_rows(observation, observation.h_n), _ends(observation)

    def equal() -> None:
        assert_close(
            observation,
            "last rows of h_n",
            rows,
            ends,
            lambda: 2.0 * _last_rows(observation, observation.expected.bound.h_n),
            _write_last_snippet(observation.case),
        )

    fail_only_if_unexplained(
        equal,
        lambda: (
            None
            if is_right(observation, "output") and not is_reordered(observation)
            else "told elsewhere"
        ),
    )


def _write_last_snippet(case: Case) -> Snippet:
    if case.is_packed:
        return H_N
    return (LAST_BOTH if case.config.bidirectional else LAST).format(hidden=case.config.hidden_size)


def _last_rows(observation: Observation, states: Array) -> Array:
    """The last layer's states (D * num_layers, N, H), directions side by side: (N, D * H)."""
    return np.concatenate(list(states[-observation.case.config.num_directions :]), axis=-1)


def _ends(observation: Observation) -> Array:
    """What output says of the same states: forward at each sequence's last step, backward at its first."""
    samples = range(observation.case.batch)
    last = [length(observation.case, sample) - 1 for sample in samples]
    ends = np.array(observation.output[last, samples])
    hidden = observation.case.config.hidden_size
    ends[:, hidden:] = observation.output[0, :, hidden:]
    return ends


@rule("rnn.h_0.order", "rnn.recurrence.non-finite", when=stacked & state_given & traceable)
def routing(observation: Observation) -> None:
    """What depends on one row of the initial state depends on that row alone.

    NaN in one row of an upper layer and one sample must arrive in that layer and direction, in what reads it, and nowhere else.

    Catches rows that go to another layer, direction or sample, and rows that go nowhere.
    """
    place = choose_spot(observation.case)
    row = _upper_row(observation.case, place.row)
    spoiled = with_state(observation, (row, place.sample))
    snippet = write_nan_snippet(observation.case, sample=place.sample, row=row)
    find_nan(
        observation,
        spoiled,
        place.sample,
        compute_reach(observation.case, place.sample, rows=(row,)),
        snippet,
    )


def _upper_row(case: Case, drawn: int) -> int:
    """A row of a layer above the first, rather of a high one: what goes wrong in the third layer is wrong in no lower one."""
    upper, directions = case.config.num_layers - 1, case.config.num_directions
    return (1 + max(drawn % upper, case.seed % upper)) * directions + drawn % directions

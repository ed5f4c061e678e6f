"""The two directions of a bidirectional layer: their states, order, time steps and weights."""

from __future__ import annotations

from functools import partial

import numpy as np

from rnnspec.cases.axes import Feature
from rnnspec.cases.conditions import (
    has_initial_state,
    has_predictable_results,
    has_size_at_least,
    is_bidirectional,
    one_in,
)
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.assertions.nan_propagation import (
    assert_independent,
    call_with_planted_state,
    can_plant_nan,
    choose_spot,
    write_nan_snippet,
)
from rnnspec.rulekit.assertions.relations import assert_expected, get_bound
from rnnspec.rulekit.rule import REPEATED_CALLS, Fact, rule
from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.snippets.results import STATES
from rnnspec.rulekit.violation import assert_close

FORWARD_HALF = Snippet(
    """ours, theirs = data(layer(*given)[0]), data(reference(*given)[0])
close(ours[..., : {hidden}], theirs[..., : {hidden}])""",
    (Helper.CLOSE, Helper.DATA),
)
BACKWARD_HALF = Snippet(
    """ours, theirs = data(layer(*given)[0]), data(reference(*given)[0])
close(ours[..., {hidden} :], theirs[..., {hidden} :])""",
    (Helper.CLOSE, Helper.DATA),
)


@rule(
    "rnn.directions.own-state",
    "rnn.h_0.order",
    when=is_bidirectional & has_initial_state & can_plant_nan & one_in(3, with_gates=2),
    about=(
        "bidirectional",
        "initial_state",
    ),
    presupposes=(Fact.RESULTS, *REPEATED_CALLS),
)
def own_state(observation: Observation) -> None:
    """The forward and the backward direction of a layer start from different rows of `h_0`.

    In the last layer, the row of either direction is replaced by NaN. The other direction's half of
    the output must stay the same, up to twice the rounding bound. If NaN reaches it and large
    numbers do not change it, `nonlinearity.nan` reports that.

    Catches a state that both directions share, and states exchanged between them.
    """
    config, spot = observation.case.config, choose_spot(observation.case)
    row = 2 * (config.num_layers - 1) + spot.row % 2
    other = np.s_[..., config.output_size :] if row % 2 == 0 else np.s_[..., : config.output_size]

    def assert_unchanged(spoiled: Observation) -> None:
        assert_close(
            observation,
            f"{'forward' if row % 2 else 'backward'} half of output",
            spoiled.output[other],
            observation.output[other],
            partial(get_bound, observation.expected, "output", other, 2.0),
            write_nan_snippet(observation.case, sample=spot.sample, row=row),
        )

    place = (row, spot.sample)
    assert_independent(partial(call_with_planted_state, observation, place), assert_unchanged)


@rule(
    "rnn.output.directions",
    "rnn.output.view",
    "lstm.output.both-directions",
    when=is_bidirectional & has_predictable_results,
    about=("bidirectional",),
    establishes=(Fact.RESULTS,),
)
def output_order(observation: Observation) -> None:
    """Along the last dimension of `output`, the values of the forward direction come first.

    The first half of the output is compared with the reference.

    Catches the backward half in front, and directions that are interleaved, added or averaged.
    """
    hidden = observation.case.config.output_size
    assert_expected(
        observation,
        "output",
        np.s_[..., :hidden],
        "forward half of output",
        FORWARD_HALF.format(hidden=hidden),
    )


@rule(
    "rnn.directions.reverse-time",
    when=is_bidirectional & has_predictable_results & has_size_at_least("steps", 2),
    about=(
        "bidirectional",
        "steps",
    ),
)
def reverse_time(observation: Observation) -> None:
    """The backward direction runs from the last time step to the first. Its result for a time step
    is in the output at that step.

    The second half of the output is compared with the reference.

    Catches a backward direction that runs forward, output that is not reversed back to the order of
    time, and reversal along an axis other than time.
    """
    _assert_backward_half(observation)


@rule(
    "rnn.directions.own-weights",
    when=is_bidirectional & has_predictable_results,
    about=("bidirectional",),
)
def own_weights(observation: Observation) -> None:
    """The backward direction uses the parameters whose names end in `_reverse`.

    The second half of the output is compared with the reference. All weights are different.

    Catches weights that both directions share, and biases in only the forward or the backward
    direction.
    """
    _assert_backward_half(observation)


def _assert_backward_half(observation: Observation) -> None:
    hidden = observation.case.config.output_size
    assert_expected(
        observation,
        "output",
        np.s_[..., hidden:],
        "backward half of output",
        BACKWARD_HALF.format(hidden=hidden),
    )


@rule(
    "rnn.h_n.order",
    "rnn.h_n.order.page",
    "rnn.h_n.final",
    "lstm.h_n.both-directions",
    "lstm.h_n.not-last-output",
    when=is_bidirectional & has_predictable_results,
    needs=(Feature.FINAL_STATE,),
    about=("bidirectional",),
    establishes=(Fact.RESULTS,),
)
def h_n_order(observation: Observation) -> None:
    """The rows of `h_n` are layer 0 forward, layer 0 backward, layer 1 forward, and so on.

    Every row of `h_n` is compared with the reference.

    Catches states ordered by direction, exchanged directions, and a backward state taken at the
    last time step.
    """
    assert_expected(observation, "h_n", snippet=STATES)

"""The two directions of a bidirectional layer: their states, their order, their time, their weights."""

from __future__ import annotations

import numpy as np

from rnnspec.observe.observation import Observation
from rnnspec.rulekit.assertions.nan_propagation import (
    choose_spot,
    separable,
    with_state,
    write_nan_snippet,
)
from rnnspec.rulekit.assertions.relations import assert_expected
from rnnspec.rulekit.conditions import bidirectional, predictable, size_at_least, state_given
from rnnspec.rulekit.rule import rule
from rnnspec.rulekit.snippet import Helper, Snippet
from rnnspec.rulekit.snippets import results as snippets
from rnnspec.rulekit.violation import assert_identical

FORWARD = Snippet("close(data(layer(*given)[0])[..., : {hidden}], data(reference(*given)[0])[..., : {hidden}])", (Helper.CLOSE, Helper.DATA))
BACKWARD = Snippet("close(data(layer(*given)[0])[..., {hidden} :], data(reference(*given)[0])[..., {hidden} :])", (Helper.CLOSE, Helper.DATA))


@rule("rnn.directions.own-state", "rnn.h_0.order", when=bidirectional & state_given & separable)
def own_state(observation: Observation) -> None:
    """Each direction of each layer starts from its own row of the initial state.

    NaN in the last layer's row of one direction must not reach the other half of the output.

    Catches one state for both directions, states exchanged between them.
    """
    config, place = observation.case.config, choose_spot(observation.case)
    row = 2 * (config.num_layers - 1) + place.row % 2
    spoiled = with_state(observation, (row, place.sample))
    other = np.s_[config.hidden_size :] if row % 2 == 0 else np.s_[: config.hidden_size]
    half = spoiled.output[..., other]
    assert_identical(
        f"{'forward' if row % 2 else 'backward'} half of output",
        np.where(np.isnan(half), half, 0.0),
        np.zeros(half.shape),
        write_nan_snippet(observation.case, sample=place.sample, row=row),
    )


@rule("rnn.output.directions", "rnn.output.view", when=bidirectional & predictable)
def output_order(observation: Observation) -> None:
    """Along the last axis of output the forward direction's H_out values come first.

    The first half of the output is compared with the reference.

    Catches the backward half in front, directions interleaved, added or averaged.
    """
    hidden = observation.case.config.hidden_size
    assert_expected(
        observation,
        "output",
        np.s_[..., :hidden],
        "forward half of output",
        FORWARD.format(hidden=hidden),
    )


@rule("rnn.directions.reverse-time", when=bidirectional & predictable & size_at_least("steps", 2))
def reverse_time(observation: Observation) -> None:
    """The backward direction runs from the last step to the first, and what it computes at a step is put out at that step.

    The second half of the output is compared with the reference.

    Catches a backward direction that runs forward, is not turned round again, or turns round another axis than time.
    """
    hidden = observation.case.config.hidden_size
    assert_expected(
        observation,
        "output",
        np.s_[..., hidden:],
        "backward half of output",
        BACKWARD.format(hidden=hidden),
    )


@rule("rnn.directions.own-weights", when=bidirectional & predictable)
def own_weights(observation: Observation) -> None:
    """The backward direction computes with the parameters whose names end in _reverse.

    The second half of the output is compared with the reference; no two of the weights are alike.

    Catches one set of weights for both directions, biases in one direction only.
    """
    hidden = observation.case.config.hidden_size
    assert_expected(
        observation,
        "output",
        np.s_[..., hidden:],
        "backward half of output",
        BACKWARD.format(hidden=hidden),
    )


@rule("rnn.h_n.order", "rnn.h_n.order.page", "rnn.h_n.final", when=bidirectional & predictable)
def h_n_order(observation: Observation) -> None:
    """h_n lists layer 0 forward, layer 0 backward, layer 1 forward, and so on.

    Every row of h_n is compared with the reference.

    Catches states ordered by direction, directions exchanged, a backward state taken at the last step of time.
    """
    assert_expected(observation, "h_n", snippet=snippets.H_N)

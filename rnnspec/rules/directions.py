"""The two directions of a bidirectional layer: their states, their order, their time, their weights."""

from __future__ import annotations

import numpy as np

from rnnspec.judging import proofs
from rnnspec.judging.conditions import at_least, bidirectional, predictable, state_given
from rnnspec.judging.relations import as_expected
from rnnspec.judging.rule import rule
from rnnspec.judging.spoiling import proof_of, separable, spot, with_state
from rnnspec.judging.violation import identical
from rnnspec.observe.observation import Observation

FORWARD = "close(data(layer(*given)[0])[..., : {hidden}], data(reference(*given)[0])[..., : {hidden}])"
BACKWARD = "close(data(layer(*given)[0])[..., {hidden} :], data(reference(*given)[0])[..., {hidden} :])"


@rule("rnn.directions.own-state", "rnn.h_0.order", when=bidirectional & state_given & separable)
def own_state(seen: Observation) -> None:
    """Each direction of each layer starts from its own row of the initial state.

    NaN in the last layer's row of one direction must not reach the other half of the output.

    Catches one state for both directions, states exchanged between them.
    """
    config, place = seen.case.config, spot(seen.case)
    row = 2 * (config.num_layers - 1) + place.row % 2
    spoiled = with_state(seen, (row, place.sample))
    other = np.s_[config.hidden_size :] if row % 2 == 0 else np.s_[: config.hidden_size]
    half = spoiled.output[..., other]
    identical(
        f"{'forward' if row % 2 else 'backward'} half of output",
        np.where(np.isnan(half), half, 0.0),
        np.zeros(half.shape),
        proof_of(seen.case, sample=place.sample, row=row),
    )


@rule("rnn.output.directions", "rnn.output.view", when=bidirectional & predictable)
def output_order(seen: Observation) -> None:
    """Along the last axis of output the forward direction's H_out values come first.

    The first half of the output is compared with the reference.

    Catches the backward half in front, directions interleaved, added or averaged.
    """
    hidden = seen.case.config.hidden_size
    as_expected(seen, "output", np.s_[..., :hidden], "forward half of output", FORWARD.format(hidden=hidden))


@rule("rnn.directions.reverse-time", when=bidirectional & predictable & at_least("steps", 2))
def reverse_time(seen: Observation) -> None:
    """The backward direction runs from the last step to the first, and what it computes at a step is put out at that step.

    The second half of the output is compared with the reference.

    Catches a backward direction that runs forward, is not turned round again, or turns round another axis than time.
    """
    hidden = seen.case.config.hidden_size
    as_expected(seen, "output", np.s_[..., hidden:], "backward half of output", BACKWARD.format(hidden=hidden))


@rule("rnn.directions.own-weights", when=bidirectional & predictable)
def own_weights(seen: Observation) -> None:
    """The backward direction computes with the parameters whose names end in _reverse.

    The second half of the output is compared with the reference; no two of the weights are alike.

    Catches one set of weights for both directions, biases in one direction only.
    """
    hidden = seen.case.config.hidden_size
    as_expected(seen, "output", np.s_[..., hidden:], "backward half of output", BACKWARD.format(hidden=hidden))


@rule("rnn.h_n.order", "rnn.h_n.order.page", "rnn.h_n.final", when=bidirectional & predictable)
def h_n_order(seen: Observation) -> None:
    """h_n lists layer 0 forward, layer 0 backward, layer 1 forward, and so on.

    Every row of h_n is compared with the reference.

    Catches states ordered by direction, directions exchanged, a backward state taken at the last step of time.
    """
    as_expected(seen, "h_n", proof=proofs.H_N)

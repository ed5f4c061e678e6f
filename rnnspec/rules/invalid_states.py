"""Rules about invalid initial states of packed input, and the exceptions of other invalid calls."""

from __future__ import annotations

from rnnspec.cases.axes import Feature, Layout
from rnnspec.cases.conditions import has_value, is_packed, one_in
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.rejections.calls import (
    assert_call_rejected,
    assert_rejection_types,
    list_missing_samples,
    list_other_kinds,
    list_wrong_packed_state_ranks,
)
from rnnspec.rulekit.rule import GIVEN_STATES, Fact, rule

VALID_PACKED_CALLS = (
    "construction.keywords",
    "layouts.states-stay-layer-first",
    "side-effects.arguments",
)
"""Rules presupposed by rules that change a single thing about a valid call with packed input."""


@rule(
    "rnn.errors.h_0-rank.packed",
    when=is_packed & one_in(14),
    needs=(Feature.STATE,),
    id="errors.h-0-rank-packed",
    presupposes=(Fact.RESULTS, *VALID_PACKED_CALLS, *GIVEN_STATES),
)
def h_0_rank_packed(observation: Observation) -> None:
    """A call with packed input rejects an initial state that does not have three dimensions.

    The layer is called with an `h_0` that lacks a dimension, that has separate dimensions for
    layers and directions, that has a dimension too many, or that is a vector.

    Catches states that are silently broadcast, squeezed or reshaped.
    """
    assert_call_rejected(observation, list_wrong_packed_state_ranks)


@rule(
    "rnn.errors.h_0-batch.unsorted",
    when=has_value(Layout.PACKED_UNSORTED) & one_in(9, with_gates=6),
    needs=(Feature.STATE,),
    id="errors.h-0-batch-unsorted",
    presupposes=(Fact.RESULTS, *VALID_PACKED_CALLS, *GIVEN_STATES, "errors.h-0-batch"),
)
def h_0_batch_unsorted(observation: Observation) -> None:
    """For packed sequences that are not sorted, a call rejects an initial state for fewer sequences
    than there are, and never broadcasts it.

    The layer is called with an `h_0` for a single sequence, for a sequence too few, and for none.

    Catches a single state that is used for all sequences.
    """
    assert_call_rejected(observation, list_missing_samples)


@rule(
    "rnn.errors.call-types.other",
    "lstm.errors.call-types.other",
    when=one_in(24),
    id="errors.other-types",
    about=("layout", "initial_state"),
    presupposes=(
        "errors.types",
        "errors.rank",
        "errors.h-0-rank",
        "errors.h-0-rank-packed",
        Fact.RESULTS,
        "construction.keywords",
        "side-effects.arguments",
        "packed.output",
        "packed.returns-packed",
    ),
)
def other_types(observation: Observation) -> None:
    """A call raises `ValueError` if the input has a wrong number of dimensions and `RuntimeError`
    if the initial state has, and with packed input the same types as with padded input.

    Each case tries invalid calls of two kinds, among those that other rules make. Calls that are
    accepted are left to those rules.

    Catches assertions, and errors from code that an unchecked argument reaches.
    """
    assert_rejection_types(observation, list_other_kinds(observation))

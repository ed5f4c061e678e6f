"""The cell state of an LSTM: c_0 and c_n, next to h_0 and h_n."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rnnspec.cases.axes import Feature, Projection
from rnnspec.cases.case import Case
from rnnspec.cases.conditions import (
    Condition,
    has_initial_state,
    has_predictable_results,
    has_value,
    has_wide_dtype,
    is_packed,
    one_in,
)
from rnnspec.cases.states import split_states
from rnnspec.observe.call import perform_call
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.assertions.known_mistakes import find_mistake
from rnnspec.rulekit.assertions.relations import (
    assert_all_expected,
    assert_expected,
    fail_only_if_explained,
)
from rnnspec.rulekit.assertions.results import assert_results, assert_state_shape
from rnnspec.rulekit.rule import GIVEN_STATES, REPEATED_CALLS, Fact, rule
from rnnspec.rulekit.snippet import Helper, Snippet

has_cell_state: Condition[Case] = Condition(
    "layers with a cell state", lambda case: "c" in case.config.kind_data.states
)


@rule(
    "lstm.c_n.shape.batched",
    "lstm.c_n.shape.unbatched",
    "lstm.args.hidden-size",
    "lstm-cell.c_1.shape",
    when=has_cell_state,
    id="cell-state.shape",
    of_cells="`c_1` has shape `(N, H)`, and for a single sample `(H,)`.",
)
def shape(observation: Observation) -> None:
    """`c_n` has shape `(D * num_layers, N, H)`, or `(D * num_layers, H)` for a single sequence,
    whatever the values of `batch_first` and `proj_size`; `c_1` of a cell has shape `(N, H)` or
    `(H,)`.

    The shape of the cell state is compared with the documented one.

    Catches cell states with the batch dimension first, for only a single layer or direction, or of
    `proj_size` units.
    """
    assert_state_shape(observation, observation.case.config.kind_data.name_final("c"))


@rule(
    "lstm.c_n.final",
    "lstm.c_n.order",
    "lstm.c_n.both-directions",
    "lstm.recurrence.cell-state",
    when=has_cell_state & has_predictable_results & has_wide_dtype,
    needs=(Feature.FINAL_STATE,),
    # A step that makes the output wrong makes the cell state wrong in most cases.
    presupposes=("recurrence.output",),
    id="cell-state.final",
    of_cells="`c_1` is the cell state after the step.",
)
def final(observation: Observation) -> None:
    """`c_n` contains the final cell state of every layer and direction; `c_1` contains that of a
    cell.

    `c_n` is compared with the reference, in units of the largest error that rounding can explain.

    Catches cell states that are taken a step too early, belong to another layer or direction, or
    are clipped, dropped, projected, or passed through tanh.
    """
    assert_expected(observation, observation.case.config.kind_data.name_final("c"))


@rule(
    "lstm.packed.cell-own-end",
    "lstm.packed.cell-state-order",
    when=has_cell_state & is_packed & has_predictable_results,
    needs=(Feature.PACKED, Feature.FINAL_STATE),
    about=("layout",),
    id="cell-state.packed",
)
def packed(observation: Observation) -> None:
    """With packed input, `c_n` holds the cell state of each sequence at its own end, in the order
    of the caller.

    `c_n` is compared with the reference.

    Catches cell states taken after the padding or at the end of the longest sequence, and cell
    states in sorted order.
    """
    assert_expected(observation, "c_n")


@rule(
    "lstm.c_0.order",
    "lstm.c_0.own-row",
    "lstm.c_0.shape.batched",
    "lstm.c_0.shape.unbatched",
    "lstm.recurrence.first-cell",
    "lstm-cell.c_0.shape",
    when=has_cell_state & has_initial_state & has_predictable_results & has_wide_dtype,
    about=("initial_state",),
    id="cell-state.initial",
    presupposes=("side-effects.arguments",),
    of_cells="The step starts from `c_0`.",
)
def initial(observation: Observation) -> None:
    """Every layer and direction starts from its own row of `c_0`, and a cell from `c_0`.

    If a result differs from the reference, the rule fails if other initial cell states (zeros, or
    other rows of `c_0`) explain the results. Other errors are left to other rules.

    Catches a `c_0` that is ignored or detached from its layer, rows counted from the last layer
    down, and a row shared by both directions.
    """
    fail_only_if_explained(
        lambda: assert_all_expected(observation),
        lambda: find_mistake(observation, "cell-state.initial"),
    )


@rule(
    "lstm.states.pair",
    "lstm.output.pair",
    "lstm-cell.result.pair",
    when=has_cell_state & has_predictable_results & has_wide_dtype,
    id="cell-state.exchanged",
    establishes=(Fact.RESULTS,),
)
def exchanged(observation: Observation) -> None:
    """The hidden state comes first and the cell state second, both in the arguments and in the
    results of a call.

    If a result differs from the reference, the rule fails if exchanged states explain the results.
    Other errors are left to other rules.

    Catches `(c_n, h_n)`, `(c_0, h_0)`, and the same state returned twice.
    """
    fail_only_if_explained(
        lambda: assert_all_expected(observation),
        lambda: find_mistake(observation, "cell-state.exchanged"),
    )


SAME_TENSOR = Snippet(
    """for got, expected in zip(layer(given[0], (h_0, h_0)), reference(given[0], (h_0, h_0))):
    close(got, expected)""",
    (Helper.CLOSE,),
)


@rule(
    "lstm.states.same-tensor",
    when=has_cell_state
    & has_value(Projection.NONE)
    & has_initial_state
    & has_predictable_results
    & one_in(8, 1, of_cells=12),
    needs=(Feature.STATE,),
    id="cell-state.same-tensor",
    presupposes=(
        Fact.RESULTS,
        *GIVEN_STATES,
        "cell-state.initial",
        "side-effects.arguments",
        *REPEATED_CALLS,
    ),
)
def same_tensor(observation: Observation) -> None:
    """One tensor can be passed as both initial states.

    In another call, `h_0` is passed in place of `c_0` as well. The results are compared with the
    reference.

    Catches kernels that overwrite the hidden state in place before they read the cell state.
    """
    hidden = split_states(observation.case.config, observation.values.initial)["h"]
    again = observation.second_call(initial=np.concatenate([hidden, hidden], axis=-1))
    given = again.build_arguments()
    both = dict.fromkeys(given.initial, next(iter(given.initial.values())))
    again.take_call(perform_call(again.prepared, again.case, replace(given, initial=both)))
    assert_results(again, SAME_TENSOR)

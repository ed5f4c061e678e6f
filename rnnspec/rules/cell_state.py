"""The cell state of an LSTM: c_0 and c_n, next to h_0 and h_n."""

from __future__ import annotations

from rnnspec.cases.axes import Feature
from rnnspec.cases.case import Case
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.assertions.gradients import assert_differentiable_alone
from rnnspec.rulekit.assertions.relations import (
    assert_all_expected,
    assert_expected,
    fail_only_if_explained,
)
from rnnspec.rulekit.assertions.results import assert_gradients, has_known_gradients
from rnnspec.rulekit.assertions.shapes import assert_state_shape
from rnnspec.rulekit.conditions import (
    Condition,
    has_initial_state,
    has_predictable_results,
    has_wide_dtype,
    is_batched,
    is_packed,
    one_in,
)
from rnnspec.rulekit.fixtures.cell_states import find_exchanged_states, find_misread_cell_state
from rnnspec.rulekit.rejections.calls import assert_call_rejected
from rnnspec.rulekit.rejections.states import (
    list_wrong_cell_batches,
    list_wrong_cell_layers,
    list_wrong_cell_ranks,
    list_wrong_cell_units,
)
from rnnspec.rulekit.rule import GIVEN_STATES, REPEATED_CALLS, VALID_CALLS, Fact, rule

has_cell_state: Condition[Case] = Condition(
    "a cell state", lambda case: "c" in case.config.kind_data.states
)


@rule(
    "lstm.c_n.shape.batched",
    "lstm.c_n.shape.unbatched",
    "lstm.args.hidden-size",
    when=has_cell_state,
    id="cell-state.shape",
)
def shape(observation: Observation) -> None:
    """`c_n` has shape `(D * num_layers, N, H)`, and for a single sequence `(D * num_layers, H)`,
    whatever the values of `batch_first` and `proj_size`.

    The shape of `c_n` is compared with the documented one.

    Catches cell states with the batch dimension first, of one layer or direction only, and of
    `proj_size` units.
    """
    assert_state_shape(observation, "c_n")


@rule(
    "lstm.c_n.final",
    "lstm.c_n.order",
    "lstm.c_n.both-directions",
    "lstm.recurrence.cell-state",
    when=has_cell_state & has_predictable_results & has_wide_dtype,
    id="cell-state.final",
)
def final(observation: Observation) -> None:
    """`c_n` contains the final cell state of every layer and direction.

    `c_n` is compared with the oracle's, in units of the largest error that rounding can explain.

    Catches cell states that are taken one step too early, belong to another layer or direction, are
    clipped, dropped, projected, or passed through tanh.
    """
    assert_expected(observation, "c_n")


@rule(
    "lstm.packed.cell-own-end",
    "lstm.packed.cell-state-order",
    when=has_cell_state & is_packed & has_predictable_results,
    needs=(Feature.PACKED,),
    about=("layout",),
    id="cell-state.packed",
)
def packed(observation: Observation) -> None:
    """With packed input, `c_n` holds the cell state of each sequence at its own end, in the order
    of the caller.

    `c_n` is compared with the oracle's.

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
    when=has_cell_state & has_initial_state & has_predictable_results & has_wide_dtype,
    about=("initial_state",),
    id="cell-state.initial",
    presupposes=("side-effects.arguments",),
)
def initial(observation: Observation) -> None:
    """Every layer and direction starts from its own row of `c_0`.

    If a result differs from the oracle's, the rule fails if another cell state at the start
    explains the results: zeros, or other rows of `c_0`. Other errors are left to other rules.

    Catches a `c_0` that is ignored or detached from its layer, rows counted from the last layer
    down, and one row for both directions.
    """
    fail_only_if_explained(
        lambda: assert_all_expected(observation), lambda: find_misread_cell_state(observation)
    )


@rule(
    "lstm.states.pair",
    "lstm.output.pair",
    when=has_cell_state & has_predictable_results & has_wide_dtype,
    id="cell-state.exchanged",
    establishes=(Fact.RESULTS,),
)
def exchanged(observation: Observation) -> None:
    """The hidden state comes first and the cell state second, in what a call takes and in what it
    returns.

    If a result differs from the oracle's, the rule fails if the results are explained by states
    that are exchanged. Other errors are left to other rules.

    Catches `(c_n, h_n)`, `(c_0, h_0)`, and one state that is returned twice.
    """
    fail_only_if_explained(
        lambda: assert_all_expected(observation), lambda: find_exchanged_states(observation)
    )


@rule(
    "lstm.gradients.c_0",
    when=has_cell_state & has_known_gradients & has_wide_dtype & has_initial_state,
    needs=(Feature.GRADIENTS,),
    about=("initial_state",),
    id="gradients.c-0",
)
def gradient_of_c_0(observation: Observation) -> None:
    """The gradient with respect to `c_0` is the derivative of the formulas.

    It is compared with the oracle's back-propagation, for each layer and direction.

    Catches a cell state that is detached, in some layers or directions or in all.
    """
    assert_gradients(observation, observation.gradients, observation.expected, ["c_0"])


@rule(
    "lstm.gradients.each-result",
    when=has_cell_state & has_known_gradients & one_in(12, 5),
    needs=(Feature.GRADIENTS,),
    presupposes=(*REPEATED_CALLS,),
    id="gradients.c-n-alone",
)
def c_n_alone(observation: Observation) -> None:
    """`c_n` can be differentiated without the other results.

    In a second call, only `c_n` is differentiated. All gradients are compared with the oracle's.

    Catches final cell states that are detached or copied out of the graph.
    """
    assert_differentiable_alone(observation, "c_n")


is_sampled = has_cell_state & one_in(7)
WRONG_CELL_STATES = (Fact.RESULTS, *VALID_CALLS, *GIVEN_STATES)


@rule(
    "lstm.errors.c_0-layers",
    when=is_batched & is_sampled,
    needs=(Feature.STATE,),
    presupposes=WRONG_CELL_STATES,
    id="errors.c-0-layers",
)
def c_0_layers(observation: Observation) -> None:
    """A call with a padded batch rejects a `c_0` whose first dimension is not `D * num_layers`,
    even if `h_0` is right.

    The layer is called with a `c_0` that has one row more or less, a single row, twice as many, no
    rows, or the batch dimension first.

    Catches cell states that are not checked.
    """
    assert_call_rejected(observation, list_wrong_cell_layers)


@rule(
    "lstm.errors.c_0-batch",
    when=is_batched & is_sampled,
    needs=(Feature.STATE,),
    presupposes=WRONG_CELL_STATES,
    id="errors.c-0-batch",
)
def c_0_batch(observation: Observation) -> None:
    """A call with a padded batch rejects a `c_0` whose batch dimension differs from that of the
    input, even if `h_0` is right.

    The layer is called with a `c_0` for one sample, for one more or one less, for twice as many,
    for none, and for as many samples as there are time steps.

    Catches one cell state that is broadcast to all samples.
    """
    assert_call_rejected(observation, list_wrong_cell_batches)


@rule(
    "lstm.errors.c_0-size",
    when=is_batched & is_sampled,
    needs=(Feature.STATE,),
    presupposes=WRONG_CELL_STATES,
    id="errors.c-0-size",
)
def c_0_size(observation: Observation) -> None:
    """A call with a padded batch rejects a `c_0` whose last dimension is not `hidden_size`, even if
    `h_0` is right.

    The layer is called with a `c_0` that has one unit more or less, a single unit, twice as many,
    none, or as many as `h_0` has.

    Catches units that are cut off or broadcast.
    """
    assert_call_rejected(observation, list_wrong_cell_units)


@rule(
    "lstm.errors.c_0-rank",
    when=~is_packed & is_sampled,
    needs=(Feature.STATE,),
    presupposes=WRONG_CELL_STATES,
    id="errors.c-0-rank",
)
def c_0_rank(observation: Observation) -> None:
    """A call with padded input rejects a `c_0` that does not have the same number of dimensions as
    the input.

    The layer is called with a `c_0` that lacks the batch dimension or has one too many, that has
    separate dimensions for layers and directions, or that is a vector.

    Catches cell states that are silently squeezed, reshaped or broadcast.
    """
    assert_call_rejected(observation, list_wrong_cell_ranks)

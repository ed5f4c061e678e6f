"""Rules about the second state of a pair: its gradients, and calls that pass a wrong pair."""

from __future__ import annotations

from rnnspec.cases.axes import Feature, Layout
from rnnspec.cases.conditions import (
    has_initial_state,
    has_known_gradients,
    has_value,
    has_wide_dtype,
    is_batched,
    is_packed,
    one_in,
)
from rnnspec.observe.observation import Observation
from rnnspec.rulekit.assertions.gradients import assert_differentiable_alone
from rnnspec.rulekit.assertions.results import assert_gradients
from rnnspec.rulekit.rejections.calls import (
    assert_call_rejected,
    list_wrong_cell_batches,
    list_wrong_cell_layers,
    list_wrong_cell_ranks,
    list_wrong_cell_units,
    list_wrong_pairs,
)
from rnnspec.rulekit.rule import GIVEN_STATES, REPEATED_CALLS, VALID_CALLS, Fact, rule
from rnnspec.rules.cell_state import has_cell_state


@rule(
    "lstm.gradients.c_0",
    when=has_cell_state & has_known_gradients & has_wide_dtype & has_initial_state,
    needs=(Feature.GRADIENTS, Feature.STATE_GRADIENTS),
    about=("initial_state",),
    id="gradients.c-0",
)
def gradient_of_c_0(observation: Observation) -> None:
    """The gradient with respect to `c_0` is the derivative of the formulas.

    The gradient of `c_0` is compared with the reference's back-propagation, for each layer and
    direction.

    Catches a cell state that is detached, in some layers or directions or in all.
    """
    assert_gradients(observation, observation.gradients, observation.expected, ["c_0"])


@rule(
    "lstm.gradients.each-result",
    "lstm-cell.gradients.each-result",
    when=has_cell_state & has_known_gradients & one_in(12, 5),
    needs=(Feature.GRADIENTS, Feature.FINAL_STATE),
    presupposes=(*REPEATED_CALLS,),
    id="gradients.c-n-alone",
)
def c_n_alone(observation: Observation) -> None:
    """`c_n` can be differentiated without the other results.

    In a second call, only `c_n` is differentiated. All gradients are compared with the reference.

    Catches final cell states that are detached or copied out of the graph, and a backward pass that
    needs the gradient of another result.
    """
    assert_differentiable_alone(observation, observation.case.config.kind_data.name_final("c"))


is_sampled = has_cell_state & one_in(7)
WRONG_CELL_STATES = (Fact.RESULTS, *VALID_CALLS, *GIVEN_STATES, "cell-state.initial")


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

    The layer is called with a `c_0` that has a row too many or too few, a single row, twice as
    many, no rows, or the batch dimension first.

    Catches cell states that are not checked.
    """
    assert_call_rejected(observation, list_wrong_cell_layers)


@rule(
    "lstm.errors.c_0-batch",
    "lstm-cell.errors.c_0-batch",
    when=is_batched & is_sampled,
    needs=(Feature.STATE,),
    presupposes=(*WRONG_CELL_STATES, "errors.h-0-batch"),
    id="errors.c-0-batch",
    of_cells="A call with a batch rejects a `c_0` for another number of samples, even if `h_0` is "
    "right.",
)
def c_0_batch(observation: Observation) -> None:
    """A call with a padded batch rejects a `c_0` whose batch dimension differs from that of the
    input, even if `h_0` is right.

    The layer is called with a `c_0` for a single sample, for a sample too many or too few, for
    twice as many, for none, and for as many samples as there are time steps.

    Catches a single cell state that is broadcast to all samples.
    """
    assert_call_rejected(observation, list_wrong_cell_batches)


@rule(
    "lstm.errors.c_0-size",
    "lstm-cell.errors.c_0-size",
    when=is_batched & is_sampled,
    needs=(Feature.STATE,),
    presupposes=(*WRONG_CELL_STATES, "errors.h-0-size", "errors.c-0-batch"),
    id="errors.c-0-size",
    of_cells="A call rejects a `c_0` whose last dimension is not `hidden_size`, even if `h_0` is "
    "right.",
)
def c_0_size(observation: Observation) -> None:
    """A call with a padded batch rejects a `c_0` whose last dimension is not `hidden_size`, even if
    `h_0` is right.

    The layer is called with a `c_0` that has a unit too many or too few, a single unit, twice as
    many, none, or as many as `h_0` has.

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

    The layer is called with a `c_0` that lacks the batch dimension or has a dimension too many,
    that has separate dimensions for layers and directions, or that is a vector.

    Catches cell states that are silently squeezed, reshaped or broadcast.
    """
    assert_call_rejected(observation, list_wrong_cell_ranks)


@rule(
    "lstm.errors.pair",
    when=has_value(Layout.BATCHED, Layout.PACKED) & is_sampled,
    needs=(Feature.STATE,),
    presupposes=WRONG_CELL_STATES,
    id="errors.pair-of-states",
    of_cells="A call with a batch rejects anything but a pair of states.",
)
def pair_of_states(observation: Observation) -> None:
    """A call with a padded or packed batch rejects anything but a pair of states.

    The layer is called with three states, with a tensor instead of a tuple, and with a tuple of a
    single state. Unsorted sequences and input without a batch dimension are not checked, because
    `torch.nn.LSTM` itself ignores a third state there.

    Catches states that are ignored, and a single tensor that is used for both states.
    """
    assert_call_rejected(observation, list_wrong_pairs)

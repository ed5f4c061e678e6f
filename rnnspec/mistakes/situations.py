"""The cases and kinds that a mistake concerns, and the cases where its effect is unclear.

Pass them as `where`, `unclear` and `of` of your mistake, so that it is not tried elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable

from rnnspec.cases.axes import InitialState, Layout
from rnnspec.cases.case import Case
from rnnspec.contract.kinds import Kind, Nonlinearity


def is_padded_batch(case: Case) -> bool:
    """Return whether the input is a tensor with a batch axis."""
    return case.is_batched and not case.is_packed


def is_batch_first(case: Case) -> bool:
    """Return whether input and output of a call have the batch first."""
    return is_padded_batch(case) and case.config.batch_first


def is_batch_first_or_packed(case: Case) -> bool:
    """Return whether a call with a batch belongs to a layer with batch_first=True."""
    return case.is_batched and case.config.batch_first


def is_time_first(case: Case) -> bool:
    """Return whether input and output of a call have the time first."""
    return is_padded_batch(case) and not case.config.batch_first


def is_unbatched(case: Case) -> bool:
    """Return whether the input is a single sequence without a batch axis."""
    return not case.is_batched


def is_packed(case: Case) -> bool:
    """Return whether the input is packed."""
    return case.is_packed


def is_ragged(case: Case) -> bool:
    """Return whether the sequences of a packed batch differ in length."""
    return case.is_packed and len(set(case.lengths)) > 1


def is_unsorted(case: Case) -> bool:
    """Return whether a packed batch is not sorted by length."""
    return case.layout is Layout.PACKED_UNSORTED and case.batch > 1


def is_sorted_by_layer(case: Case) -> bool:
    """Return whether the neighbours of a sample depend on the order and the ends of sequences."""
    return is_ragged(case) or is_unsorted(case)


def is_bidirectional(case: Case) -> bool:
    """Return whether a layer has two directions."""
    return case.config.bidirectional


def is_stack(case: Case) -> bool:
    """Return whether there is more than one layer."""
    return case.config.num_layers > 1


def is_long(case: Case) -> bool:
    """Return whether there is more than one time step."""
    return case.steps > 1


def is_fresh(case: Case) -> bool:
    """Return whether the layer was not used before the call."""
    return case.is_fresh


def has_h_0(case: Case) -> bool:
    """Return whether the call passes an initial state."""
    return case.initial_state is InitialState.GIVEN


def has_previous_state(case: Case) -> bool:
    """Return whether a step reads a state that is not zero: h_0, or an earlier step's."""
    return is_long(case) or has_h_0(case)


def has_rows(case: Case) -> bool:
    """Return whether the states have more than one row."""
    return case.config.num_layers * case.config.num_directions > 1


def has_bias(case: Case) -> bool:
    """Return whether the layer has biases."""
    return case.config.bias


def reads_any(parameters: Iterable[str], case: Case) -> bool:
    """Return whether rows of gates in any of these parameters can change anything in a case."""
    return any(
        case.config.bias
        if name.startswith("bias")
        else name != "weight_hh" or has_previous_state(case)
        for name in parameters
    )


def has_nonlinearity(case: Case) -> bool:
    """Return whether the new state is a function of a single sum, without gates."""
    return not case.config.kind_data.is_gated


def has_gates(kind: Kind) -> bool:
    """Return whether the new state depends on gates."""
    return kind.is_gated


def has_cell_state(kind: Kind) -> bool:
    """Return whether there is a cell state."""
    return bool(kind.memory_gate)


def is_tanh(case: Case) -> bool:
    """Return whether the new state is the tanh of a sum."""
    return has_nonlinearity(case) and case.config.nonlinearity == Nonlinearity.TANH


def is_relu(case: Case) -> bool:
    """Return whether the new state is the relu of a sum."""
    return has_nonlinearity(case) and case.config.nonlinearity == Nonlinearity.RELU

"""Calls with initial states of wrong shapes, which a layer must reject."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from rnnspec.observe.observation import Observation
from rnnspec.observe.tensors import StateArgument, find_batch_axis
from rnnspec.rulekit.fixtures.constructor_calls import pick_values
from rnnspec.rulekit.rejections.calls import (
    CALLS_PER_CASE,
    InvalidCall,
    ValidCall,
    build_valid_call,
    list_wrong_sizes,
    resize_dimension,
)

Change = Callable[[Tensor], Tensor]
HIDDEN, CELL = "h_0", "c_0"


def list_wrong_state_ranks(observation: Observation) -> list[InvalidCall]:
    """Return calls whose h_0 has more or fewer dimensions than the padded input."""
    return _pick(observation, HIDDEN, _list_ranks(observation))


def list_unbatched_states(observation: Observation) -> list[InvalidCall]:
    """Return calls of a cell with a batch whose h_0, or every state, has no batch dimension."""
    return _pick(observation, HIDDEN, [lambda state: state[0]])


def list_wrong_cell_ranks(observation: Observation) -> list[InvalidCall]:
    """Return calls whose c_0 has more or fewer dimensions than the padded input."""
    return _pick(observation, CELL, _list_ranks(observation))


def list_wrong_packed_state_ranks(observation: Observation) -> list[InvalidCall]:
    """Return calls with packed input whose h_0 does not have three dimensions."""
    changes: list[Change] = [
        lambda state: state[:, 0],
        lambda state: state[0],
        _separate(observation),
        lambda state: state[0, 0],
        lambda state: state.unsqueeze(0),
    ]
    return _pick(observation, HIDDEN, changes)


def list_wrong_layers(observation: Observation) -> list[InvalidCall]:
    """Return calls with an h_0 whose first dimension is not `D * num_layers`.

    If there is a batch dimension, some of them have it first.
    """
    return _list_layers(observation, HIDDEN)


def list_wrong_cell_layers(observation: Observation) -> list[InvalidCall]:
    """Return calls with a c_0 whose first dimension is not `D * num_layers`."""
    return _list_layers(observation, CELL)


def list_wrong_batches(observation: Observation) -> list[InvalidCall]:
    """Return calls with an h_0 whose batch dimension is not that of the input."""
    return _resize_batch(observation, HIDDEN)


def list_wrong_cell_batches(observation: Observation) -> list[InvalidCall]:
    """Return calls with a c_0 whose batch dimension is not that of the input."""
    return _resize_batch(observation, CELL)


def list_missing_samples(observation: Observation) -> list[InvalidCall]:
    """Return calls with an h_0 for fewer samples than the input has."""
    batch = observation.case.batch
    sizes = [size for size in dict.fromkeys((1, batch - 1, 0)) if size < batch]
    return _resize(observation, HIDDEN, 1, sizes)


def list_wrong_units(observation: Observation) -> list[InvalidCall]:
    """Return calls with an h_0 whose last dimension is not the documented size."""
    config = observation.case.config
    width = config.num_directions * config.output_size
    sizes = list_wrong_sizes(config.output_size, config.input_size, width, config.hidden_size)
    return _resize(observation, HIDDEN, -1, sizes)


def list_wrong_cell_units(observation: Observation) -> list[InvalidCall]:
    """Return calls with a c_0 whose last dimension is not `hidden_size`."""
    config = observation.case.config
    sizes = list_wrong_sizes(config.hidden_size, config.output_size, config.input_size)
    return _resize(observation, CELL, -1, sizes)


def list_wrong_pairs(observation: Observation) -> list[InvalidCall]:
    """Return calls whose states are a tensor, a single state in a tuple, or three states."""
    valid = build_valid_call(observation)
    expected = f"instead of ({', '.join(valid.states)})"
    hidden, cell = valid.states.values()
    wrong: list[tuple[str, StateArgument]] = [
        ("three states", (hidden, cell, cell)),
        ("one tensor", hidden),
        ("a tuple of one state", (hidden,)),
    ]
    return [
        InvalidCall(f"{description} {expected}", valid.input, hx)
        for description, hx in pick_values(observation, wrong, CALLS_PER_CASE)
    ]


def _list_ranks(observation: Observation) -> list[Change]:
    """Return changes of the number of dimensions of a state for input that is not packed.

    A cell is given states that have neither one nor two dimensions.
    """
    if observation.case.config.kind_data.is_cell:
        return [
            lambda state: state.reshape(1, -1, state.size(-1)),
            lambda state: state.flatten()[0],
            lambda state: state.reshape(1, 1, -1, state.size(-1)),
        ]
    if observation.case.is_batched:
        return [
            lambda state: state[:, 0],
            lambda state: state[0, 0],
            _separate(observation),
            lambda state: state.unsqueeze(0),
        ]
    return [
        lambda state: state.unsqueeze(1),
        lambda state: state.unsqueeze(0),
        lambda state: state[0],
        _separate(observation),
        lambda state: state[:, None, None],
    ]


def _separate(observation: Observation) -> Change:
    """Return a function that gives layers and directions separate dimensions."""
    config = observation.case.config
    rows = (config.num_layers, config.num_directions)
    return lambda state: state.reshape(*rows, *state.shape[1:])


def _list_layers(observation: Observation, name: str) -> list[InvalidCall]:
    valid, case = build_valid_call(observation), observation.case
    rows = case.config.num_layers * case.config.num_directions
    is_exchangeable = case.is_batched and case.batch != rows
    exchanged = _list_changed(valid, name, _exchange) if is_exchangeable else []
    sizes = list_wrong_sizes(rows, case.config.num_layers, case.batch)
    resized = _resize(observation, name, 0, sizes)
    return [*exchanged, *resized[: max(1, CALLS_PER_CASE - len(exchanged))]]


def _exchange(state: Tensor) -> Tensor:
    return state.transpose(0, 1)


def _resize_batch(observation: Observation, name: str) -> list[InvalidCall]:
    """Return calls with another number of samples in a state; there must be a batch dimension."""
    case, axis = observation.case, find_batch_axis(observation.case)
    sizes = list_wrong_sizes(case.batch, case.steps)
    return [] if axis is None else _resize(observation, name, axis, sizes)


def _resize(
    observation: Observation, name: str, dimension: int, sizes: Sequence[int]
) -> list[InvalidCall]:
    """Return calls with other sizes of a state in the given dimension."""

    def make(size: int) -> Change:
        return lambda state: resize_dimension(state, dimension, size)

    return _pick(observation, name, [make(size) for size in sizes])


def _pick(observation: Observation, name: str, changes: Sequence[Change]) -> list[InvalidCall]:
    """Return calls with some of these changes of a state, chosen by the seed of the case."""
    valid = build_valid_call(observation)
    return [
        call
        for change in pick_values(observation, changes, CALLS_PER_CASE)
        for call in _list_changed(valid, name, change)
    ]


def _list_changed(valid: ValidCall, name: str, change: Change) -> list[InvalidCall]:
    """Return calls with a single change of a state.

    A wrong h_0 is passed with a right c_0, and with a c_0 that is wrong in the same way.
    """
    is_leading = name == HIDDEN and len(valid.states) > 1
    return [
        valid.with_states(_change(valid, name, change, alike=alike))
        for alike in ((False, True) if is_leading else (False,))
    ]


def _change(
    valid: ValidCall, name: str, change: Change, *, alike: bool = False
) -> dict[str, Tensor]:
    """Return a state in another shape; the other states too if the change is to be `alike`."""
    names = list(valid.states) if alike else [name]
    changed: dict[str, Tensor] = {}
    for each in names:
        state = valid.states[each]
        requires_grad = state.requires_grad
        changed[each] = change(state.detach()).contiguous().requires_grad_(requires_grad)
    return changed

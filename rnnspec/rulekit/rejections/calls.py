"""Invalid calls, each with a single fault, and the exceptions that a layer must raise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnnspec.cases.axes import DType, Feature, InitialState, Layout, MemoryLayout
from rnnspec.cases.conditions import has_checked_shapes
from rnnspec.observe.observation import Observation
from rnnspec.observe.prepared import PreparedLayer
from rnnspec.observe.tensors import StateArgument, build_arguments, find_batch_axis, join_argument
from rnnspec.reference.values import TensorChange
from rnnspec.rulekit.fixtures.constructor_calls import (
    pick_values,
    write_rejection_snippet,
    write_tensor,
)
from rnnspec.rulekit.snippet import write_states
from rnnspec.rulekit.violation import Violation
from rnnspec.subjects.failures import Ended, Raised
from rnnspec.subjects.steps import CALL
from rnnspec.subjects.subject import observe_step

# Zeros would look like no initial state, so cases without states use this value.
STATE_OFFSET = 0.5
CALLS_PER_CASE = 4
"""Invalid calls of a kind in a case; with 2, quick missed states without samples for two kinds."""
OWN_LAYER_IN = 4
"""If the layer of a case is fresh, each kind of invalid calls has a new layer in 1 of 4 cases."""
OTHER_DTYPES = (torch.int64, torch.bool, torch.complex64)
"""Dtypes that no layer computes in."""


@dataclass(frozen=True)
class InvalidCall:
    """The arguments of a call that a layer must reject.

    description     the fault of the call, e.g. "a 1-D input"
    hx              the initial states that are passed, or None
    expected_error  the type of exception that the layer must raise
    """

    description: str
    input: Any
    hx: StateArgument
    expected_error: type[Exception] = RuntimeError

    def __str__(self) -> str:
        """The arguments as Python code, for a reproduction program."""
        packed = isinstance(self.input, PackedSequence)
        first = (
            f"type(given[0])({write_tensor(self.input.data)}, *given[0][1:])"
            if packed
            else write_tensor(self.input)
        )
        if self.hx is None:
            return first
        states = (self.hx,) if isinstance(self.hx, Tensor) else self.hx
        written = write_states(list(map(write_tensor, states)))
        is_single = not isinstance(self.hx, Tensor) and len(states) == 1
        return f"{first}, ({written},)" if is_single else f"{first}, {written}"

    @property
    def positional(self) -> tuple[Any, ...]:
        """The arguments in their order."""
        return (self.input,) if self.hx is None else (self.input, self.hx)

    def detach_arguments(self) -> InvalidCall:
        """Return the same call, with arguments that require no gradients."""
        packed = isinstance(self.input, PackedSequence)
        data = self.input.data.detach() if packed else self.input.detach()
        hx = (
            self.hx.detach()
            if isinstance(self.hx, Tensor)
            else self.hx and tuple(state.detach() for state in self.hx)
        )
        given = PackedSequence(data, *self.input[1:]) if packed else data
        return replace(self, input=given, hx=hx)


CallLister = Callable[[Observation], list[InvalidCall]]
"""A function that lists invalid calls with the same fault. Begin yours with `build_valid_call`."""


@dataclass(frozen=True)
class ValidCall:
    """The arguments of a call that a layer must accept, contiguous in memory.

    data    the tensor behind the input, which may be packed
    hx      the initial states that the case passes, or None
    states  initial states by name that fit the input, whether or not the case passes them
    """

    input: Any
    data: Tensor
    hx: StateArgument
    states: dict[str, Tensor]

    def with_data(
        self, description: str, data: Tensor, expected_error: type[Exception] = RuntimeError
    ) -> InvalidCall:
        """Return the same call with other data in the input."""
        given = (
            PackedSequence(data, *self.input[1:])
            if isinstance(self.input, PackedSequence)
            else data
        )
        return InvalidCall(description, given, self.hx, expected_error)

    def without_states(
        self, description: str, data: Tensor, expected_error: type[Exception] = RuntimeError
    ) -> InvalidCall:
        """Return a call with other data and no initial states."""
        call = self.with_data(f"{description} without an initial state", data, expected_error)
        return replace(call, hx=None)

    def with_states(self, changed: Mapping[str, Tensor]) -> InvalidCall:
        """Return the same call with some initial states of other shapes."""
        shapes = " and ".join(str(tuple(state.shape)) for state in changed.values())
        expected = " and ".join(str(tuple(self.states[name].shape)) for name in changed)
        name = next(iter(changed))
        named = (
            "a pair of states of shapes"
            if len(changed) > 1
            else f"{'an' if name == 'h_0' else 'a'} {name} of shape"
        )
        return InvalidCall(
            f"{named} {shapes} instead of {expected}",
            self.input,
            join_argument({**self.states, **changed}),
        )


def build_valid_call(observation: Observation) -> ValidCall:
    """Return the valid call from which you make an invalid call, by a single change."""
    passes_state = observation.case.initial_state is InitialState.GIVEN
    case = observation.case.replace(
        memory_layout=MemoryLayout.CONTIGUOUS, initial_state=InitialState.GIVEN
    )
    initial = observation.values.initial + (0.0 if passes_state else STATE_OFFSET)
    given = build_arguments(case, observation.values.input, initial, observation.subject.device)
    return ValidCall(given.input, given.leaf, given.hx if passes_state else None, given.initial)


def resize_dimension(tensor: Tensor, dim: int, size: int) -> Tensor:
    """Return the tensor with another size in one dimension: cut, or repeated from its start."""
    places = torch.arange(size, device=tensor.device) % max(1, tensor.size(dim))
    return tensor.detach().index_select(dim, places).requires_grad_(tensor.requires_grad)


def list_wrong_sizes(right: int, *others: int) -> list[int]:
    """Return sizes other than the right size, the likely mistakes first.

    The sizes are `right + 1`, 1, `right - 1`, `2 * right`, 0, and `others`.
    """
    return [
        size
        for size in dict.fromkeys((right + 1, 1, right - 1, 2 * right, 0, *others))
        if size != right and size >= 0
    ]


def list_wrong_features(observation: Observation) -> list[InvalidCall]:
    """Return calls with inputs whose last dimension is not `input_size`."""
    valid, config = build_valid_call(observation), observation.case.config
    sizes = list_wrong_sizes(config.input_size, config.hidden_size)
    return _pick_with_data(
        observation,
        valid,
        [
            (
                f"an input with {size} {'feature' if size == 1 else 'features'} instead of "
                f"{config.input_size}",
                resize_dimension(valid.data, -1, size),
            )
            for size in sizes
        ],
    )


def list_wrong_ranks(observation: Observation) -> list[InvalidCall]:
    """Return calls with padded inputs of fewer than two or more than three dimensions.

    The input of a cell has a dimension less.
    """
    valid = build_valid_call(observation)
    data = valid.data.detach()
    vector = data.flatten()[: data.size(-1)]
    larger = data.reshape((1,) * (4 - data.dim()) + tuple(data.shape))
    exchanged = larger.transpose(0, 2).contiguous()
    if observation.case.config.kind_data.is_cell:
        wrong = [larger[0], vector[0], larger]
    else:
        wrong = [vector, larger, exchanged, vector[0], larger.unsqueeze(0)]
    described = [(f"a {tensor.dim()}-D input", tensor.contiguous()) for tensor in wrong]
    return _pick_with_data(observation, valid, described, ValueError)


def _pick_with_data(
    observation: Observation,
    valid: ValidCall,
    wrong: list[tuple[str, Tensor]],
    expected_error: type[Exception] = RuntimeError,
) -> list[InvalidCall]:
    """Return calls with some of the wrong inputs, alternately with and without initial states.

    Both are used because default states of the layer may fit any input. Another seed swaps them.
    """
    first = observation.case.seed // max(1, len(wrong))
    calls = [
        valid.with_data(*each, expected_error)
        if (first + place) % 2 or valid.hx is None
        else valid.without_states(*each, expected_error)
        for place, each in enumerate(wrong)
    ]
    return pick_values(observation, calls, CALLS_PER_CASE)


def list_empty_sequences(observation: Observation) -> list[InvalidCall]:
    """Return a call with a padded input that has no time steps."""
    valid, case = build_valid_call(observation), observation.case
    time = 1 if case.is_batched and case.config.batch_first else 0
    return [valid.with_data("a sequence of length 0", resize_dimension(valid.data, time, 0))]


def list_wrong_dtypes(observation: Observation) -> list[InvalidCall]:
    """Return calls with inputs in another dtype than the parameters, floating-point or not.

    An initial state has the dtype of the parameters.
    """
    valid, own = build_valid_call(observation), observation.case.dtype
    data = valid.data.detach()
    floats = [dtype.torch_dtype for dtype in DType if dtype is not own]
    others = [dtype for pair in zip(floats, OTHER_DTYPES, strict=True) for dtype in pair]
    return [
        valid.with_data(
            f"{str(dtype).removeprefix('torch.')} input for {own} parameters",
            data.to(dtype),
            ValueError,
        )
        for dtype in pick_values(observation, others, CALLS_PER_CASE)
    ]


def list_wrong_devices(observation: Observation) -> list[InvalidCall]:
    """Return calls with an input, or an initial state, on the CPU and everything else elsewhere."""
    valid = build_valid_call(observation)
    own, other = observation.subject.device, "cpu"
    moved = [
        valid.with_data(
            f"an input on {other} for a layer on {own}",
            torch.ones_like(valid.data.detach(), device=other),
        )
    ]
    if observation.subject.offers(Feature.STATE):
        states = {
            name: torch.ones_like(state.detach(), device=other)
            for name, state in valid.states.items()
        }
        description = f"{' and '.join(states)} on {other} for a layer on {own}"
        moved.append(InvalidCall(description, valid.input, join_argument(states)))
    return moved


def provoke_rejection(
    prepared: PreparedLayer, call: InvalidCall, afterwards: Callable[[], object] = tuple
) -> Exception | None:
    """Return the exception with which a layer rejects a call, or None if it accepts the call.

    `afterwards` is called before settings are restored. Raises Unsupported if the layer refuses a
    feature openly, and Violation if it ends the process or does not return.
    """
    try:
        with observe_step(CALL, may_fail=True):
            try:
                prepared.caller(*call.positional)
            finally:
                afterwards()
    except Ended as end:
        snippet = write_rejection_snippet(f"layer({call})")
        raise Violation(f"with {call.description}, {end}; expected an exception", snippet) from end
    except Raised as raised:
        return raised.error if isinstance(raised.error, Exception) else None
    return None


def assert_call_rejected(observation: Observation, lister: CallLister) -> None:
    """Raise Violation if a layer with the prior use of the case accepts one of the listed calls.

    The message names the call by your description of it.
    """
    for place, call in enumerate(list_calls(observation, lister)):
        if reject_call(observation, lister, place) is None:
            snippet = write_rejection_snippet(f"layer({call})")
            raise Violation(f"{call.description} is accepted, expected an exception", snippet)


def list_calls(observation: Observation, lister: CallLister) -> list[InvalidCall]:
    """Return the invalid calls of a kind, which all rules share."""
    return observation.remember(f"invalid {lister.__name__}", lambda: lister(observation))


def reject_call(observation: Observation, lister: CallLister, place: int) -> Exception | None:
    """Return the exception with which the layer rejects a call of a kind, or None.

    All rules share the call. Raises the same exceptions as `provoke_rejection`.
    """
    call = list_calls(observation, lister)[place]

    def reject() -> Exception | None:
        prepared = _choose_layer_to_spoil(observation, lister)
        with observation.case.grad_mode.enter():
            return provoke_rejection(prepared, call)

    return observation.remember(f"rejection {lister.__name__} {place}", reject)


def _choose_layer_to_spoil(observation: Observation, lister: CallLister) -> PreparedLayer:
    """Return the layer for the invalid calls of a kind.

    By default, all kinds share a layer. If the layer of the case is fresh, some kinds, which vary
    from case to case, get a new layer, so that an invalid call is its first call.
    """
    number = sum(map(ord, lister.__name__)) + observation.case.seed // 7
    is_own = observation.case.is_fresh and number % OWN_LAYER_IN == 0
    if not is_own:
        return observation.spare_layer
    return observation.remember(
        f"layer for {lister.__name__}", lambda: observation.new_layer(observation.case).prepared
    )


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
    changes: list[TensorChange] = [
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
    """Return calls with an h_0 whose batch dimension differs from the input's."""
    return _resize_batch(observation, HIDDEN)


def list_wrong_cell_batches(observation: Observation) -> list[InvalidCall]:
    """Return calls with a c_0 whose batch dimension differs from the input's."""
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
        ("a tuple of three states", (hidden, cell, cell)),
        ("a single tensor", hidden),
        ("a tuple of one state", (hidden,)),
    ]
    return [
        InvalidCall(f"{description} {expected}", valid.input, hx)
        for description, hx in pick_values(observation, wrong, CALLS_PER_CASE)
    ]


def _list_ranks(observation: Observation) -> list[TensorChange]:
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


def _separate(observation: Observation) -> TensorChange:
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

    def make(size: int) -> TensorChange:
        return lambda state: resize_dimension(state, dimension, size)

    return _pick(observation, name, [make(size) for size in sizes])


def _pick(
    observation: Observation, name: str, changes: Sequence[TensorChange]
) -> list[InvalidCall]:
    """Return calls with some of these changes of a state, chosen by the seed of the case."""
    valid = build_valid_call(observation)
    return [
        call
        for change in pick_values(observation, changes, CALLS_PER_CASE)
        for call in _list_changed(valid, name, change)
    ]


def _list_changed(valid: ValidCall, name: str, change: TensorChange) -> list[InvalidCall]:
    """Return calls with a single change of a state.

    A wrong h_0 is passed with a right c_0, and with a c_0 that is wrong in the same way.
    """
    is_leading = name == HIDDEN and len(valid.states) > 1
    return [
        valid.with_states(_change(valid, name, change, alike=alike))
        for alike in ((False, True) if is_leading else (False,))
    ]


def _change(
    valid: ValidCall, name: str, change: TensorChange, *, alike: bool = False
) -> dict[str, Tensor]:
    """Return a state in another shape; the other states too if the change is to be `alike`."""
    names = list(valid.states) if alike else [name]
    changed: dict[str, Tensor] = {}
    for each in names:
        state = valid.states[each]
        requires_grad = state.requires_grad
        changed[each] = change(state.detach()).contiguous().requires_grad_(requires_grad)
    return changed


INPUTS: tuple[CallLister, ...] = (list_wrong_features, list_wrong_dtypes)
STATES: tuple[CallLister, ...] = (list_wrong_layers, list_wrong_units)
KINDS_PER_CASE = 2


def list_tested_kinds(observation: Observation) -> list[CallLister]:
    """Return the kinds for which PyTorch's own tests require a type of exception.

    They need padded or unbatched input.
    """
    case = observation.case
    if case.is_packed:
        return []
    if case.config.kind_data.is_cell:
        batches = [list_wrong_batches] if case.is_batched else []
        return [list_wrong_features, *_offer(observation, (list_wrong_units, *batches))]
    states = (*STATES, *([list_wrong_batches] if case.layout is Layout.BATCHED else []))
    return [*INPUTS, list_empty_sequences, *_offer(observation, states)]


def list_other_kinds(observation: Observation) -> list[CallLister]:
    """Return the kinds whose type of exception is set only by PyTorch's code."""
    case = observation.case
    if not has_checked_shapes(case):
        return []
    if not case.is_packed:
        return [list_wrong_ranks, *_offer(observation, (list_wrong_state_ranks,))]
    # Unsorted states are sorted before they are checked, and sorting raises other errors.
    sorted_only = (list_wrong_packed_state_ranks, list_wrong_batches)
    states = (*STATES, *(sorted_only if case.layout.is_sorted else ()))
    return [*INPUTS, *_offer(observation, states)]


def _offer(observation: Observation, states: Sequence[CallLister]) -> Sequence[CallLister]:
    return states if observation.subject.offers(Feature.STATE) else ()


def assert_rejection_types(observation: Observation, kinds: Sequence[CallLister]) -> None:
    """Raise Violation if an invalid call of some of the kinds raises another type of exception.

    Calls that are accepted are left to other rules, which make most of these calls anyway.
    """
    for lister in pick_values(observation, kinds, KINDS_PER_CASE):
        call, error = list_calls(observation, lister)[0], reject_call(observation, lister, 0)
        expected = call.expected_error
        if error is not None and not isinstance(error, expected):
            raise Violation(
                f"{call.description} should raise {expected.__name__}; "
                f"it raised {type(error).__name__}",
                write_rejection_snippet(f"layer({call})", (expected,)),
            ) from Raised(CALL, error)

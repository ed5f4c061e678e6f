"""Invalid calls, each with a single fault, and the exceptions that a layer must raise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnnspec.cases.axes import DType, EarlierCalls, Feature, InitialState, MemoryLayout
from rnnspec.observe.observation import Observation
from rnnspec.observe.prepared import PreparedLayer, call_module
from rnnspec.observe.tensors import build_arguments
from rnnspec.rulekit.fixtures.constructor_calls import (
    pick_values,
    write_rejection_snippet,
    write_tensor,
)
from rnnspec.rulekit.violation import Violation
from rnnspec.subjects.failures import Ended, Raised
from rnnspec.subjects.steps import CALL
from rnnspec.subjects.subject import observe_step

# An initial state of zeros would look the same as none, so an absent one becomes this.
STATE_OFFSET = 0.5
CALLS_PER_CASE = 2
OWN_LAYER_IN = 4
"""If the layer of a case is fresh, one kind of invalid calls in so many has a layer of its own."""
OTHER_DTYPES = (torch.int64, torch.bool, torch.complex64)
"""Dtypes that no layer computes in."""


@dataclass(frozen=True)
class InvalidCall:
    """The arguments of a call that a layer must reject.

    description     what is wrong, e.g. "a 1-D input"
    h_0             the initial state, or None if none is passed
    expected_error  the type of exception that the layer must raise
    """

    description: str
    input: Any
    h_0: Tensor | None
    expected_error: type[Exception] = RuntimeError

    def __str__(self) -> str:
        """The arguments as Python code, for a reproduction program."""
        packed = isinstance(self.input, PackedSequence)
        first = (
            f"type(given[0])({write_tensor(self.input.data)}, *given[0][1:])"
            if packed
            else write_tensor(self.input)
        )
        return first if self.h_0 is None else f"{first}, {write_tensor(self.h_0)}"


CallLister = Callable[[Observation], list[InvalidCall]]
"""A function that lists invalid calls with the same kind of fault."""


@dataclass(frozen=True)
class ValidCall:
    """The arguments of a call that a layer must accept, contiguous in memory.

    data   the tensor behind the input, which may be packed
    h_0    the initial state that the case passes, or None
    state  an initial state that fits the input, whether or not the case passes one
    """

    input: Any
    data: Tensor
    h_0: Tensor | None
    state: Tensor

    def with_data(
        self, description: str, data: Tensor, expected_error: type[Exception] = RuntimeError
    ) -> InvalidCall:
        """Return the same call with other data in the input."""
        given = (
            PackedSequence(data, *self.input[1:])
            if isinstance(self.input, PackedSequence)
            else data
        )
        return InvalidCall(description, given, self.h_0, expected_error)

    def with_state(self, state: Tensor) -> InvalidCall:
        """Return the same call with an initial state of another shape."""
        shape, expected = tuple(state.shape), tuple(self.state.shape)
        return InvalidCall(f"an h_0 of shape {shape} instead of {expected}", self.input, state)


def build_valid_call(observation: Observation) -> ValidCall:
    """Return the valid call that the invalid ones are made of."""
    passes_state = observation.case.initial_state is InitialState.GIVEN
    case = observation.case.replace(
        memory_layout=MemoryLayout.CONTIGUOUS, initial_state=InitialState.GIVEN
    )
    h_0 = observation.values.h_0 if passes_state else observation.values.h_0 + STATE_OFFSET
    given = build_arguments(case, observation.values.input, h_0, observation.subject.device)
    assert given.h_0 is not None
    return ValidCall(given.input, given.leaf, given.h_0 if passes_state else None, given.h_0)


def resize_dimension(tensor: Tensor, dim: int, size: int) -> Tensor:
    """Return the tensor with another size in one dimension: cut, or repeated from its start."""
    places = torch.arange(size, device=tensor.device) % max(1, tensor.size(dim))
    return tensor.detach().index_select(dim, places).requires_grad_(tensor.requires_grad)


def list_wrong_sizes(right: int, *others: int) -> list[int]:
    """Return sizes other than the right one, the likely mistakes first.

    They are one more, 1, one less, twice as many, 0, and `others`.
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
    return [
        valid.with_data(
            f"an input with {size} features instead of {config.input_size}",
            resize_dimension(valid.data, -1, size),
        )
        for size in pick_values(observation, sizes, CALLS_PER_CASE)
    ]


def list_wrong_ranks(observation: Observation) -> list[InvalidCall]:
    """Return calls with padded inputs of fewer than two or more than three dimensions."""
    valid = build_valid_call(observation)
    data = valid.data.detach()
    vector = data.flatten()[: data.size(-1)]
    larger = data.reshape((1,) * (4 - data.dim()) + tuple(data.shape))
    exchanged = larger.transpose(0, 2).contiguous()
    wrong = [vector, larger, exchanged, vector[0], larger.unsqueeze(0)]
    return [
        valid.with_data(f"a {tensor.dim()}-D input", tensor.contiguous(), ValueError)
        for tensor in pick_values(observation, wrong, CALLS_PER_CASE)
    ]


def list_wrong_state_ranks(observation: Observation) -> list[InvalidCall]:
    """Return calls whose initial state has more or fewer dimensions than the padded input."""
    valid, config = build_valid_call(observation), observation.case.config
    state = valid.state.detach()
    by_layer = state.reshape(config.num_layers, config.num_directions, *state.shape[1:])
    batched = [state[:, 0], state[0, 0], by_layer, state.unsqueeze(0)]
    unbatched = [state.unsqueeze(1), state.unsqueeze(0), state[0], by_layer, state[:, None, None]]
    wrong = batched if observation.case.is_batched else unbatched
    return [
        valid.with_state(tensor.contiguous())
        for tensor in pick_values(observation, wrong, CALLS_PER_CASE)
        if tensor.dim() != state.dim()
    ]


def list_wrong_packed_state_ranks(observation: Observation) -> list[InvalidCall]:
    """Return calls with packed input whose initial state does not have three dimensions."""
    valid, config = build_valid_call(observation), observation.case.config
    state = valid.state.detach()
    by_layer = state.reshape(config.num_layers, config.num_directions, *state.shape[1:])
    wrong = [state[:, 0], state[0], by_layer, state[0, 0], state.unsqueeze(0)]
    return [
        valid.with_state(tensor.contiguous())
        for tensor in pick_values(observation, wrong, CALLS_PER_CASE)
    ]


def list_wrong_layers(observation: Observation) -> list[InvalidCall]:
    """Return calls with initial states whose first dimension is not `D * num_layers`.

    If there is a batch dimension, one of the states has it first.
    """
    valid, case = build_valid_call(observation), observation.case
    rows = case.config.num_layers * case.config.num_directions
    sizes = list_wrong_sizes(rows, case.config.num_layers, case.batch)
    exchanged = valid.state.detach().transpose(0, 1).contiguous()
    batch_first = [exchanged] if case.is_batched and case.batch != rows else []
    sizes = pick_values(observation, sizes, CALLS_PER_CASE - len(batch_first))
    resized = [resize_dimension(valid.state, 0, size) for size in sizes]
    return [valid.with_state(state) for state in (*batch_first, *resized)]


def list_wrong_batches(observation: Observation) -> list[InvalidCall]:
    """Return calls with initial states whose batch dimension is not that of the input."""
    valid, case = build_valid_call(observation), observation.case
    sizes = list_wrong_sizes(case.batch, case.steps)
    return [
        valid.with_state(resize_dimension(valid.state, 1, size))
        for size in pick_values(observation, sizes, CALLS_PER_CASE)
    ]


def list_missing_samples(observation: Observation) -> list[InvalidCall]:
    """Return calls with initial states for fewer samples than the input has."""
    valid, batch = build_valid_call(observation), observation.case.batch
    sizes = [size for size in dict.fromkeys((1, batch - 1, 0)) if size < batch]
    return [
        valid.with_state(resize_dimension(valid.state, 1, size))
        for size in pick_values(observation, sizes, CALLS_PER_CASE)
    ]


def list_wrong_units(observation: Observation) -> list[InvalidCall]:
    """Return calls with initial states whose last dimension is not `hidden_size`."""
    valid, config = build_valid_call(observation), observation.case.config
    width = config.num_directions * config.hidden_size
    sizes = list_wrong_sizes(config.hidden_size, config.input_size, width)
    return [
        valid.with_state(resize_dimension(valid.state, -1, size))
        for size in pick_values(observation, sizes, CALLS_PER_CASE)
    ]


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
    """Return calls with an input, or an initial state, on the CPU; all the rest is elsewhere."""
    valid = build_valid_call(observation)
    own, other = observation.subject.device, "cpu"
    moved = [
        valid.with_data(
            f"an input on {other} for a layer on {own}",
            torch.ones_like(valid.data.detach(), device=other),
        )
    ]
    if observation.subject.offers(Feature.STATE):
        state = torch.ones_like(valid.state.detach(), device=other)
        description = f"an h_0 on {other} for a layer on {own}"
        moved.append(InvalidCall(description, valid.input, state))
    return moved


def provoke_rejection(
    prepared: PreparedLayer, call: InvalidCall, afterwards: Callable[[], object] = tuple
) -> Exception | None:
    """Return the exception with which a layer rejects a call, or None if it accepts the call.

    `afterwards` is called before settings are restored. Raises Unsupported if the layer says
    openly that it lacks a feature, and Violation if it ends the process or does not return.
    """
    try:
        with observe_step(CALL):
            try:
                call_module(prepared.caller, call.input, call.h_0)
            finally:
                afterwards()
    except Ended as end:
        snippet = write_rejection_snippet(f"layer({call})")
        raise Violation(f"with {call.description}, {end}; expected an exception", snippet) from end
    except Raised as raised:
        return raised.error if isinstance(raised.error, Exception) else None
    return None


def assert_call_rejected(observation: Observation, lister: CallLister) -> None:
    """Raise Violation if a layer with the prior use of the case accepts one of the calls listed."""
    for place, call in enumerate(list_calls(observation, lister)):
        if reject_call(observation, lister, place) is None:
            snippet = write_rejection_snippet(f"layer({call})")
            raise Violation(f"{call.description} is accepted, expected an exception", snippet)


def list_calls(observation: Observation, lister: CallLister) -> list[InvalidCall]:
    """Return the invalid calls of one kind; they are the same for all rules."""
    return observation.remember(f"invalid {lister.__name__}", lambda: lister(observation))


def reject_call(observation: Observation, lister: CallLister, place: int) -> Exception | None:
    """Return the exception with which the layer rejects one of the calls of a kind, or None.

    The call is made once for all rules. Raises as `provoke_rejection`.
    """
    call = list_calls(observation, lister)[place]

    def reject() -> Exception | None:
        prepared = _choose_layer_to_spoil(observation, lister)
        with observation.case.grad_mode.enter():
            return provoke_rejection(prepared, call)

    return observation.remember(f"rejection {lister.__name__} {place}", reject)


def _choose_layer_to_spoil(observation: Observation, lister: CallLister) -> PreparedLayer:
    """Return the layer for the invalid calls of one kind.

    It is one that all kinds share. If the layer of the case is fresh, some kinds, other ones in
    other cases, have a new one, so that an invalid call is its first.
    """
    number = sum(map(ord, lister.__name__)) + observation.case.seed // 7
    is_own = observation.case.prior_use is EarlierCalls.FRESH and number % OWN_LAYER_IN == 0
    if not is_own:
        return observation.spare_layer
    return observation.remember(
        f"layer for {lister.__name__}", lambda: observation.new_layer(observation.case).prepared
    )

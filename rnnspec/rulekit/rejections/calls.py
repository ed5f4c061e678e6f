"""Calls with one thing wrong: what has to be refused, and by which type of exception."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from rnnspec.cases.axes import DType, EarlierCalls, Feature, InitialState, MemoryLayout
from rnnspec.cases.case import Case
from rnnspec.observe.observation import Observation
from rnnspec.observe.prepared import PreparedLayer, call_module
from rnnspec.observe.tensors import build_arguments
from rnnspec.rulekit.fixtures.constructor_calls import (
    pick_values,
    write_rejection_snippet,
    write_tensor,
)
from rnnspec.rulekit.violation import Violation
from rnnspec.subjects.failures import Raised
from rnnspec.subjects.subject import observing

STATE = 0.5
TRIED = 3


@dataclass(frozen=True)
class WrongCall:
    """The arguments of a call that must be refused, what is wrong in words, and the type of exception that is due."""

    words: str
    input: Any
    h_0: Tensor | None
    due: type[Exception] = RuntimeError

    def __str__(self) -> str:
        """The arguments as Python, for a proof."""
        packed = isinstance(self.input, PackedSequence)
        first = (
            f"type(given[0])({write_tensor(self.input.data)}, *given[0][1:])"
            if packed
            else write_tensor(self.input)
        )
        return first if self.h_0 is None else f"{first}, {write_tensor(self.h_0)}"


Source = Callable[[Observation], list[WrongCall]]


@dataclass(frozen=True)
class ValidCall:
    """The right arguments of a case's call, contiguous; `state` is one that fits, whether or not the case gives one."""

    case: Case
    input: Any
    data: Tensor
    h_0: Tensor | None
    state: Tensor

    def with_data(self, words: str, data: Tensor, due: type[Exception] = RuntimeError) -> WrongCall:
        """The same call on other data."""
        given = (
            PackedSequence(data, *self.input[1:])
            if isinstance(self.input, PackedSequence)
            else data
        )
        return WrongCall(words, given, self.h_0, due)

    def with_state(self, state: Tensor, due: type[Exception] = RuntimeError) -> WrongCall:
        """The same call with another state."""
        words = f"a state of shape {tuple(state.shape)} where {tuple(self.state.shape)} is due"
        return WrongCall(words, self.input, state, due)


def build_valid_call(observation: Observation) -> ValidCall:
    """The arguments that the wrong ones are made of."""
    case = observation.case.replace(memory_layout=MemoryLayout.CONTIGUOUS, initial_state=InitialState.GIVEN)
    values = (
        observation.values.h_0
        if observation.case.initial_state is InitialState.GIVEN
        else observation.values.h_0 + STATE
    )
    given = build_arguments(case, observation.values.input, values, observation.subject.device)
    assert given.h_0 is not None
    return ValidCall(
        case,
        given.input,
        given.leaf,
        given.h_0 if observation.case.initial_state is InitialState.GIVEN else None,
        given.h_0,
    )


def fit_sizes(tensor: Tensor, axis: int, size: int) -> Tensor:
    """The tensor with another size along one axis: cut, or repeated from its start."""
    places = torch.arange(size, device=tensor.device) % max(1, tensor.size(axis))
    return tensor.detach().index_select(axis, places).requires_grad_(tensor.requires_grad)


def sizes_beside(due: int, *others: int) -> list[int]:
    """Wrong sizes to try instead of the right one: a neighbour, a single one, the double, none, and others that are likely mistakes."""
    return [
        size
        for size in dict.fromkeys((due + 1, 1, due - 1, 2 * due, 0, *others))
        if size != due and size >= 0
    ]


def wrong_features(observation: Observation) -> list[WrongCall]:
    """Inputs whose last axis is not input_size."""
    made, config = build_valid_call(observation), observation.case.config
    sizes = pick_values(observation, sizes_beside(config.input_size, config.hidden_size), TRIED)
    return [
        made.with_data(
            f"an input with {size} features where {config.input_size} are due",
            fit_sizes(made.data, -1, size),
        )
        for size in sizes
    ]


def wrong_ranks(observation: Observation) -> list[WrongCall]:
    """Padded inputs with fewer than two or more than three axes."""
    made = build_valid_call(observation)
    data = made.data.detach()
    vector = data.flatten()[: data.size(-1)]
    larger = data.reshape((1,) * (4 - data.dim()) + tuple(data.shape))
    wrong = pick_values(
        observation,
        [vector, larger, larger.transpose(0, 2).contiguous(), vector[0], larger.unsqueeze(0)],
        TRIED,
    )
    return [
        made.with_data(f"an input with {tensor.dim()} axes", tensor.contiguous(), ValueError)
        for tensor in wrong
    ]


def wrong_state_ranks(observation: Observation) -> list[WrongCall]:
    """States with another number of axes than the padded input."""
    made, config = build_valid_call(observation), observation.case.config
    state = made.state.detach()
    by_layer = state.reshape(config.num_layers, config.num_directions, *state.shape[1:])
    batched = [state[:, 0], state[0, 0], by_layer, state.unsqueeze(0)]
    unbatched = [state.unsqueeze(1), state.unsqueeze(0), state[0], by_layer, state[:, None, None]]
    wrong = batched if observation.case.is_batched else unbatched
    return [
        made.with_state(tensor.contiguous())
        for tensor in pick_values(observation, wrong, TRIED)
        if tensor.dim() != state.dim()
    ]


def wrong_layers(observation: Observation) -> list[WrongCall]:
    """States whose first axis is not D * num_layers, one with the batch there among them."""
    made, config = build_valid_call(observation), observation.case.config
    due = config.num_layers * config.num_directions
    sizes = pick_values(
        observation, sizes_beside(due, config.num_layers, observation.case.batch), TRIED
    )
    exchanged = made.state.detach().transpose(0, 1).contiguous()
    batch_first = (
        [exchanged] if observation.case.is_batched and observation.case.batch != due else []
    )
    return [
        made.with_state(state)
        for state in (*batch_first, *(fit_sizes(made.state, 0, size) for size in sizes))
    ]


def wrong_batches(observation: Observation) -> list[WrongCall]:
    """States whose batch axis is not that of the input."""
    made, case = build_valid_call(observation), observation.case
    return [
        made.with_state(fit_sizes(made.state, 1, size))
        for size in pick_values(observation, sizes_beside(case.batch, case.steps), TRIED)
    ]


def wrong_units(observation: Observation) -> list[WrongCall]:
    """States whose last axis is not hidden_size."""
    made, config = build_valid_call(observation), observation.case.config
    sizes = pick_values(
        observation,
        sizes_beside(
            config.hidden_size, config.input_size, config.num_directions * config.hidden_size
        ),
        TRIED,
    )
    return [made.with_state(fit_sizes(made.state, -1, size)) for size in sizes]


def no_steps(observation: Observation) -> list[WrongCall]:
    """A padded input without steps."""
    made, case = build_valid_call(observation), observation.case
    axis = 1 if case.is_batched and case.config.batch_first else 0
    return [made.with_data("a sequence of no steps", fit_sizes(made.data, axis, 0))]


def wrong_dtypes(observation: Observation) -> list[WrongCall]:
    """Inputs in another dtype than the parameters; the state, where there is one, in that of the parameters."""
    made = build_valid_call(observation)
    others = pick_values(
        observation, [dtype for dtype in DType if dtype is not observation.case.dtype], TRIED
    )
    data = made.data.detach()
    return [
        made.with_data(
            f"{dtype} input for {observation.case.dtype} parameters",
            data.to(dtype.torch_dtype),
            ValueError,
        )
        for dtype in others
    ]


def wrong_devices(observation: Observation) -> list[WrongCall]:
    """An input, or a state, on the CPU, where all the rest is elsewhere."""
    made = build_valid_call(observation)
    here, other = observation.subject.device, "cpu"
    moved = [
        made.with_data(
            f"an input on {other} for a layer on {here}",
            torch.ones_like(made.data.detach(), device=other),
        )
    ]
    if observation.subject.offers(Feature.STATE):
        words = f"a state on {other} for a layer on {here}"
        moved.append(
            WrongCall(words, made.input, torch.ones_like(made.state.detach(), device=other))
        )
    return moved


def provoke_rejection(
    prepared: PreparedLayer, wrong: WrongCall, afterwards: Callable[[], object] = tuple
) -> Exception | None:
    """By which exception a layer refuses a call, or None where it does not; raises Refused where it refuses openly.

    `afterwards` is called before settings are put back.
    """
    try:
        with observing("the call"):
            try:
                call_module(prepared.caller, wrong.input, wrong.h_0)
            finally:
                afterwards()
    except Raised as raised:
        return raised.error if isinstance(raised.error, Exception) else None
    return None


def assert_call_rejected(observation: Observation, calls: Iterable[WrongCall]) -> None:
    """Raise Violation where one of the wrong calls is accepted by a layer with the case's history."""
    prepared = choose_layer_to_spoil(observation)
    for wrong in calls:
        with observation.case.grad_mode.enter():
            error = provoke_rejection(prepared, wrong)
        if error is None:
            raise Violation(f"{wrong.words} is accepted", write_rejection_snippet(f"layer({wrong})"))


def choose_layer_to_spoil(observation: Observation) -> PreparedLayer:
    """A layer for wrong calls: a new one where the case's is fresh, so that the wrong call is its first; else one for all rules."""
    return (
        observation.new_layer(observation.case).prepared
        if observation.case.prior_use is EarlierCalls.FRESH
        else observation.spare_layer
    )

"""Mistakes with the axes of input, output and states."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from rnnspec.cases.case import Case
from rnnspec.mistakes.final_states import change_each
from rnnspec.mistakes.hypothesis import Hypothesis, always
from rnnspec.mistakes.situations import (
    is_batch_first,
    is_batch_first_or_packed,
    is_padded_batch,
    is_time_first,
)
from rnnspec.reference.values import Functions, Spot, TensorChange, change_values


def read_other_axes(data: Tensor, spot: Spot) -> Tensor:
    """Return the input with its axes in the other order."""
    raw = spot.given.raw_input
    return raw if spot.given.is_batch_first else raw.transpose(0, 1)


def return_other_axes(right: Tensor, output: Tensor, spot: Spot) -> Tensor:
    """Return the output with its axes in the other order."""
    return output if spot.given.is_batch_first else output.transpose(0, 1)


def read_reshaped(data: Tensor, spot: Spot) -> Tensor:
    """Return the input with batch and time exchanged by a reshape."""
    return exchange_by_reshape(spot.given.raw_input)


def return_reshaped(right: Tensor, output: Tensor) -> Tensor:
    """Return the output with batch and time exchanged by a reshape."""
    return exchange_by_reshape(output)


def exchange_by_reshape(tensor: Tensor) -> Tensor:
    """Return a tensor of the same numbers whose first two axes have each other's size."""
    return tensor.reshape(tensor.shape[1], tensor.shape[0], *tensor.shape[2:])


def exchange_axes(tensor: Tensor) -> Tensor:
    """Return a tensor with its first two axes exchanged."""
    return tensor.transpose(0, 1)


def change_states(change: TensorChange, states: Iterable[str]) -> Functions:
    """Return changes of the axes of initial states, h_0, of final states, h_n, or of both."""
    return {STATES[each]: change_each(change) for each in states}


STATES = {"h_0": "initial", "h_n": "returned"}
"""The named values of initial and final states."""
INPUT, OUTPUT = {"input": read_other_axes}, {"returned_output": return_other_axes}
BATCH_FIRST = ("layouts.batch-first", "shapes.output")
LAYER_FIRST = ("layouts.states-stay-layer-first", "shapes.h-n")


def _has_other_axes(case: Case) -> bool:
    return not is_padded_batch(case)


def _list_batch_first() -> list[Hypothesis]:
    transpose = "transpose the first two axes of {} if batch_first=True"
    ignored = "batch_first=True is ignored: {} (L, N, features)"
    return [
        Hypothesis(
            "axes.time-first.input-and-output",
            ignored.format("input and output are both"),
            transpose.format("input and output"),
            BATCH_FIRST,
            change_values({**INPUT, **OUTPUT}),
            is_batch_first,
        ),
        Hypothesis(
            "axes.time-first.input",
            ignored.format("the input is read as"),
            transpose.format("the input"),
            BATCH_FIRST,
            change_values(INPUT),
            is_batch_first,
            "axes.input",
        ),
        Hypothesis(
            "axes.time-first.output",
            ignored.format("the output is returned as"),
            transpose.format("the output"),
            BATCH_FIRST,
            change_values(OUTPUT),
            is_batch_first,
            "axes.output",
        ),
    ]


def _list_time_first() -> list[Hypothesis]:
    return [
        Hypothesis(
            "axes.batch-first.input-and-output",
            "input and output are taken as batch first although batch_first=False",
            "read input as (L, N, features) and return output so if batch_first=False",
            BATCH_FIRST,
            change_values({**INPUT, **OUTPUT}),
            is_time_first,
        ),
        Hypothesis(
            "axes.batch-first.input",
            "the input is read as batch first although batch_first=False",
            "read the input as (L, N, features) if batch_first=False",
            BATCH_FIRST,
            change_values(INPUT),
            is_time_first,
            "axes.input",
        ),
        Hypothesis(
            "axes.batch-first.output",
            "the output is returned batch first although batch_first=False",
            "return the output as (L, N, features) if batch_first=False",
            BATCH_FIRST,
            change_values(OUTPUT),
            is_time_first,
            "axes.output",
        ),
    ]


def _list_exchanged_axes() -> list[Hypothesis]:
    return [
        Hypothesis(
            "axes.exchanged.input",
            "batch and time of the input are exchanged, whatever batch_first is",
            "read the input as batch_first says",
            BATCH_FIRST,
            change_values(INPUT),
            always,
            "axes.input",
            1,
            _has_other_axes,
        ),
        Hypothesis(
            "axes.exchanged.output",
            "batch and time of the output are exchanged, whatever batch_first is",
            "return the output as batch_first says",
            BATCH_FIRST,
            change_values(OUTPUT),
            always,
            "axes.output",
            1,
            _has_other_axes,
        ),
    ]


def _list_reshaped() -> list[Hypothesis]:
    return [
        Hypothesis(
            f"axes.reshaped.{key}",
            f"with batch_first=True, {what} reshaped instead of transposed",
            "exchange the axes by transpose(0, 1) instead of reshape or view",
            BATCH_FIRST,
            change_values(
                ({"input": read_reshaped} if input_ else {})
                | ({"returned_output": return_reshaped} if output else {})
            ),
            is_batch_first,
        )
        for key, what, input_, output in (
            ("input", "the input is", True, False),
            ("output", "the output is", False, True),
            ("input-and-output", "input and output are", True, True),
        )
    ]


def _list_states() -> list[Hypothesis]:
    parts = (
        (("h_n",), "h_n is batch first {}", 0),
        (("h_0",), "h_0 is batch first {}", 0),
        (("h_0", "h_n"), "the states are batch first {}, both h_0 and h_n", 1),
    )
    return [
        Hypothesis(
            f"{'-and-'.join(states)}.batch-first.{key}",
            text.format(when),
            f"transpose {' and '.join(states)} back: states.transpose(0, 1)",
            LAYER_FIRST,
            change_values(change_states(exchange_axes, states)),
            concerns,
            "states.batch-first",
            rank + extra,
            likewise=states,
        )
        for key, when, concerns, extra in (
            ("batch-first", "when batch_first=True", is_batch_first, 0),
            ("time-first", "although batch_first=False", is_time_first, 0),
            ("always", "whatever batch_first is", is_padded_batch, 2),
            ("packed", "when batch_first=True, even if packed", is_batch_first_or_packed, 4),
        )
        for states, text, rank in parts
    ]


def _list_reshaped_states() -> list[Hypothesis]:
    return [
        Hypothesis(
            f"{'-and-'.join(states)}.reshaped",
            f"{what} reshaped to (N, D * num_layers, H) when batch_first=True",
            "leave the states as they are: (D * num_layers, N, H) whatever batch_first is",
            LAYER_FIRST,
            change_values(change_states(exchange_by_reshape, states)),
            is_batch_first,
            "states.reshaped",
            rank,
            likewise=states,
        )
        for states, what, rank in (
            (("h_n",), "h_n is", 0),
            (("h_0",), "h_0 is", 0),
            (("h_0", "h_n"), "h_0 and h_n are", 1),
        )
    ]


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_batch_first(),
    *_list_time_first(),
    *_list_exchanged_axes(),
    *_list_reshaped(),
    *_list_states(),
    *_list_reshaped_states(),
)

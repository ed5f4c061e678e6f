"""Mistakes with the axes of input, output and states."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from rnnspec.cases.case import Case
from rnnspec.mistakes.final_shapes import change_each
from rnnspec.mistakes.hypothesis import Hypothesis, always
from rnnspec.mistakes.situations import (
    is_batch_first,
    is_batch_first_or_packed,
    is_padded_batch,
    is_time_first,
)
from rnnspec.reference.values import Functions, Spot, change_values

Rearrange = Callable[[Tensor], Tensor]


def read_other_axes(data: Tensor, spot: Spot) -> Tensor:
    """Return the input with its axes taken in the other order."""
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


def change_states(change: Rearrange, *, h_0: bool, h_n: bool) -> Functions:
    """Return changes of the axes of initial states, of final states or of both."""
    apply = change_each(change)
    return ({"initial": apply} if h_0 else {}) | ({"returned": apply} if h_n else {})


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
            ignored.format("input and output are both"),
            transpose.format("input and output"),
            BATCH_FIRST,
            change_values({**INPUT, **OUTPUT}),
            is_batch_first,
        ),
        Hypothesis(
            ignored.format("the input is read as"),
            transpose.format("the input"),
            BATCH_FIRST,
            change_values(INPUT),
            is_batch_first,
            "input axes",
        ),
        Hypothesis(
            ignored.format("the output is returned as"),
            transpose.format("the output"),
            BATCH_FIRST,
            change_values(OUTPUT),
            is_batch_first,
            "output axes",
        ),
    ]


def _list_time_first() -> list[Hypothesis]:
    return [
        Hypothesis(
            "input and output are taken as batch first although batch_first=False",
            "read input as (L, N, features) and return output so if batch_first=False",
            BATCH_FIRST,
            change_values({**INPUT, **OUTPUT}),
            is_time_first,
        ),
        Hypothesis(
            "the input is read as batch first although batch_first=False",
            "read the input as (L, N, features) if batch_first=False",
            BATCH_FIRST,
            change_values(INPUT),
            is_time_first,
            "input axes",
        ),
        Hypothesis(
            "the output is returned batch first although batch_first=False",
            "return the output as (L, N, features) if batch_first=False",
            BATCH_FIRST,
            change_values(OUTPUT),
            is_time_first,
            "output axes",
        ),
    ]


def _list_exchanged_axes() -> list[Hypothesis]:
    return [
        Hypothesis(
            "batch and time of the input are exchanged, whatever batch_first is",
            "read the input as batch_first says",
            BATCH_FIRST,
            change_values(INPUT),
            always,
            "input axes",
            1,
            _has_other_axes,
        ),
        Hypothesis(
            "batch and time of the output are exchanged, whatever batch_first is",
            "return the output as batch_first says",
            BATCH_FIRST,
            change_values(OUTPUT),
            always,
            "output axes",
            1,
            _has_other_axes,
        ),
    ]


def _list_reshaped() -> list[Hypothesis]:
    return [
        Hypothesis(
            f"with batch_first=True, {what} reshaped instead of transposed",
            "exchange the axes by transpose(0, 1) instead of reshape or view",
            BATCH_FIRST,
            change_values(
                ({"input": read_reshaped} if input_ else {})
                | ({"returned_output": return_reshaped} if output else {})
            ),
            is_batch_first,
        )
        for what, input_, output in (
            ("the input is", True, False),
            ("the output is", False, True),
            ("input and output are", True, True),
        )
    ]


def _list_states() -> list[Hypothesis]:
    parts = (
        ("h_n is", "h_n", False, True, 0),
        ("h_0 is", "h_0", True, False, 0),
        ("h_0 and h_n are both", "h_0 and h_n", True, True, 1),
    )
    return [
        Hypothesis(
            _describe_states(what, when),
            f"transpose {names} back: states.transpose(0, 1)",
            LAYER_FIRST,
            change_values(change_states(exchange_axes, h_0=h_0, h_n=h_n)),
            concerns,
            "states batch first",
            rank + extra,
        )
        for when, concerns, extra in (
            ("when batch_first=True", is_batch_first, 0),
            ("although batch_first=False", is_time_first, 0),
            ("whatever batch_first is", is_padded_batch, 2),
            ("when batch_first=True, even if packed", is_batch_first_or_packed, 4),
        )
        for what, names, h_0, h_n, rank in parts
    ]


def _describe_states(what: str, when: str) -> str:
    if what.startswith("h_0 and"):
        return f"the states are batch first {when}, both h_0 and h_n"
    return f"{what} batch first {when}"


def _list_reshaped_states() -> list[Hypothesis]:
    return [
        Hypothesis(
            f"{what} reshaped to (N, D * num_layers, H) when batch_first=True",
            "leave the states as they are: (D * num_layers, N, H) whatever batch_first is",
            LAYER_FIRST,
            change_values(change_states(exchange_by_reshape, h_0=h_0, h_n=h_n)),
            is_batch_first,
            "states reshaped",
            rank,
        )
        for what, h_0, h_n, rank in (
            ("h_n is", False, True, 0),
            ("h_0 is", True, False, 0),
            ("h_0 and h_n are", True, True, 1),
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

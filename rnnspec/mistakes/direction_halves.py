"""Mistakes with the halves of an output, one for each direction, and with reading them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from rnnspec.mistakes.hypothesis import Hypothesis
from rnnspec.mistakes.places import (
    EVERYWHERE,
    LAST_LAYER,
    UPPER_LAYERS,
    list_by_place,
)
from rnnspec.mistakes.situations import is_bidirectional
from rnnspec.reference.values import Spot, change_values

Halves = list[Tensor]
Change = Callable[[Halves], Tensor]


def exchange(halves: Halves) -> Tensor:
    """Return the backward half, then the forward half."""
    return torch.cat(halves[::-1], dim=-1)


def interleave(halves: Halves) -> Tensor:
    """Return the units of both directions in turn."""
    return torch.stack(halves, dim=-1).flatten(-2)


def add_both(halves: Halves) -> Tensor:
    """Return the sum of the directions in both halves."""
    return torch.cat([halves[0] + halves[1]] * 2, dim=-1)


def average_both(halves: Halves) -> Tensor:
    """Return the mean of the directions in both halves."""
    return add_both(halves) / 2


def repeat_forward(halves: Halves) -> Tensor:
    """Return the forward half twice."""
    return torch.cat([halves[0]] * 2, dim=-1)


def repeat_backward(halves: Halves) -> Tensor:
    """Return the backward half twice."""
    return torch.cat([halves[1]] * 2, dim=-1)


def clear_backward(halves: Halves) -> Tensor:
    """Return the forward half, then zeros."""
    return torch.cat([halves[0], halves[1] * 0], dim=-1)


def read_halves(changes: Mapping[int, Change]) -> Callable[..., Tensor]:
    """Return a change of the input of some directions above the first layer."""

    def read(data: Tensor, spot: Spot) -> Tensor:
        is_changed = spot.layer and spot.given.directions == 2 and spot.direction in changes
        return changes[spot.direction](list(data.chunk(2, dim=-1))) if is_changed else data

    return read


def join_halves(change: Change) -> Callable[..., Tensor]:
    """Return a change of how the outputs of two directions are joined."""

    def join(joined: Tensor, halves: Halves) -> Tensor:
        return change(halves) if len(halves) == 2 else joined

    return join


ORDER = ("directions.output-order",)
UPPER = "the layers above the first"
READS = ("stacking.reads-both-directions", "stacking.composition")
JOINS: tuple[tuple[str, str, str, Change], ...] = (
    (
        "halves.exchanged",
        "the backward half of the output comes before the forward half",
        "exchange the halves of the output: torch.cat(output.chunk(2, -1)[::-1], -1)",
        exchange,
    ),
    (
        "halves.interleaved",
        "the units of the two directions alternate in the output",
        "put the halves together by torch.cat((forward, backward), -1)",
        interleave,
    ),
    (
        "halves.added",
        "the directions are added: both halves of the output hold their sum",
        "put the halves together by torch.cat((forward, backward), -1)",
        add_both,
    ),
    (
        "halves.averaged",
        "the directions are averaged: both halves of the output hold their mean",
        "put the halves together by torch.cat((forward, backward), -1)",
        average_both,
    ),
    (
        "halves.forward-twice",
        "the forward half of the output is repeated in place of the backward half",
        "put the halves together by torch.cat((forward, backward), -1)",
        repeat_forward,
    ),
    (
        "halves.backward-twice",
        "the backward half of the output is repeated in place of the forward half",
        "put the halves together by torch.cat((forward, backward), -1)",
        repeat_backward,
    ),
    (
        "halves.backward-zero",
        "the backward half of the output is zero",
        "put the halves together by torch.cat((forward, backward), -1)",
        clear_backward,
    ),
)


def _list_joins() -> list[Hypothesis]:
    places = (EVERYWHERE, UPPER_LAYERS, LAST_LAYER)
    return [
        hypothesis
        for key, text, remedy, change in JOINS
        for hypothesis in list_by_place(
            key, text, remedy, ORDER, {"joined": join_halves(change)}, is_bidirectional, places
        )
    ]


def _list_read() -> list[Hypothesis]:
    reads: tuple[tuple[str, str, Change], ...] = (
        ("exchanged", "the backward half of the layer below before the forward half", exchange),
        ("interleaved", "the units of both directions of the layer below in turn", interleave),
        ("backward-zero", "only the forward half of the layer below, and zeros", clear_backward),
        ("forward-twice", "the forward half of the layer below twice", repeat_forward),
        ("backward-twice", "the backward half of the layer below twice", repeat_backward),
        ("added", "the sum of the directions of the layer below", add_both),
    )
    own = {0: repeat_forward, 1: repeat_backward}
    mistakes: list[tuple[str, str, Mapping[int, Change]]] = [
        *(
            (f"halves.read-{key}", f"{UPPER} read {what}", {0: change, 1: change})
            for key, what, change in reads
        ),
        *(
            (
                f"halves.read-{key}.by-{name}",
                f"the {name} direction of {UPPER} reads {what}",
                {way: change},
            )
            for key, what, change in reads
            for way, name in enumerate(("forward", "backward"))
        ),
        (
            "halves.read-own-twice",
            f"each direction of {UPPER} reads its own half of the layer below twice",
            own,
        ),
    ]
    return [
        Hypothesis(
            key,
            text,
            "let upper layers read torch.cat((forward, backward), -1) of the layer below",
            READS,
            change_values({"data": read_halves(changes)}),
            lambda case: case.config.bidirectional and case.config.num_layers > 1,
        )
        for key, text, changes in mistakes
    ]


def _change_halves(change: Change, output: Tensor) -> Tensor:
    return change(list(output.chunk(2, dim=-1)))


def _list_halves() -> list[Hypothesis]:
    halves: tuple[tuple[str, str, Change], ...] = (
        ("halves.only-forward", "the output holds only the forward half", lambda halves: halves[0]),
        (
            "halves.only-backward",
            "the output holds only the backward half",
            lambda halves: halves[1],
        ),
        (
            "halves.only-sum",
            "the output holds the sum of the directions",
            lambda halves: halves[0] + halves[1],
        ),
        (
            "halves.only-mean",
            "the output holds the mean of the directions",
            lambda halves: (halves[0] + halves[1]) / 2,
        ),
    )
    return [
        Hypothesis(
            key,
            text,
            "return torch.cat((forward, backward), -1)",
            ("shapes.output", *ORDER),
            change_values({"output": partial(_change_halves, change)}),
            is_bidirectional,
        )
        for key, text, change in halves
    ]


HYPOTHESES: tuple[Hypothesis, ...] = (*_list_joins(), *_list_read(), *_list_halves())

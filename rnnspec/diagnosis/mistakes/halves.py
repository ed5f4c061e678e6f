"""Mistakes with the halves of an output, one for each direction, and with what is read of them."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rnnspec.diagnosis.mistakes.hypothesis import Hypothesis
from rnnspec.diagnosis.mistakes.places import (
    EVERYWHERE,
    LAST_LAYER,
    UPPER_LAYERS,
    Local,
    list_by_place,
)
from rnnspec.diagnosis.mistakes.reference import Reference
from rnnspec.diagnosis.mistakes.situations import is_bidirectional

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


@dataclass
class Joined(Local):
    """The outputs of the directions are put together in another way."""

    change: Change = exchange

    def join(self, outputs: list[Tensor], layer: int) -> Tensor:
        if len(outputs) == 2 and self.is_wrong(layer, 0):
            return self.change(outputs)
        return super().join(outputs, layer)


@dataclass
class Read(Local):
    """An upper layer reads the directions below in another order; the output is right."""

    change: Change = exchange

    def read_below(self, below: Sequence[Tensor], layer: int) -> Tensor:
        read = super().read_below(below, layer)
        if layer == 0 or self.given.directions == 1:
            return read
        return self.change(list(read.chunk(2, dim=-1)))


@dataclass
class ReadByOne(Reference):
    """In upper layers, the named directions read other halves of the layer below."""

    changes: Mapping[int, Change] = field(default_factory=dict)

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        if layer and self.given.directions == 2 and direction in self.changes:
            data = self.changes[direction](list(data.chunk(2, dim=-1)))
        return super().project(data, layer, direction)


@dataclass
class Finished(Reference):
    """The output of the last layer has the directions in another form."""

    change: Change = exchange

    def finish(self, below: Sequence[Tensor]) -> Tensor:
        return self.change(list(below[-1].chunk(2, dim=-1)))


ORDER = ("directions.output-order",)
UPPER = "the layers above the first"
READS = ("stacking.reads-both-directions", "stacking.composition")
JOINS: tuple[tuple[str, str, Change], ...] = (
    (
        "the backward half of the output comes before the forward half",
        "exchange the halves of the output: torch.cat(output.chunk(2, -1)[::-1], -1)",
        exchange,
    ),
    (
        "the units of the two directions alternate in the output",
        "put the halves together by torch.cat((forward, backward), -1)",
        interleave,
    ),
    (
        "the directions are added: both halves of the output hold their sum",
        "put the halves together by torch.cat((forward, backward), -1)",
        add_both,
    ),
    (
        "the directions are averaged: both halves of the output hold their mean",
        "put the halves together by torch.cat((forward, backward), -1)",
        average_both,
    ),
    (
        "the forward half of the output is repeated in place of the backward half",
        "put the halves together by torch.cat((forward, backward), -1)",
        repeat_forward,
    ),
    (
        "the backward half of the output is repeated in place of the forward half",
        "put the halves together by torch.cat((forward, backward), -1)",
        repeat_backward,
    ),
    (
        "the backward half of the output is zero",
        "put the halves together by torch.cat((forward, backward), -1)",
        clear_backward,
    ),
)


def _list_joins() -> list[Hypothesis]:
    places = (EVERYWHERE, UPPER_LAYERS, LAST_LAYER)
    return [
        hypothesis
        for text, remedy, change in JOINS
        for hypothesis in list_by_place(
            text, remedy, ORDER, Joined, is_bidirectional, places, change=change
        )
    ]


def _list_read() -> list[Hypothesis]:
    reads: tuple[tuple[str, Change], ...] = (
        ("the backward half of the layer below before the forward half", exchange),
        ("the units of both directions of the layer below in turn", interleave),
        ("only the forward half of the layer below, and zeros", clear_backward),
        ("the forward half of the layer below twice", repeat_forward),
        ("the backward half of the layer below twice", repeat_backward),
        ("the sum of the directions of the layer below", add_both),
    )
    own = {0: repeat_forward, 1: repeat_backward}
    mistakes: list[tuple[str, type[Reference], dict[str, Any]]] = [
        *((f"{UPPER} read {what}", Read, {"change": change}) for what, change in reads),
        *(
            (f"the {name} direction of {UPPER} reads {what}", ReadByOne, {"changes": {way: change}})
            for what, change in reads
            for way, name in enumerate(("forward", "backward"))
        ),
        (
            f"each direction of {UPPER} reads its own half of the layer below twice",
            ReadByOne,
            {"changes": own},
        ),
    ]
    return [
        Hypothesis(
            text,
            "let upper layers read torch.cat((forward, backward), -1) of the layer below",
            READS,
            partial(model, **settings),
            lambda case: case.config.bidirectional and case.config.num_layers > 1,
        )
        for text, model, settings in mistakes
    ]


def _list_halves() -> list[Hypothesis]:
    halves: tuple[tuple[str, Change], ...] = (
        ("the output holds only the forward half", lambda halves: halves[0]),
        ("the output holds only the backward half", lambda halves: halves[1]),
        ("the output holds the sum of the directions", lambda halves: halves[0] + halves[1]),
        ("the output holds the mean of the directions", lambda halves: (halves[0] + halves[1]) / 2),
    )
    return [
        Hypothesis(
            text,
            "return torch.cat((forward, backward), -1)",
            ("shapes.output", *ORDER),
            partial(Finished, change=change),
            is_bidirectional,
        )
        for text, change in halves
    ]


HYPOTHESES: tuple[Hypothesis, ...] = (*_list_joins(), *_list_read(), *_list_halves())

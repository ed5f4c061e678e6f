"""Mistakes with the two directions of a layer."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from rnnspec.diagnosis.mistakes.hypothesis import Hypothesis
from rnnspec.diagnosis.mistakes.places import (
    EVERYWHERE,
    LAST_LAYER,
    UPPER_LAYERS,
    Local,
    Place,
    list_by_place,
)
from rnnspec.diagnosis.mistakes.reference import Reference
from rnnspec.diagnosis.mistakes.situations import is_bidirectional, is_packed, is_ragged

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
class Finished(Reference):
    """The output of the last layer has the directions in another form."""

    change: Change = exchange

    def finish(self, below: Sequence[Tensor]) -> Tensor:
        return self.change(list(below[-1].chunk(2, dim=-1)))


@dataclass
class RunsForward(Local):
    """The backward direction runs forward in time."""

    def order(self, steps: int, direction: int) -> Sequence[int]:
        return range(steps)


@dataclass
class StartsWhereForwardEnds(Reference):
    """The backward direction starts from the final state of the forward direction."""

    def run_layer(self, data: Tensor, initial: Tensor, layer: int) -> tuple[Tensor, list[Tensor]]:
        if self.given.directions == 1:
            return super().run_layer(data, initial, layer)
        ahead, end = self.run_direction(data, self.first_state(initial, layer, 0), layer, 0)
        back, last = self.run_direction(data, end, layer, 1)
        return self.join([ahead, back], layer), [end, last]


@dataclass
class NotTurnedBack(Local):
    """The output of the backward direction is in the order in which it was computed."""

    def stack_steps(self, outputs: list[Tensor], layer: int, direction: int) -> Tensor:
        wrong = direction == 1 and self.is_wrong(layer, direction)
        return super().stack_steps(outputs[::-1] if wrong else outputs, layer, direction)


@dataclass
class ReversedInput(Local):
    """The forward direction runs backward too."""

    def order(self, steps: int, direction: int) -> Sequence[int]:
        return range(steps)[::-1]


@dataclass
class Exchanged(Reference):
    """The forward direction runs backward in time, and the backward direction forward."""

    def order(self, steps: int, direction: int) -> Sequence[int]:
        return super().order(steps, 1 - direction)


@dataclass
class FlippedSamples(Reference):
    """The backward direction reads the samples in the opposite order."""

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        return super().project(data.flip(1) if direction else data, layer, direction)


@dataclass
class FlippedFeatures(Reference):
    """The backward direction reads the features in the opposite order."""

    def project(self, data: Tensor, layer: int, direction: int) -> Tensor:
        return super().project(data.flip(2) if direction else data, layer, direction)


@dataclass
class StartsInside(Reference):
    """The backward direction starts at the step whose number is the input size."""

    def order(self, steps: int, direction: int) -> Sequence[int]:
        start = min(steps, self.given.case.config.input_size)
        return [*range(start)[::-1], *range(start, steps)] if direction else range(steps)


FORWARD_ONLY_TEXT = "the output holds only the {} half"
ORDER = ("directions.output-order",)
READS = ("stacking.reads-both-directions", "stacking.composition")
TIME = ("directions.reverse-time",)
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
        ("read the backward half of the layer below before the forward half", exchange),
        ("read the units of both directions of the layer below in turn", interleave),
        ("read only the forward half of the layer below, and zeros", clear_backward),
        ("read the forward half of the layer below twice", repeat_forward),
        ("read the backward half of the layer below twice", repeat_backward),
        ("read the sum of the directions of the layer below", add_both),
    )
    return [
        Hypothesis(
            f"the layers above the first {text}",
            "let upper layers read torch.cat((forward, backward), -1) of the layer below",
            READS,
            partial(Read, change=change),
            lambda case: case.config.bidirectional and case.config.num_layers > 1,
        )
        for text, change in reads
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


def _list_time() -> list[Hypothesis]:
    return [
        *list_by_place(
            "the output of the backward direction stays in the order in which it is computed",
            "turn the output of the backward direction round in time: backward.flip(0)",
            TIME,
            NotTurnedBack,
            is_bidirectional,
            (BACKWARD_ALL, LAST_LAYER),
            is_ragged,
        ),
        Hypothesis(
            "the backward direction runs forward in time",
            "run the backward direction from the last time step to the first",
            TIME,
            RunsForward,
            is_bidirectional,
        ),
        Hypothesis(
            "the forward direction runs backward in time, like the backward direction",
            "run the forward direction from the first time step to the last",
            ("recurrence.output", *TIME),
            ReversedInput,
            is_bidirectional,
        ),
        Hypothesis(
            "the forward direction runs backward in time, and the backward direction forward",
            "exchange the orders of the two directions",
            TIME,
            Exchanged,
            is_bidirectional,
        ),
    ]


def _list_flipped() -> list[Hypothesis]:
    return [
        Hypothesis(
            "the backward direction reads the samples in the opposite order",
            "reverse the time axis only: input.flip(0) if time comes first",
            TIME,
            FlippedSamples,
            is_bidirectional,
            unclear=is_packed,
        ),
        Hypothesis(
            "the backward direction reads the features in the opposite order",
            "reverse the time axis only: input.flip(0) if time comes first",
            TIME,
            FlippedFeatures,
            is_bidirectional,
        ),
        Hypothesis(
            "the backward direction starts from the final state of the forward direction",
            "start the backward direction from its own row of h_0",
            ("directions.own-state", *TIME),
            StartsWhereForwardEnds,
            is_bidirectional,
        ),
        Hypothesis(
            "the backward direction starts at time step number input_size",
            "start the backward direction at the last time step",
            TIME,
            StartsInside,
            is_bidirectional,
        ),
    ]


BACKWARD_ALL = Place("", lambda layer, direction, layers: True)
HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_joins(),
    *_list_read(),
    *_list_halves(),
    *_list_time(),
    *_list_flipped(),
)

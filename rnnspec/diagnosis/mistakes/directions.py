"""Mistakes with the two directions of a layer."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from rnnspec.diagnosis.mistakes.hypothesis import Hypothesis
from rnnspec.diagnosis.mistakes.places import (
    EVERYWHERE,
    LAST_LAYER,
    Local,
    list_by_place,
)
from rnnspec.diagnosis.mistakes.reference import Reference
from rnnspec.diagnosis.mistakes.situations import is_bidirectional, is_packed, is_ragged


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


TIME = ("directions.reverse-time",)


def _list_time() -> list[Hypothesis]:
    return [
        *list_by_place(
            "the output of the backward direction stays in the order in which it is computed",
            "turn the output of the backward direction round in time: backward.flip(0)",
            TIME,
            NotTurnedBack,
            is_bidirectional,
            (EVERYWHERE, LAST_LAYER),
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


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_time(),
    *_list_flipped(),
)

"""Mistakes with unbatched input, a batch of one, and axes that are lost."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from rnnspec.cases.case import Case
from rnnspec.diagnosis.mistakes.hypothesis import Build, Hypothesis, always
from rnnspec.diagnosis.mistakes.reference import Reference, Refused
from rnnspec.diagnosis.mistakes.situations import (
    is_bidirectional,
    is_packed,
    is_padded_batch,
    is_unbatched,
)

Rearrange = Callable[[Tensor], Tensor]


@dataclass
class Returned(Reference):
    """Output or h_n is returned in another form."""

    output: Rearrange | None = None
    h_n: Rearrange | None = None

    def write_output(self, output: Tensor) -> Tensor:
        right = super().write_output(output)
        return self.output(right) if self.output else right

    def write_states(self, h_n: Tensor) -> Tensor:
        right = super().write_states(h_n)
        return self.h_n(right) if self.h_n else right


@dataclass
class StepsAsBatch(Reference):
    """Unbatched input is read as a batch of sequences of one step."""

    def read_input(self) -> Tensor:
        return self.given.raw_input.unsqueeze(0)

    def write_output(self, output: Tensor) -> Tensor:
        return output[0]

    def write_states(self, h_n: Tensor) -> Tensor:
        if h_n.shape[1] != 1:
            raise Refused("there is more than one sample")
        return super().write_states(h_n)


@dataclass
class ReversedUnbatched(Reference):
    """Unbatched input is read from the last step to the first."""

    def read_input(self) -> Tensor:
        return super().read_input().flip(0)


@dataclass
class WithoutBatch(Reference):
    """Output or h_n lacks the batch axis."""

    output: bool = True
    h_n: bool = True

    def write_output(self, output: Tensor) -> Tensor:
        return output[:, 0] if self.output else super().write_output(output)

    def write_states(self, h_n: Tensor) -> Tensor:
        right = super().write_states(h_n)
        return right.select(-2, 0) if self.h_n else right


@dataclass
class OutputByDirection(Reference):
    """The output has an axis for the directions."""

    def write_output(self, output: Tensor) -> Tensor:
        return super().write_output(output.unflatten(-1, (self.given.directions, -1)))


@dataclass
class FourAxes(Reference):
    """h_n has an axis for the directions."""

    def write_states(self, h_n: Tensor) -> Tensor:
        right = super().write_states(h_n)
        return right.view(self.given.layers, self.given.directions, *right.shape[1:])


@dataclass
class WithoutStep(Reference):
    """The output of a single time step lacks the axis of time."""

    def write_output(self, output: Tensor) -> Tensor:
        return output[0]


BY_DIRECTION: tuple[tuple[str, str, tuple[str, ...], Build], ...] = (
    (
        "h_n{} has an axis of its own for the directions",
        "return h_n.flatten(0, 1)",
        ("shapes.h-n",),
        FourAxes,
    ),
    (
        "the output{} has an axis of its own for the directions",
        "return output.flatten(-2)",
        ("shapes.output", "directions.output-order"),
        OutputByDirection,
    ),
)


UNBATCHED = ("layouts.unbatched", "shapes.output", "shapes.h-n")


def _add_batch(tensor: Tensor) -> Tensor:
    return tensor.unsqueeze(-2)


def _add_first(tensor: Tensor) -> Tensor:
    return tensor.unsqueeze(0)


DROP = "remove the batch axis of {} if the input has none"
FORMS: tuple[tuple[str, str, Rearrange | None, Rearrange | None, int], ...] = (
    ("h_n keeps a batch axis", DROP.format("h_n"), None, _add_batch, 0),
    ("the output keeps a batch axis", DROP.format("the output"), _add_batch, None, 0),
    (
        "output and h_n keep a batch axis",
        DROP.format("output and h_n"),
        _add_batch,
        _add_batch,
        1,
    ),
    (
        "the output has a batch axis, as its first one",
        DROP.format("the output"),
        _add_first,
        None,
        0,
    ),
    (
        "output and h_n have a batch axis; that of the output is its first",
        DROP.format("output and h_n"),
        _add_first,
        _add_batch,
        1,
    ),
    (
        "the output loses every axis of size one",
        "use squeeze with the number of the batch axis",
        torch.squeeze,
        None,
        0,
    ),
    (
        "h_n loses every axis of size one",
        "use squeeze with the number of the batch axis",
        None,
        torch.squeeze,
        0,
    ),
    (
        "output and h_n lose every axis of size one",
        "use squeeze with the number of the batch axis",
        torch.squeeze,
        torch.squeeze,
        1,
    ),
)


def _list_unbatched() -> list[Hypothesis]:
    return [
        Hypothesis(
            f"with unbatched input, {text}",
            remedy,
            UNBATCHED,
            partial(Returned, output=output, h_n=h_n),
            is_unbatched,
            "unbatched axis",
            rank,
        )
        for text, remedy, output, h_n, rank in FORMS
    ]


def _list_batch_of_one() -> list[Hypothesis]:
    def is_alone(case: Case) -> bool:
        return is_padded_batch(case) and case.batch == 1

    return [
        Hypothesis(
            f"for a batch of one, {what} no batch axis",
            "keep the batch axis of a batch of one",
            ("layouts.batch-of-one", "shapes.output", "shapes.h-n"),
            partial(WithoutBatch, output=output, h_n=h_n),
            is_alone,
            "batch of one",
            rank,
        )
        for what, output, h_n, rank in (
            ("the output has", True, False, 0),
            ("h_n has", False, True, 0),
            ("output and h_n have", True, True, 1),
        )
    ]


def _list_squeezed() -> list[Hypothesis]:
    return [
        Hypothesis(
            f"{what} every axis of size one",
            "use squeeze with the number of an axis that is to go, or not at all",
            UNBATCHED[1:],
            partial(Returned, output=output, h_n=h_n),
            family="unbatched axis",
            rank=rank,
            unclear=is_packed,
        )
        for what, output, h_n, rank in (
            ("the output loses", torch.squeeze, None, 2),
            ("h_n loses", None, torch.squeeze, 2),
            ("output and h_n lose", torch.squeeze, torch.squeeze, 3),
        )
    ]


def _list_lost_axes() -> list[Hypothesis]:
    return [
        Hypothesis(
            f"the output {text}",
            remedy,
            UNBATCHED[1:2],
            partial(Returned, output=output),
            where,
            "lost axis",
            rank,
            unclear=is_packed,
        )
        for text, remedy, output, where, rank in (
            (
                "loses its first axis if that has size one",
                "keep the first axis, whatever its size is",
                partial(torch.squeeze, dim=0),
                always,
                1,
            ),
            (
                "loses its second axis if that has size one",
                "keep the second axis, whatever its size is",
                partial(torch.squeeze, dim=1),
                always,
                1,
            ),
            (
                "has one axis for time and batch",
                "keep an axis for the time and one for the batch",
                partial(torch.flatten, end_dim=1),
                is_padded_batch,
                0,
            ),
        )
    ]


def _list_by_direction() -> list[Hypothesis]:
    """Return the mistakes of layers with an axis for the directions, or only if there are two."""
    return [
        Hypothesis(text.format(whose), remedy, rules, build, where, text, rank, unclear=is_packed)
        for text, remedy, rules, build in BY_DIRECTION
        for rank, (whose, where) in enumerate(
            ((" of a bidirectional layer", is_bidirectional), ("", always))
        )
    ]


STATE_OF_CELL = Hypothesis(
    "h_n loses its first axis if that has size one",
    "keep the first axis, whatever its size is",
    UNBATCHED[2:],
    partial(Returned, h_n=partial(torch.squeeze, dim=0)),
    family="lost axis",
    rank=1,
    of=lambda kind: kind.is_cell,
)


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_unbatched(),
    *_list_squeezed(),
    *_list_lost_axes(),
    STATE_OF_CELL,
    Hypothesis(
        "for a single time step, the output has no axis of time",
        "keep the axis of time, whatever the number of steps is",
        ("shapes.output",),
        WithoutStep,
        lambda case: is_padded_batch(case) and case.steps == 1,
    ),
    *_list_batch_of_one(),
    Hypothesis(
        "unbatched input is read as a batch of sequences of one step",
        "add the batch axis to unbatched input as the second one: input.unsqueeze(1)",
        UNBATCHED[:1],
        StepsAsBatch,
        is_unbatched,
    ),
    Hypothesis(
        "unbatched input is read from the last step to the first",
        "read unbatched input from the first step to the last",
        UNBATCHED[:1],
        ReversedUnbatched,
        is_unbatched,
        "input reversed",
        1,
    ),
    *_list_by_direction(),
)

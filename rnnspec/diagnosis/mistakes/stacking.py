"""Mistakes with what a layer reads from the layer below, and with dropout."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from rnnspec.diagnosis.mistakes.hypothesis import Condition, Hypothesis, KindCondition, every
from rnnspec.diagnosis.mistakes.reference import Reference, Refused
from rnnspec.diagnosis.mistakes.situations import (
    has_cell_state,
    is_ragged,
    is_sorted_by_layer,
    is_stack,
)

Read = Callable[[Sequence[Tensor], int], Tensor]
Finish = Callable[[Sequence[Tensor]], Tensor]


@dataclass
class ReadsOther(Reference):
    """A layer above the first reads something else than the output of the layer below."""

    read: Read = lambda below, layer: below[-1]

    def read_below(self, below: Sequence[Tensor], layer: int) -> Tensor:
        right = super().read_below(below, layer)
        other = self.read([*below[:-1], right], layer) if layer else right
        return other if other.shape == right.shape else right


@dataclass
class StartsWhereBelowEnds(Reference):
    """A layer above the first starts from final states of the layer below."""

    letters: str = ""
    ended: list[Tensor] = field(default_factory=list)

    def run_layer(self, data: Tensor, initial: Tensor, layer: int) -> tuple[Tensor, list[Tensor]]:
        output, self.ended = super().run_layer(data, initial, layer)
        return output, self.ended

    def first_state(self, initial: Tensor, layer: int, direction: int) -> Tensor:
        right = super().first_state(initial, layer, direction)
        if layer == 0:
            return right
        return self.replace_states(right, self.ended[direction], self.letters)


@dataclass
class FinishedOther(Reference):
    """The output is something else than that of the last layer."""

    change: Finish = lambda below: below[-1]

    def finish(self, below: Sequence[Tensor]) -> Tensor:
        other = self.change(below)
        if other.shape != below[-1].shape and len(below) < 2:
            raise Refused("the shapes differ")
        return other


@dataclass
class Residual(Reference):
    """What a layer reads is added to its output, if both have the same width."""

    from_layer: int = 1

    def run_layer(self, data: Tensor, h_0: Tensor, layer: int) -> tuple[Tensor, list[Tensor]]:
        output, states = super().run_layer(data, h_0, layer)
        adds = output.shape == data.shape and layer >= self.from_layer
        return output + data if adds else output, states


def _exchange_time(below: Sequence[Tensor], layer: int) -> Tensor:
    data = below[-1]
    return data.transpose(0, 1).reshape(data.shape)


READS: tuple[tuple[str, Condition, Read], ...] = (
    (
        "the layers above the first read the layer below with batch and time exchanged",
        is_stack,
        _exchange_time,
    ),
    (
        "every layer reads the input if that is as wide as the output of a layer",
        is_stack,
        lambda below, layer: below[0],
    ),
    (
        "the layers above the first read the input and the layer below added, if equally wide",
        is_stack,
        lambda below, layer: (
            below[-1] + below[0] if below[0].shape == below[-1].shape else below[-1]
        ),
    ),
    (
        "the layers above the second read the output of the first layer",
        is_stack,
        lambda below, layer: below[1],
    ),
    (
        "the third layer reads the output of the first layer instead of the second",
        is_stack,
        lambda below, layer: below[1] if layer == 2 else below[-1],
    ),
    (
        "each layer above the second reads the layer two below",
        is_stack,
        lambda below, layer: below[-2] if layer > 1 else below[-1],
    ),
    (
        "the layers above the first read the layer below turned round in time",
        is_stack,
        lambda below, layer: below[-1].flip(0),
    ),
    (
        "the layers above the first read only the last step of the layer below",
        is_stack,
        lambda below, layer: below[-1][-1:].expand_as(below[-1]),
    ),
    (
        "the layers above the first read zeros",
        is_stack,
        lambda below, layer: below[-1] * 0,
    ),
    (
        "the layers above the first read the layer below with its units in the opposite order",
        is_stack,
        lambda below, layer: below[-1].flip(-1),
    ),
    (
        "the layers above the first read the layer below one step late",
        is_stack,
        lambda below, layer: torch.cat([below[-1][:1] * 0, below[-1][:-1]]),
    ),
    (
        "the layers above the first read the nonlinearity of the layer below a second time",
        is_stack,
        lambda below, layer: torch.tanh(below[-1]),
    ),
)
FINISHES: tuple[tuple[str, Finish], ...] = (
    ("the output is that of the first layer", lambda below: below[1]),
    ("the output is that of the layer below the last", lambda below: below[-2]),
    (
        "the output is the sum of the outputs of all layers",
        lambda b: torch.stack(list(b[1:])).sum(0),
    ),
    ("the output holds the outputs of all layers", lambda b: torch.cat(list(b[1:]), dim=-1)),
)

STARTS: tuple[tuple[str, str, KindCondition], ...] = (
    ("final state", "hc", every),
    ("final hidden state", "h", has_cell_state),
    ("final cell state", "c", has_cell_state),
)
"""What a layer may start from in place of its initial state, and the letters of these states."""


HYPOTHESES: tuple[Hypothesis, ...] = (
    *(
        Hypothesis(
            f"each layer above the first starts from the {what} of the layer below",
            "start layer k and direction d from row k * D + d of the initial state",
            ("stacking.composition", "states.routing", "recurrence.output"),
            partial(StartsWhereBelowEnds, letters=letters),
            is_stack,
            of=of,
        )
        for what, letters, of in STARTS
    ),
    *(
        Hypothesis(
            text,
            "let each layer above the first read the output of the one below",
            ("stacking.composition",),
            partial(ReadsOther, read=read),
            concerns,
            unclear=is_sorted_by_layer if read is _exchange_time else is_ragged,
        )
        for text, concerns, read in READS
    ),
    *(
        Hypothesis(
            text,
            "return the output of the last layer",
            ("stacking.composition", "recurrence.output"),
            partial(FinishedOther, change=change),
            is_stack,
        )
        for text, change in FINISHES
    ),
    *(
        Hypothesis(
            text,
            "return the states alone",
            ("stacking.composition", "recurrence.output"),
            partial(Residual, from_layer=start),
            concerns,
        )
        for text, start, concerns in (
            ("each layer above the first adds what it reads to its output", 1, is_stack),
            (
                "each layer adds what it reads to its output, if both are equally wide",
                0,
                lambda case: True,
            ),
        )
    ),
)

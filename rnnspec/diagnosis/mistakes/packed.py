"""Mistakes with packed sequences: their order, and where they end."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rnnspec.diagnosis.mistakes.hypothesis import Hypothesis
from rnnspec.diagnosis.mistakes.reference import DirectedReference, Reference
from rnnspec.diagnosis.mistakes.situations import is_packed, is_ragged, is_unsorted

Permute = Callable[[Tensor], Tensor]


@dataclass
class Permuted(Reference):
    """The samples of h_0 or h_n are in another order."""

    permute: Permute = torch.argsort
    h_0: bool = False
    h_n: bool = False

    def arrange_initial(self) -> Tensor:
        states = super().arrange_initial()
        return states[:, torch.argsort(self._order())] if self.h_0 else states

    def write_states(self, h_n: Tensor) -> Tensor:
        right = super().write_states(h_n)
        return right[:, self._order()] if self.h_n else right

    def _order(self) -> Tensor:
        return self.permute(self.given.sorted_order)


@dataclass
class Padded(Reference):
    """A direction also computes the padding, as if it were zeros.

    With `once`, only the input is padded with zeros, and upper layers read what the layer below
    gives for the padding.
    """

    wrong: tuple[int, ...] = (0, 1)
    output: bool = True
    once: bool = False

    def run_direction(
        self, data: Tensor, first: Tensor, layer: int, direction: int
    ) -> tuple[Tensor, Tensor]:
        right = super().run_direction(data, first, layer, direction)
        alive = self.given.alive
        if direction not in self.wrong or alive is None:
            return right
        other = _PaddedDirection(self.given)
        is_padded = self.once and layer > 0
        read = data if is_padded else torch.where(alive, data, torch.zeros_like(data))
        padded = other.run_direction(read, first, layer, direction)
        return (padded if self.output else right)[0], padded[1]


class _PaddedDirection(Reference):
    def keep(self, new: Tensor, time: int, state: Tensor) -> Tensor:
        return new


@dataclass
class EndedForgotten(Reference):
    """The final state of a sequence that ends early is zero."""

    directions: tuple[int, ...] = (0, 1)

    def pick_last(
        self, state: Tensor, outputs: list[Tensor], first: Tensor, layer: int, direction: int
    ) -> Tensor:
        alive = self.given.alive
        if alive is None or direction not in self.directions:
            return state
        ended = alive[-1] if direction == 0 else alive[0]
        return torch.where(ended, state, torch.zeros_like(state))


@dataclass
class ZeroOutside(Reference):
    """The state of a sequence is zero at the steps that it does not have."""

    def keep(self, new: Tensor, time: int, state: Tensor) -> Tensor:
        alive = self.given.alive
        return new if alive is None else torch.where(alive[time], new, torch.zeros_like(new))


@dataclass
class ProcessedOrder(Reference):
    """The backward output of ragged batches is in another order of time."""

    def stack_steps(self, outputs: list[Tensor], layer: int, direction: int) -> Tensor:
        wrong = direction == 1 and self.given.alive is not None
        alive = self.given.alive
        if not wrong or alive is None:
            return super().stack_steps(outputs, layer, direction)
        stacked = super().stack_steps(outputs, layer, direction)
        return torch.where(alive, stacked, torch.zeros_like(stacked)).flip(0)


@dataclass
class OwnOrder(Reference):
    """The backward output of each sequence is in the order in which it is computed."""

    def stack_steps(self, outputs: list[Tensor], layer: int, direction: int) -> Tensor:
        stacked = super().stack_steps(outputs, layer, direction)
        if direction == 0 or self.given.alive is None:
            return stacked
        pieces = stacked.clone()
        for sample, length in enumerate(self.given.case.lengths):
            pieces[:length, sample] = stacked[:length, sample].flip(0)
        return pieces


@dataclass
class LongestOnly(Reference):
    """The backward direction uses h_0 for the longest sequences only."""

    def first_state(self, h_0: Tensor, layer: int, direction: int) -> Tensor:
        right = super().first_state(h_0, layer, direction)
        if direction == 0 or self.given.alive is None:
            return right
        return torch.where(self.given.alive[-1], right, torch.zeros_like(right))


@dataclass
class LoneWithoutState(DirectedReference):
    """A step that only one of several sequences has ignores the state."""

    def recall(self, state: Tensor, first: Tensor, step: int) -> Tensor:
        alive = self.given.alive
        if alive is None:
            return state
        time = len(alive) - 1 - step if self.direction else step
        return state * 0 if int(alive[time].sum()) == 1 else state


@dataclass
class ReturnedPadded(Reference):
    """Packed input gives padded output."""

    batch_first: bool = False

    @property
    def returns_packed(self) -> bool:
        return False

    def pack(self, output: Tensor) -> Tensor:
        alive = self.given.alive
        padded = output if alive is None else torch.where(alive, output, torch.zeros_like(output))
        return padded.transpose(0, 1) if self.batch_first else padded


ORDERS: tuple[tuple[str, str, Permute], ...] = (
    (
        "h_0 is not sorted to match the sequences",
        "h_n is returned in sorted order",
        lambda order: order,
    ),
    (
        "h_0 is re-ordered by unsorted_indices instead of sorted_indices",
        "h_n is re-ordered by sorted_indices instead of unsorted_indices",
        lambda order: order[order],
    ),
    (
        "h_0 is re-ordered by sorted_indices twice",
        "h_n is re-ordered by unsorted_indices twice",
        torch.argsort,
    ),
)
"""How h_0 may be read, how h_n may be written, and the order that h_n then has."""


def _list_packed_orders() -> list[Hypothesis]:
    before = "select h_0[:, sorted_indices] before the first step"
    after = "return h_n[:, unsorted_indices]"
    return [
        Hypothesis(
            f"with unsorted packed input, {text}",
            remedy,
            ("packed.unsorted", "packed.h-n"),
            partial(Permuted, permute=permute, h_0=h_0, h_n=h_n),
            is_unsorted,
            "packed order",
            2 * number + (h_0 and h_n),
        )
        for number, (read, written, permute) in enumerate(ORDERS)
        for text, remedy, h_0, h_n in (
            (read, before, True, False),
            (written, after, False, True),
            (f"{read}, and {written}", f"{before}, and {after}", True, True),
        )
    ]


PADDING: tuple[tuple[str, tuple[str, ...], dict[str, Any], int], ...] = (
    (
        "h_n of the forward direction is taken at the padded end of each sequence",
        ("packed.h-n", "packed.padding"),
        {"wrong": (0,), "output": False},
        0,
    ),
    (
        "the backward direction starts in the padding of shorter sequences",
        ("packed.output", "packed.padding"),
        {"wrong": (1,)},
        0,
    ),
    (
        "h_n of the backward direction starts in the padding, although the output does not",
        ("packed.padding", "packed.h-n"),
        {"wrong": (1,), "output": False},
        0,
    ),
    (
        "h_n of both directions is computed through the padding",
        ("packed.h-n", "packed.padding"),
        {"output": False},
        1,
    ),
    (
        "packed sequences are computed as if they were padded with zeros to the longest",
        ("packed.output", "packed.padding"),
        {},
        1,
    ),
    (
        "packed sequences are padded with zeros, and computed like any other batch",
        ("packed.output", "packed.padding"),
        {"once": True},
        2,
    ),
)


def _list_padding() -> list[Hypothesis]:
    return [
        Hypothesis(
            text,
            "let each sequence start and end at its own length",
            rules,
            partial(Padded, **options),
            is_ragged,
            "padding",
            rank,
        )
        for text, rules, options, rank in PADDING
    ]


RAGGED: tuple[tuple[str, str, Callable[..., Reference], int], ...] = (
    (
        "with packed input of different lengths, the backward output of the padded batch is"
        " returned in the order in which it is computed",
        "turn the backward output of each sequence round within its own length",
        ProcessedOrder,
        0,
    ),
    (
        "with packed input of different lengths, the backward output of each sequence is"
        " returned in the order in which it is computed",
        "turn the backward output of each sequence round within its own length",
        OwnOrder,
        0,
    ),
    (
        "with packed input, the backward direction uses h_0 for the longest sequences only",
        "start the backward direction of every sequence from its own state",
        LongestOnly,
        0,
    ),
    (
        "a time step that only the longest sequence has ignores the state",
        "compute the steps of the longest sequence like the others",
        LoneWithoutState,
        0,
    ),
    (
        "the final state of a sequence that ends before the longest is zero",
        "keep the state of each sequence after its last step",
        EndedForgotten,
        0,
    ),
    (
        "the state of a sequence is zero at the steps that it does not have: before its first"
        " step in the backward direction, and after its last one",
        "keep the state of each sequence at the steps that it does not have",
        ZeroOutside,
        1,
    ),
)


def _list_ragged() -> list[Hypothesis]:
    rules = ("packed.h-n", "packed.output")
    return [
        Hypothesis(
            text,
            remedy,
            rules if "zero" in text else rules[::-1],
            kind,
            is_ragged,
            "ended" if "zero" in text else "",
            rank,
        )
        for text, remedy, kind, rank in RAGGED
    ]


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_packed_orders(),
    *_list_padding(),
    *_list_ragged(),
    *(
        Hypothesis(
            f"packed input gives padded output{text}",
            "return a PackedSequence with the batch_sizes and index tensors of the input",
            ("packed.returns-packed",),
            partial(ReturnedPadded, batch_first=batch_first),
            is_packed,
            "padded output",
            int(batch_first),
        )
        for text, batch_first in (("", False), (", batch first", True))
    ),
)

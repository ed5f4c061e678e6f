"""Mistakes with what is left over if units, features or time steps are computed block by block."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from rnnspec.cases.case import Case
from rnnspec.diagnosis.mistakes.blocks import FewerFeatures, FewerUnits, change_each, zero_units
from rnnspec.diagnosis.mistakes.hypothesis import Hypothesis
from rnnspec.diagnosis.mistakes.reference import DirectedReference, Reference
from rnnspec.diagnosis.mistakes.situations import is_ragged

REMAINDERS = (2, 4, 8, 16, 32)
"""The sizes of blocks."""


@dataclass
class Remainder(Reference):
    """The last units, those that are left over by blocks, ignore the state, or are zero."""

    size: int = 4
    is_zero: bool = False

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        right = super().recurrent_weight(layer, direction)
        units = self.given.case.config.hidden_size
        rest = units % self.size
        if self.is_zero or not rest:
            return right
        blocks = right.view(-1, units, right.shape[1])
        return torch.cat([blocks[:, :-rest], blocks[:, -rest:] * 0], dim=1).view(right.shape)

    def update(self, total: Tensor, state: Tensor, layer: int, direction: int) -> Tensor:
        right = super().update(total, state, layer, direction)
        units = self.given.case.config.hidden_size
        if not self.is_zero or not units % self.size:
            return right
        kept = units // self.size * self.size
        return change_each(self.given, right, lambda new: zero_units(new, kept))


@dataclass
class LeftOverFeatures(FewerFeatures):
    """Features that blocks leave over are ignored."""

    def count_features(self, width: int) -> int:
        return _count_whole(width, self.size)


@dataclass
class LeftOverUnits(FewerUnits):
    """Units of the state that blocks leave over are not read."""

    def count_read(self) -> int:
        return _count_whole(self.given.hidden, self.size)


@dataclass
class SkippedSteps(DirectedReference):
    """The last steps that a direction computes, those left over by blocks, are left out."""

    size: int = 8
    is_zero: bool = False

    def keep(self, new: Tensor, time: int, state: Tensor) -> Tensor:
        return state if self._is_skipped(time) else super().keep(new, time, state)

    def stack_steps(self, outputs: list[Tensor], layer: int, direction: int) -> Tensor:
        shown = [
            each * 0 if self.is_zero and self._is_skipped(time) else each
            for time, each in enumerate(outputs)
        ]
        return super().stack_steps(shown, layer, direction)

    def _is_skipped(self, time: int) -> bool:
        steps = self.given.case.steps
        step = steps - 1 - time if self.direction else time
        return step >= _count_whole(steps, self.size)


def _leaves_features(size: int, is_everywhere: bool, case: Case) -> bool:
    config = case.config
    above = is_everywhere and config.num_layers > 1
    width = config.num_directions * (config.proj_size or config.hidden_size)
    return _leaves(config.input_size, size) or (above and _leaves(width, size))


def leaves_rest(size: int, case: Case) -> bool:
    """Return whether blocks of a size leave units of the state over."""
    return case.config.hidden_size % size != 0


def _leaves_units(size: int, case: Case) -> bool:
    return _leaves(case.config.proj_size or case.config.hidden_size, size)


def _leaves_steps(size: int, case: Case) -> bool:
    return _leaves(case.steps, size)


def _leaves(number: int, size: int) -> bool:
    return _count_whole(number, size) != number


def _count_whole(number: int, size: int) -> int:
    """Return how many whole blocks hold; what fits into less than one block is left as it is."""
    return number // size * size if number > size else number


HYPOTHESES: tuple[Hypothesis, ...] = (
    *(
        Hypothesis(
            text.format(size),
            "read all features",
            ("recurrence.output",),
            partial(LeftOverFeatures, size=size, is_everywhere=everywhere),
            partial(_leaves_features, size, everywhere),
            f"features left over by blocks of {size}",
            rank,
        )
        for size in REMAINDERS
        for text, everywhere, rank in (
            (
                "the last features that a layer reads, those over a multiple of {}, are ignored",
                True,
                0,
            ),
            ("the last input_size % {} features of the input are ignored", False, 1),
        )
    ),
    *(
        Hypothesis(
            f"the last hidden_size % {size} units of the state are not read",
            "multiply all units of the state by weight_hh",
            ("recurrence.output",),
            partial(LeftOverUnits, size=size),
            partial(_leaves_units, size),
        )
        for size in REMAINDERS
    ),
    *(
        Hypothesis(
            f"the last steps that a direction computes, those over a multiple of {size}, {text}",
            "compute all time steps in the same way, however many there are",
            ("recurrence.output",),
            partial(SkippedSteps, size=size, is_zero=is_zero),
            partial(_leaves_steps, size),
            unclear=is_ragged,
        )
        for size in REMAINDERS
        for text, is_zero in (
            ("leave the state as it is", False),
            ("are left out, and their output is zero", True),
        )
    ),
    *(
        Hypothesis(
            f"the last hidden_size % {size} units {text}",
            "compute the units that blocks leave over like the others",
            ("recurrence.output",),
            partial(Remainder, size=size, is_zero=is_zero),
            partial(leaves_rest, size),
            f"remainder {is_zero}",
            -size,
        )
        for size in REMAINDERS
        for text, is_zero in (("ignore the state", False), ("are zero", True))
    ),
)

"""Mistakes of the backward pass: gradients that stop on their way through the steps."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import partial

import torch
from torch import Tensor

from rnnspec.cases.case import Case
from rnnspec.diagnosis.mistakes.hypothesis import Hypothesis, KindCondition, every
from rnnspec.diagnosis.mistakes.places import Located
from rnnspec.diagnosis.mistakes.situations import has_cell_state

Cut = Callable[[int, int, bool], bool]
"""Takes the time of a step, its place in the order of computing, and whether that is backward."""
PERIODS = (2, 4, 5, 8, 10, 16, 20, 32, 50, 64, 100, 128, 256)
"""The numbers of steps at which gradients are often cut off."""
STEPS_REMEDY = "do not detach the state between steps"
RULES = ("gradients.reach-first-step", "gradients.weights")
RULES_OF_PART = ("gradients.weights", "gradients.input", "gradients.reach-first-step")


def detach_parts(state: Tensor, size: int, *, hidden: bool = True, memory: bool = True) -> Tensor:
    """Return a state of which h, that is the first `size` columns, or c, or both are detached."""
    parts = (state[..., :size], hidden), (state[..., size:], memory)
    return torch.cat([part.detach() if is_cut else part for part, is_cut in parts], dim=-1)


@dataclass
class CutStates(Located):
    """The state that some steps read is detached, or h or c."""

    cut: Cut = lambda time, step, is_backward: True
    hidden: bool = True
    memory: bool = True

    def recall(self, state: Tensor, first: Tensor, step: int) -> Tensor:
        is_backward = bool(self.cell[1])
        time = self.steps - 1 - step if is_backward else step
        if not (self.is_wrong(*self.cell) and self.cut(time, step, is_backward)):
            return state
        size = self.given.hidden
        return detach_parts(state, size, hidden=self.hidden, memory=self.memory)


@dataclass
class CutToLast(CutStates):
    """Gradients reach only the last steps."""

    kept: int = 1

    def recall(self, state: Tensor, first: Tensor, step: int) -> Tensor:
        return state.detach() if step == self.steps - self.kept and step else state


@dataclass(frozen=True)
class Part:
    """What of the state is cut off: its name, and how `CutStates` is told."""

    name: str
    of: KindCondition = every
    hidden: bool = True
    memory: bool = True


WHOLE = Part("the gradient")
PARTS = (
    WHOLE,
    Part("the gradient of the cell state", has_cell_state, hidden=False),
    Part("the gradient of the hidden state", has_cell_state, memory=False),
)


def _is_longer_than(number: int) -> Callable[[Case], bool]:
    return lambda case: case.steps > number


class Counting(Enum):
    """How the steps are counted after which a gradient stops, as the text says it.

    TIMES   a step is cut off from what it reads if the number of its time is a multiple
    CHUNKS  the same, but in the backward direction it is cut off from what reads it
    STEPS   in the order in which a direction computes its steps
    EARLY   likewise, with one more before the first
    """

    TIMES = "{} stops after every {} steps"
    CHUNKS = "{} stops between chunks of {} time steps"
    STEPS = "{} stops after every {} steps, counted in the order in which a direction computes them"
    EARLY = "{} stops after every {} steps, the first time one step earlier"


@dataclass(frozen=True)
class Every:
    """Whether the state that a step reads is cut off, which happens every so many steps."""

    period: int
    counting: Counting

    def __call__(self, time: int, step: int, is_backward: bool) -> bool:
        """Return whether it is, for a step with a time, that is the `step`th to be computed."""
        if self.counting is Counting.TIMES:
            return time > 0 and time % self.period == 0
        if self.counting is Counting.CHUNKS:
            return step > 0 and (time + is_backward) % self.period == 0
        return step > 0 and (step + (self.counting is Counting.EARLY)) % self.period == 0


def _list_truncated(period: int, part: Part) -> Iterator[Hypothesis]:
    """Yield that gradients stop after every so many steps, however these are counted."""
    for rank, counting in enumerate(Counting):
        is_early = counting is Counting.EARLY
        yield Hypothesis(
            counting.value.format(part.name, period),
            STEPS_REMEDY,
            RULES if part is WHOLE else RULES_OF_PART,
            partial(CutStates, cut=Every(period, counting), hidden=part.hidden, memory=part.memory),
            _is_longer_than(period - is_early),
            f"{part.name} stops {'early ' if is_early else ''}at {period}",
            0 if is_early else rank,
            of=part.of,
        )


def _reach_last(number: int) -> Hypothesis:
    """Return that gradients reach only so many steps."""
    return Hypothesis(
        f"gradients reach only the last {number} steps that a direction computes",
        STEPS_REMEDY,
        RULES,
        partial(CutToLast, kept=number),
        _is_longer_than(number),
    )


HYPOTHESES: tuple[Hypothesis, ...] = (
    *(each for part in PARTS for period in PERIODS for each in _list_truncated(period, part)),
    *(_reach_last(number) for number in (1, *PERIODS)),
)

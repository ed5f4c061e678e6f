"""Mistakes of the backward pass: gradients that stop on their way through the steps."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from rnnspec.cases.case import Case
from rnnspec.diagnosis.mistakes.hypothesis import Hypothesis, KindCondition, every
from rnnspec.diagnosis.mistakes.places import Located
from rnnspec.diagnosis.mistakes.situations import has_cell_state

Cut = Callable[[int, int], bool]
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
    """The state that some steps read is detached, or h or c; `cut` is given time and step."""

    cut: Cut = lambda time, step: True
    hidden: bool = True
    memory: bool = True

    def recall(self, state: Tensor, first: Tensor, step: int) -> Tensor:
        time = self.steps - 1 - step if self.cell[1] else step
        if not (self.is_wrong(*self.cell) and self.cut(time, step)):
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


def _cut_every(period: int, by_time: bool, *, early: int = 0) -> Cut:
    """Return whether the state before a step is cut; the first time `early` steps too early."""

    def cut(time: int, step: int) -> bool:
        position = time if by_time else step
        return position > 0 and not (position + early) % period

    return cut


def _list_truncated(period: int, part: Part) -> Iterator[Hypothesis]:
    """Yield that gradients stop after every so many steps, however these are counted."""
    cut_states = partial(CutStates, hidden=part.hidden, memory=part.memory)
    rules = RULES if part is WHOLE else RULES_OF_PART
    family = f"{part.name} is truncated"
    for by_time in (True, False):
        counted = "" if by_time else ", counted in the order in which a direction computes them"
        yield Hypothesis(
            f"{part.name} stops after every {period} steps{counted}",
            STEPS_REMEDY,
            rules,
            partial(cut_states, cut=_cut_every(period, by_time)),
            _is_longer_than(period),
            f"{family} at {period}",
            int(not by_time),
            of=part.of,
        )
    yield Hypothesis(
        f"{part.name} stops after every {period} steps, the first time after {period - 1}",
        STEPS_REMEDY,
        rules,
        partial(cut_states, cut=_cut_every(period, by_time=False, early=1)),
        _is_longer_than(period - 1),
        f"{family} early at {period}",
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

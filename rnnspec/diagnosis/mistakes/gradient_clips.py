"""Gradients that are clipped on their way back through the steps, to a limit that is inferred."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rnnspec.diagnosis.mistakes.cell_formulas import OtherFormula, change_cell
from rnnspec.diagnosis.mistakes.clips import Build, Clip, find_limits
from rnnspec.diagnosis.mistakes.evidence import Evidence
from rnnspec.diagnosis.mistakes.gate_formulas import Sums
from rnnspec.diagnosis.mistakes.given import Given
from rnnspec.diagnosis.mistakes.hypothesis import Hypothesis, every
from rnnspec.diagnosis.mistakes.outcome import has_same_form
from rnnspec.diagnosis.mistakes.reference import Reference
from rnnspec.diagnosis.mistakes.scaled_results import ChangedOutputGradient, change_gradient
from rnnspec.diagnosis.mistakes.situations import has_cell_state

LIMITS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 15, 20, 25, 30, 40, 50, 100)
"""The limits to which gradients may be clipped."""
RULES = ("gradients.input", "gradients.weights", "gradients.biases", "gradients.h-0")


def clip_gradient(value: Tensor, limit: float) -> Tensor:
    """Return an equal tensor through which gradients flow between -limit and limit only."""
    return change_gradient(value, partial(_clamp, limit))


def _clamp(limit: float, gradient: Tensor) -> Tensor:
    return gradient.clamp(-limit, limit)


@dataclass
class ClippedStateGradient(Reference):
    """The gradient of the hidden state, of the cell state or of both is clipped at every step.

    It is that of the new state or, if it is `carried`, the part that a step passes on to the state
    before it.
    """

    limit: float = 1.0
    hidden: bool = True
    memory: bool = True
    carried: bool = False

    def project_state(self, state: Tensor, layer: int, direction: int) -> Tensor:
        new = super().project_state(state, layer, direction)
        return new if self.carried else self._clip(new)

    def recall(self, state: Tensor, first: Tensor, step: int) -> Tensor:
        recalled = super().recall(state, first, step)
        return self._clip(recalled) if self.carried else recalled

    def _clip(self, state: Tensor) -> Tensor:
        size = self.given.hidden
        parts = ((state[..., :size], self.hidden), (state[..., size:], self.memory))
        chosen = [clip_gradient(part, self.limit) if clips else part for part, clips in parts]
        return torch.cat(chosen, dim=-1)


@dataclass
class ClippedSumGradient(Reference):
    """The gradient of the sums is clipped, before it reaches weights, biases, input and state."""

    limit: float = 1.0

    def change_sums(self, sums: Sums, layer: int, direction: int) -> Any:
        changed = super().change_sums(sums, layer, direction)
        return [clip_gradient(each, self.limit) for each in changed]

    def activate(self, total: Tensor, layer: int, direction: int) -> Tensor:
        return super().activate(clip_gradient(total, self.limit), layer, direction)


@dataclass
class ClippedResults(Reference):
    """The gradients of some tensors are clipped when they are complete."""

    limit: float = 1.0
    of_parameters: bool = True

    def change_gradients(self, gradients: dict[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: _clamp(self.limit, each)
            if (name in self.given.weights) is self.of_parameters
            else each
            for name, each in super().change_gradients(gradients).items()
        }


def _build(kind: Callable[..., Reference], **options: bool) -> Build:
    """Return what builds a reference of a kind with a limit."""
    return lambda limit, given: kind(given, limit=limit, **options)


def _clip_cell(limit: float, given: Given) -> Reference:
    """Return a reference that clips all of the gradient of c: also what comes from h."""
    return OtherFormula(given, formula=partial(change_cell, partial(clip_gradient, limit=limit)))


def _clip_output(limit: float, given: Given) -> Reference:
    return ChangedOutputGradient(given, change=partial(_clamp, limit))


CLIPS: tuple[Clip, ...] = (
    Clip(
        "the gradient of the cell state of each step, with what comes from h, is {}",
        _clip_cell,
        has_cell_state,
        rules=RULES,
    ),
    Clip("the gradient of the sums of each step is {}", _build(ClippedSumGradient), rules=RULES),
    Clip("the gradient of the output is {}", _clip_output, rules=RULES),
    Clip(
        "each parameter's gradient is {}",
        _build(ClippedResults, of_parameters=True),
        rules=RULES[1:3],
    ),
    Clip(
        "the gradients of the input and the initial states are {}",
        _build(ClippedResults, of_parameters=False),
        rules=(RULES[0], RULES[3]),
    ),
    *(
        Clip(
            text,
            _build(ClippedStateGradient, hidden=hidden, memory=memory, carried=carried),
            of,
            rules=RULES,
        )
        for carried, when in (
            (False, "of each step is {}"),
            (True, "that a step passes on to the one before it is {}"),
        )
        for text, of, hidden, memory in (
            (f"the gradient of the hidden state {when}", every, True, False),
            (f"the gradient of the cell state {when}", has_cell_state, False, True),
            (f"the gradient of h and c {when}", has_cell_state, True, True),
        )
    ),
)


def infer_gradient_clips(case: Evidence) -> Iterator[Hypothesis]:
    """Yield the hypotheses that gradients are clipped to a limit which one wrong case suggests."""
    if case.observed is None or not has_same_form(case.observed, case.required):
        return
    for clip in CLIPS:
        yield from find_limits(case, clip, LIMITS)

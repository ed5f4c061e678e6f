"""Mistakes with a constant that is not known before: it is inferred from one case.

The constant is told only if the same one explains all cases.
"""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from rnnspec.diagnosis.mistakes.evidence import Evidence, has_same_form
from rnnspec.diagnosis.mistakes.hypothesis import Condition, Hypothesis, always, never
from rnnspec.diagnosis.mistakes.reference import Reference
from rnnspec.diagnosis.mistakes.situations import is_long, is_ragged, is_relu

ITERATIONS = 4
START = 1e-6
DIGITS = 3


@dataclass
class Perturbed(Reference):
    """A small part of something is added: `amount` times what each field gives."""

    amount: float = 0.0
    activation: Callable[[Tensor, Tensor], Tensor] | None = None
    total: Callable[[Tensor], Tensor] | None = None
    state: Callable[[Tensor], Tensor] | None = None
    input: Callable[[Tensor], Tensor] | None = None
    output: bool = False
    h_n: bool = False

    def read_below(self, below: Sequence[Tensor], layer: int) -> Tensor:
        right = super().read_below(below, layer)
        return right + self.amount * self.input(right) if self.input and layer == 0 else right

    def recall(self, state: Tensor, first: Tensor, step: int) -> Tensor:
        return state + self.amount * self.state(state) if self.state else state

    def activate(self, total: Tensor, layer: int) -> Tensor:
        read = total + self.amount * self.total(total) if self.total else total
        new = super().activate(read, layer)
        return new + self.amount * self.activation(total, new) if self.activation else new

    def finish(self, below: Sequence[Tensor]) -> Tensor:
        return super().finish(below) * (1 + self.amount * self.output)

    def stack_states(self, states: list[Tensor], output: Tensor) -> Tensor:
        return super().stack_states(states, output) * (1 + self.amount * self.h_n)


@dataclass(frozen=True)
class Constant:
    """A mistake with a constant; `text` is given the amount, and one plus the amount."""

    text: str
    options: dict[str, object]
    concerns: Condition = always
    unclear: Condition = never


def _shift_rows(data: Tensor) -> Tensor:
    rows = data.flatten(0, 1)
    return torch.cat([rows[1:], rows[-1:]]).view(data.shape)


CONSTANTS: tuple[Constant, ...] = (
    Constant(
        "the new state of each step is multiplied by {factor}",
        {"activation": lambda total, new: new},
    ),
    Constant(
        "{amount} is added to the new state of each step",
        {"activation": lambda total, new: torch.ones_like(new)},
    ),
    Constant(
        "relu multiplies negative values by {amount} instead of returning zero",
        {"activation": lambda total, new: total.clamp(max=0)},
        is_relu,
    ),
    Constant("the sum is multiplied by {factor} before the nonlinearity", {"total": lambda x: x}),
    Constant("{amount} is added to the sum before the nonlinearity", {"total": torch.ones_like}),
    Constant("the state is multiplied by {factor} before each step", {"state": lambda h: h}),
    Constant(
        "{amount} times the mean of the states over the batch is added to each state",
        {"state": lambda h: h.mean(0, keepdim=True).expand_as(h)},
        lambda case: case.batch > 1,
        is_ragged,
    ),
    Constant(
        "{amount} times the state of the sample before it is added to each sample's state",
        {"state": lambda h: h.roll(1, 0)},
        lambda case: case.batch > 1,
        is_ragged,
    ),
    Constant(
        "{amount} times the state of the sample after it is added to each sample's state",
        {"state": lambda h: h.roll(-1, 0)},
        lambda case: case.batch > 1,
        is_ragged,
    ),
    Constant(
        "{amount} times the next row, of the next sample or time step, is added to each input row",
        {"input": _shift_rows},
        unclear=lambda case: is_ragged(case) or case.is_packed,
    ),
    Constant(
        "{amount} times the input of the next time step is added to the input of each step",
        {"input": lambda x: torch.cat([x[1:], x[-1:] * 0])},
        is_long,
        is_ragged,
    ),
    Constant(
        "{amount} times the mean of the input over time is added to the input",
        {"input": lambda x: x.mean(0).expand_as(x)},
        is_long,
        is_ragged,
    ),
    Constant(
        "{amount} times the mean of the input over the batch is added to the input",
        {"input": lambda x: x.mean(1, keepdim=True).expand_as(x)},
        lambda case: case.batch > 1,
        is_ragged,
    ),
    Constant("the input is multiplied by {factor}", {"input": lambda x: x}),
    Constant("{amount} is added to the input", {"input": torch.ones_like}),
    Constant("the output is multiplied by {factor}", {"output": True}),
    Constant("h_n is multiplied by {factor}", {"h_n": True}),
    Constant("output and h_n are multiplied by {factor}", {"output": True, "h_n": True}),
)


def infer_hypotheses(case: Evidence) -> list[Hypothesis]:
    """Return the mistakes with the constant that explains one wrong case."""
    if case.says_little or case.observed is None or not has_same_form(case.observed, case.required):
        return []
    observed = np.concatenate([each.ravel() for each in case.observed.results.values()])
    if not np.isfinite(observed).all() or observed.size < 2:
        return []
    found = ((constant, _infer(constant, case, observed)) for constant in CONSTANTS)
    return [_build_hypothesis(constant, amount) for constant, amount in found if amount]


def _infer(constant: Constant, case: Evidence, observed: np.ndarray) -> float | None:
    """Return the amount with which the mistake explains a case best, in a few digits."""
    if not constant.concerns(case.case) or constant.unclear(case.case):
        return None
    amount, required = 0.0, _predict(constant, case, 0.0)
    for _ in range(ITERATIONS):
        base = _predict(constant, case, amount)
        slope = (_predict(constant, case, amount + START) - base) / START
        size = float(slope @ slope)
        if not np.isfinite(size) or size < 1e-12:
            return None
        amount += float(slope @ (observed - base)) / size
        if not abs(amount) < 1e6:
            return None
    rounded = float(f"{amount:.{DIGITS}g}")
    left = np.abs(_predict(constant, case, rounded) - observed).max()
    return rounded if left < 0.01 * np.abs(required - observed).max() else None


def _predict(constant: Constant, case: Evidence, amount: float) -> np.ndarray:
    outcome = case.predict(partial(Perturbed, amount=amount, **constant.options))
    return np.concatenate([each.ravel() for each in outcome.results.values()])


def _build_hypothesis(constant: Constant, amount: float) -> Hypothesis:
    return Hypothesis(
        constant.text.format(amount=f"{amount:.{DIGITS}g}", factor=f"{1 + amount:.6g}"),
        "leave this constant out",
        ("recurrence.output", "samples.independent", "recurrence.causal"),
        partial(Perturbed, amount=amount, **constant.options),
        constant.concerns,
        "constants",
        0,
        constant.unclear,
    )

"""Mistakes with a constant that is not known before: it is inferred from one case.

The constant is told only if the same one explains all cases.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnnspec.diagnosis.mistakes.clips import infer_clips
from rnnspec.diagnosis.mistakes.evidence import Evidence
from rnnspec.diagnosis.mistakes.flushes import infer_flushes
from rnnspec.diagnosis.mistakes.gate_formulas import BY_PEEPHOLE, PEEPHOLES
from rnnspec.diagnosis.mistakes.gates import is_of_kind, list_gated_kinds
from rnnspec.diagnosis.mistakes.hypothesis import (
    Condition,
    Hypothesis,
    KindCondition,
    always,
    every,
    never,
)
from rnnspec.diagnosis.mistakes.outcome import Outcome, has_same_form
from rnnspec.diagnosis.mistakes.perturbed import Perturbed
from rnnspec.diagnosis.mistakes.situations import (
    has_bias,
    has_cell_state,
    has_gates,
    has_nonlinearity,
    is_long,
    is_ragged,
    is_relu,
    is_sorted_by_layer,
)

Array = NDArray[np.float64]
ITERATIONS = 4
START = 1e-6
DIGITS = 3
SMALLEST = 1e-12
HOPELESS, CLOSE = 0.5, 0.01
"""The share of the error that the first step, and the whole inference, may leave."""


@dataclass(frozen=True)
class Constant:
    """A mistake with a constant; `text` is given the amount, and one plus the amount.

    With the amount `known`, it is a mistake of the catalogue.
    """

    text: str
    options: dict[str, Any]
    where: Condition = always
    unclear: Condition = never
    rules: tuple[str, ...] = ("recurrence.output",)
    of: KindCondition = every
    known: float | None = None


SAMPLES = ("samples.independent", "samples.permuted", "samples.alone", "recurrence.output")
STEPS = ("recurrence.causal", "recurrence.output")
"""The rules that name a mistake that mixes samples, or time steps."""


def _shift_rows(data: Tensor) -> Tensor:
    rows = data.flatten(0, 1)
    return torch.cat([rows[1:], rows[-1:]]).view(data.shape)


def _keep_first(weight: Tensor) -> Tensor:
    kept = torch.zeros_like(weight)
    kept[0, 0] = weight[0, 0]
    return kept


CONSTANTS: tuple[Constant, ...] = (
    Constant(
        "the new state of each step is multiplied by {factor}",
        {"activation": lambda total, new: new},
        has_nonlinearity,
    ),
    Constant(
        "{amount} is added to the new state of each step",
        {"activation": lambda total, new: torch.ones_like(new)},
        has_nonlinearity,
    ),
    Constant(
        "relu multiplies negative values by {amount} instead of returning zero",
        {"activation": lambda total, new: total.clamp(max=0)},
        is_relu,
    ),
    Constant(
        "the sum is multiplied by {factor} before the nonlinearity",
        {"total": lambda x: x},
        has_nonlinearity,
    ),
    Constant(
        "{amount} is added to the sum before the nonlinearity",
        {"total": torch.ones_like},
        has_nonlinearity,
    ),
    *(
        Constant(
            f"{{amount}} is added to the sum of the {gate} gate",
            {"gate": place},
            rules=("gates.alone", "recurrence.output"),
            of=partial(is_of_kind, kind),
        )
        for kind in list_gated_kinds()
        for place, gate in enumerate(kind.gates)
    ),
    *(
        Constant(
            f"{text.format('{amount} times ')} {BY_PEEPHOLE}",
            {"formula": formula},
            rules=("gates.alone", "recurrence.output"),
            of=has_cell_state,
            known=1.0,
        )
        for text, formula in PEEPHOLES
    ),
    Constant(
        "each step keeps {amount} of the states before it, whatever the gates say",
        {"mixture": True},
        rules=("gates.alone", "recurrence.output"),
        of=has_gates,
    ),
    *(
        Constant(
            f"each step keeps {{amount}} of the {kept}, whatever the gates say",
            options,
            rules=("gates.alone", "cell-state.final", "recurrence.output"),
            of=has_cell_state,
        )
        for kept, options in (
            ("hidden state before it", {"mixture": True, "of_cell": False}),
            ("cell state before it, which the hidden state shows", {"renewed": True}),
            (
                "cell state before it, which the hidden state does not show",
                {"mixture": True, "of_hidden": False},
            ),
        )
    ),
    # Without gates, a step reads the state in the product with W_hh alone: these two are the same.
    Constant(
        "W_hh, or the state before each step, is multiplied by {factor}",
        {"recurrent": lambda weight: weight},
        has_nonlinearity,
    ),
    Constant(
        "the state is multiplied by {factor} before each step",
        {"state": lambda h: h},
        of=has_gates,
    ),
    Constant(
        "{amount} times the mean of the states over the batch is added to each state",
        {"state": lambda h: h.mean(0, keepdim=True).expand_as(h)},
        unclear=is_ragged,
        rules=SAMPLES,
    ),
    Constant(
        "{amount} times the state of the sample before it is added to each sample's state",
        {"state": lambda h: h.roll(1, 0)},
        unclear=is_sorted_by_layer,
        rules=SAMPLES,
    ),
    Constant(
        "{amount} times the state of the sample after it is added to each sample's state",
        {"state": lambda h: h.roll(-1, 0)},
        unclear=is_sorted_by_layer,
        rules=SAMPLES,
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
        STEPS,
    ),
    Constant(
        "{amount} times the mean of the input over time is added to the input",
        {"input": lambda x: x.mean(0).expand_as(x)},
        unclear=is_ragged,
        rules=STEPS,
    ),
    Constant(
        "{amount} times the mean of the input over the batch is added to the input",
        {"input": lambda x: x.mean(1, keepdim=True).expand_as(x)},
        unclear=is_ragged,
        rules=SAMPLES,
    ),
    Constant("W_hh is multiplied by {factor}", {"recurrent": lambda weight: weight}, of=has_gates),
    Constant("W_ih is multiplied by {factor}", {"read": lambda weight: weight}),
    Constant("the first element of W_hh is multiplied by {factor}", {"recurrent": _keep_first}),
    Constant("the first element of W_ih is multiplied by {factor}", {"read": _keep_first}),
    Constant("both biases are multiplied by {factor}", {"bias": True}, has_bias),
    Constant("the input is multiplied by {factor}", {"input": lambda x: x}),
    Constant("{amount} is added to the input", {"input": torch.ones_like}),
    Constant("the output is multiplied by {factor}", {"output": True}),
    Constant(
        "h_n is multiplied by {factor}",
        {"final": "h"},
        rules=("recurrence.h-n", "states.h-n-is-last-output"),
    ),
    Constant(
        "c_n is multiplied by {factor}",
        {"final": "c"},
        rules=("cell-state.final",),
        of=has_cell_state,
    ),
    Constant(
        "h_n and c_n are multiplied by {factor}",
        {"final": "hc"},
        rules=("recurrence.h-n", "cell-state.final"),
        of=has_cell_state,
    ),
    Constant("output and h_n are multiplied by {factor}", {"output": True, "final": "h"}),
)


def infer_hypotheses(case: Evidence) -> list[Hypothesis]:
    """Return the mistakes with the constant that explains one wrong case."""
    if case.says_little or case.observed is None or not has_same_form(case.observed, case.required):
        return []
    observed = _flatten(case.observed)
    if not np.isfinite(observed).all() or observed.size < 2:
        return []
    found = ((constant, _infer(constant, case, observed)) for constant in CONSTANTS)
    built = [
        build_hypothesis(constant, amount)
        for constant, amount in found
        if amount and amount != constant.known
    ]
    return [*built, *infer_clips(case), *infer_flushes(case)]


def _infer(constant: Constant, case: Evidence, observed: Array) -> float | None:
    """Return the amount with which the mistake explains a case best, in a few digits."""
    is_concerned = constant.of(case.case.config.kind_data) and constant.where(case.case)
    if not is_concerned or constant.unclear(case.case):
        return None
    required = _flatten(case.required)
    amount, base = 0.0, required
    for _ in range(ITERATIONS):
        slope = (_predict(constant, case, amount + START) - base) / START
        size = float(slope @ slope)
        if not np.isfinite(size) or size < SMALLEST:
            return None
        step = float(slope @ (observed - base)) / size
        left = observed - base - step * slope
        if amount == 0.0 and left @ left > HOPELESS * ((observed - base) @ (observed - base)):
            return None
        amount += step
        base = _predict(constant, case, amount)
    rounded = float(f"{amount:.{DIGITS}g}")
    error = np.abs(_predict(constant, case, rounded) - observed).max()
    return rounded if error < CLOSE * np.abs(required - observed).max() else None


def _flatten(outcome: Outcome) -> Array:
    return np.concatenate([each.ravel() for each in outcome.results.values()])


def _predict(constant: Constant, case: Evidence, amount: float) -> Array:
    return _flatten(case.predict(partial(Perturbed, amount=amount, **constant.options)))


def build_hypothesis(constant: Constant, amount: float) -> Hypothesis:
    """Return the hypothesis that a layer makes a mistake with this constant."""
    return Hypothesis(
        constant.text.format(amount=f"{amount:.{DIGITS}g}", factor=f"{1 + amount:.10g}"),
        "leave this constant out",
        constant.rules,
        partial(Perturbed, amount=amount, **constant.options),
        constant.where,
        "constants",
        0,
        constant.unclear,
        of=constant.of,
    )

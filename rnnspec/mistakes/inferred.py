"""Mistakes with a constant that is not known in advance, but inferred from a case.

The constant is reported only if the same constant explains all cases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from rnnspec.cases.reach import CaseTest
from rnnspec.mistakes.clips import infer_clips, infer_flushes
from rnnspec.mistakes.evidence import Evidence
from rnnspec.mistakes.gate_formulas import BY_PEEPHOLE, PEEPHOLES
from rnnspec.mistakes.gates import is_of_kind, list_gated_kinds, multiply
from rnnspec.mistakes.hypothesis import About, Hypothesis, KindCondition, always, every, never
from rnnspec.mistakes.outcome import Outcome, has_same_form
from rnnspec.mistakes.situations import (
    has_bias,
    has_cell_state,
    has_gates,
    has_nonlinearity,
    is_long,
    is_ragged,
    is_relu,
    is_sorted_by_layer,
)
from rnnspec.mistakes.steps import change_in_first_layer
from rnnspec.oracle import Array
from rnnspec.reference.values import Functions, TensorChange, change_values

# Newton's method doubles the digits each time: 1, 2, 4 and 8. Three digits are needed.
ITERATIONS = 4
# Half the digits of float64 are left for the slope.
START = 1e-6
# Enough for constants that people choose, and few enough to hide the rounding of float32.
DIGITS = 3
# A smaller slope is at most the rounding of float64, divided by `START` and squared.
SMALLEST = 1e-12
# Of 969 constants in results of RNNs and LSTMs, 92 % are inferred. With half of `HOPELESS`, 84 %;
# with twice as much, which is no limit, 96 %, for four times the predictions of each constant that
# does not fit. Halving or doubling `CLOSE` changes nothing
# (`python -m benchmarks.thresholds --constants`).
HOPELESS, CLOSE = 0.5, 0.01
"""The share of the error that may be left after the first step, and after the whole inference."""


@dataclass(frozen=True)
class Constant:
    """A mistake with a constant.

    key      its identifier, with fields for the `amount` and the `factor`, which is 1 + amount
    text     the behaviour of the layer, with the same fields
    changes  the changes with an amount

    With the amount `known`, it is a mistake of the catalogue.
    """

    key: str
    text: str
    changes: Callable[[float], Functions]
    where: CaseTest = always
    unclear: CaseTest = never
    rules: tuple[str, ...] = ("recurrence.output",)
    of: KindCondition = every
    known: float | None = None
    about: About = About.ONE_STEP


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


OfAmount = Callable[[float], Functions]


def add(name: str, part: TensorChange) -> OfAmount:
    """Return changes that add an amount of a part of a value to it."""
    return lambda amount: {name: lambda value: value + amount * part(value)}


def scale(*names: str) -> OfAmount:
    """Return changes that multiply some values by 1 + amount."""
    return lambda amount: dict.fromkeys(names, partial(multiply, 1 + amount))


def scale_biases(amount: float) -> Functions:
    """Return a change that multiplies both biases by 1 + amount."""
    return {"biases": lambda biases: [each * (1 + amount) for each in biases]}


def add_to_input(part: TensorChange) -> OfAmount:
    """Return changes that add an amount of a part of the input to the input of the first layer."""
    return lambda amount: {
        "read": change_in_first_layer(lambda value: value + amount * part(value))
    }


def add_to_states(part: TensorChange) -> OfAmount:
    """Return changes that add an amount of a part to each state that a step reads."""
    return lambda amount: {
        f"before.{letter}": lambda state: state + amount * part(state) for letter in "hc"
    }


def keep_some(letters: str) -> OfAmount:
    """Return changes that let a step keep an amount of the states before it."""
    return lambda amount: {
        f"updated.{letter}": _mix_with_state(letter, amount) for letter in letters
    }


def _mix_with_state(letter: str, amount: float) -> Callable[..., Tensor]:
    return lambda new, before: new + amount * (before[letter] - new)


def keep_some_of_cell(amount: float) -> Functions:
    """Return a change that lets the shown cell state keep an amount of the state before."""
    return {"c": _mix_with_state("c", amount)}


CONSTANTS: tuple[Constant, ...] = (
    Constant(
        "new-state.times={factor}",
        "the new state of each step is multiplied by {factor}",
        scale("gate.hidden"),
        has_nonlinearity,
        about=About.STEPS,
    ),
    Constant(
        "new-state.plus={amount}",
        "{amount} is added to $new_state",
        add("gate.hidden", torch.ones_like),
        has_nonlinearity,
    ),
    Constant(
        "relu.leaky={amount}",
        "relu multiplies negative values by {amount} instead of returning zero",
        lambda a: {"gate.hidden": lambda new, total: new + a * total.clamp(max=0)},
        is_relu,
    ),
    Constant(
        "sum.times={factor}",
        "the sum is multiplied by {factor} before the nonlinearity",
        scale("sum.hidden"),
        has_nonlinearity,
    ),
    Constant(
        "sum.plus={amount}",
        "{amount} is added to the sum before the nonlinearity",
        add("sum.hidden", torch.ones_like),
        has_nonlinearity,
    ),
    *(
        Constant(
            f"{gate}-gate.sum-plus={{amount}}",
            f"{{amount}} is added to the sum of the {gate} gate",
            add(f"sum.{gate}", torch.ones_like),
            rules=("gates.alone", "recurrence.output"),
            of=partial(is_of_kind, kind),
        )
        for kind in list_gated_kinds()
        for gate in kind.gates
    ),
    *(
        Constant(
            f"peephole.{key}={{amount}}",
            f"{text.format('{amount} times ')} {BY_PEEPHOLE}",
            rows,
            rules=("gates.alone", "recurrence.output"),
            of=has_cell_state,
            known=1.0,
        )
        for key, text, rows in PEEPHOLES
    ),
    Constant(
        "states.kept={amount}",
        "$a_step keeps {amount} of the states before it, whatever the gates say",
        keep_some("hc"),
        rules=("gates.alone", "recurrence.output"),
        of=has_gates,
    ),
    *(
        Constant(
            f"{key}.kept={{amount}}",
            f"$a_step keeps {{amount}} of the {kept}, whatever the gates say",
            changes,
            rules=("gates.alone", "cell-state.final", "recurrence.output"),
            of=has_cell_state,
        )
        for key, kept, changes in (
            ("h", "hidden state before it", keep_some("h")),
            ("c", "cell state before it, which the hidden state shows", keep_some_of_cell),
            (
                "c-not-shown",
                "cell state before it, which the hidden state does not show",
                keep_some("c"),
            ),
        )
    ),
    # Without gates, a step reads the state in the product with W_hh alone, so these two are the
    # same.
    Constant(
        "W_hh.times={factor}",
        "W_hh, or $older_h, is multiplied by {factor}",
        scale("weight_hh"),
        has_nonlinearity,
    ),
    Constant(
        "state.times={factor}",
        "the state is multiplied by {factor} before $each_step",
        add_to_states(lambda h: h),
        of=has_gates,
    ),
    Constant(
        "states.plus-mean={amount}",
        "{amount} times the mean of the states over the batch is added to each state",
        add_to_states(lambda h: h.mean(0, keepdim=True).expand_as(h)),
        unclear=is_ragged,
        rules=SAMPLES,
    ),
    Constant(
        "states.plus-sample-before={amount}",
        "{amount} times the state of the sample before it is added to each sample's state",
        add_to_states(lambda h: h.roll(1, 0)),
        unclear=is_sorted_by_layer,
        rules=SAMPLES,
    ),
    Constant(
        "states.plus-sample-after={amount}",
        "{amount} times the state of the sample after it is added to each sample's state",
        add_to_states(lambda h: h.roll(-1, 0)),
        unclear=is_sorted_by_layer,
        rules=SAMPLES,
    ),
    Constant(
        "input.plus-next-row={amount}",
        "{amount} times the next row, of the next $sample_or_step, is added to each input row",
        add_to_input(_shift_rows),
        unclear=lambda case: is_ragged(case) or case.is_packed,
    ),
    Constant(
        "input.plus-next-step={amount}",
        "{amount} times the input of the next time step is added to the input of each step",
        add_to_input(lambda x: torch.cat([x[1:], x[-1:] * 0])),
        is_long,
        is_ragged,
        STEPS,
        about=About.STEPS,
    ),
    Constant(
        "input.plus-mean-over-time={amount}",
        "{amount} times the mean of the input over time is added to the input",
        add_to_input(lambda x: x.mean(0).expand_as(x)),
        unclear=is_ragged,
        rules=STEPS,
        about=About.STEPS,
    ),
    Constant(
        "input.plus-mean-over-batch={amount}",
        "{amount} times the mean of the input over the batch is added to the input",
        add_to_input(lambda x: x.mean(1, keepdim=True).expand_as(x)),
        unclear=is_ragged,
        rules=SAMPLES,
    ),
    Constant(
        "W_hh.times={factor}", "W_hh is multiplied by {factor}", scale("weight_hh"), of=has_gates
    ),
    Constant("W_ih.times={factor}", "W_ih is multiplied by {factor}", scale("weight_ih")),
    Constant(
        "W_hh.first-times={factor}",
        "the first element of W_hh is multiplied by {factor}",
        add("weight_hh", _keep_first),
    ),
    Constant(
        "W_ih.first-times={factor}",
        "the first element of W_ih is multiplied by {factor}",
        add("weight_ih", _keep_first),
    ),
    Constant(
        "biases.times={factor}", "both biases are multiplied by {factor}", scale_biases, has_bias
    ),
    Constant(
        "input.times={factor}", "the input is multiplied by {factor}", add_to_input(lambda x: x)
    ),
    Constant(
        "input.plus={amount}", "{amount} is added to the input", add_to_input(torch.ones_like)
    ),
    Constant(
        "output.times={factor}",
        "the output is multiplied by {factor}",
        scale("output"),
        about=About.OUTPUT,
    ),
    Constant(
        "h_n.times={factor}",
        "h_n is multiplied by {factor}",
        scale("final.h"),
        rules=("recurrence.h-n", "states.h-n-is-last-output"),
    ),
    Constant(
        "c_n.times={factor}",
        "c_n is multiplied by {factor}",
        scale("final.c"),
        rules=("cell-state.final",),
        of=has_cell_state,
    ),
    Constant(
        "h_n-and-c_n.times={factor}",
        "h_n and c_n are multiplied by {factor}",
        scale("final.h", "final.c"),
        rules=("recurrence.h-n", "cell-state.final"),
        of=has_cell_state,
    ),
    Constant(
        "output-and-h_n.times={factor}",
        "output and h_n are multiplied by {factor}",
        scale("output", "final.h"),
        about=About.OUTPUT,
    ),
)


def infer_hypotheses(case: Evidence) -> list[Hypothesis]:
    """Return the mistakes with constants that explain a wrong case."""
    if (
        case.has_little_evidence
        or case.observed is None
        or not has_same_form(case.observed, case.required)
    ):
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
    return _flatten(case.predict(change_values(constant.changes(amount))))


def build_hypothesis(constant: Constant, amount: float) -> Hypothesis:
    """Return the hypothesis that a layer makes a mistake with this constant."""
    fields = {"amount": f"{amount:.{DIGITS}g}", "factor": f"{1 + amount:.10g}"}
    return Hypothesis(
        constant.key.format(**fields),
        constant.text.format(**fields),
        "leave this constant out",
        constant.rules,
        change_values(constant.changes(amount)),
        constant.where,
        "constants",
        0,
        constant.unclear,
        of=constant.of,
        about=constant.about,
    )

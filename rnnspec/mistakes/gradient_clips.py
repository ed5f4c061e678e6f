"""Gradients that are clipped on their way back through the steps, to an inferred limit."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from torch import Tensor

from rnnspec.mistakes.clips import Clip, Limit, find_limits
from rnnspec.mistakes.evidence import Evidence
from rnnspec.mistakes.gradient_values import GradientsByName, change_gradient
from rnnspec.mistakes.hypothesis import About, Hypothesis, every
from rnnspec.mistakes.outcome import has_same_form
from rnnspec.mistakes.situations import has_cell_state
from rnnspec.reference.steps import STEPS
from rnnspec.reference.values import Functions, Spot

# Round numbers, as people choose them for gradients.
LIMITS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 15, 20, 25, 30, 40, 50, 100)
"""The limits to which gradients may be clipped."""
RULES = ("gradients.input", "gradients.weights", "gradients.biases", "gradients.h-0")


def clip_gradient(value: Tensor, limit: float) -> Tensor:
    """Return an equal tensor that clips its gradient to [-limit, limit]."""
    return change_gradient(value, partial(_clamp, limit))


def _clamp(limit: float, gradient: Tensor) -> Tensor:
    return gradient.clamp(-limit, limit)


def clip_gradients(*names: str) -> Limit:
    """Return changes that clip the gradients of some values to a limit."""
    return lambda limit: dict.fromkeys(names, partial(clip_gradient, limit=limit))


def clip_results(*, of_parameters: bool) -> Limit:
    """Return a change that clips the gradients of some tensors when they are complete."""

    def clip_all(limit: float) -> Functions:
        def clip(gradients: GradientsByName, spot: Spot) -> GradientsByName:
            return {
                name: _clamp(limit, each) if (name in spot.given.weights) is of_parameters else each
                for name, each in gradients.items()
            }

        return {"gradients": clip}

    return clip_all


SUMS = tuple(f"sum.{name}" for step in STEPS.values() for name in step.sums)
"""The sums of the steps of all kinds."""
CLIPS: tuple[Clip, ...] = (
    Clip(
        "gradient.c-with-h",
        "the gradient of the cell state$of_each_step, with what comes from h, is {}",
        clip_gradients("c"),
        has_cell_state,
        rules=RULES,
    ),
    Clip(
        "gradient.sums",
        "the gradient of the sums$of_each_step is {}",
        clip_gradients(*SUMS),
        rules=RULES,
    ),
    Clip(
        "gradient.output",
        "the gradient of the output is {}",
        clip_gradients("output"),
        rules=RULES,
        about=About.OUTPUT,
    ),
    Clip(
        "gradient.parameters",
        "each parameter's gradient is {}",
        clip_results(of_parameters=True),
        rules=RULES[1:3],
    ),
    Clip(
        "gradient.arguments",
        "the gradients of the input and the initial states are {}",
        clip_results(of_parameters=False),
        rules=(RULES[0], RULES[3]),
    ),
    *(
        Clip(
            f"gradient.{when_key}-{key}",
            text,
            clip_gradients(*(f"{state}.{letter}" for letter in letters)),
            of,
            rules=RULES,
            about=about,
        )
        for state, when_key, when, about in (
            ("updated", "new", "$of_each_step is {}", About.ONE_STEP),
            ("before", "read", " that a step passes on to the one before it is {}", About.STEPS),
        )
        for key, text, of, letters in (
            ("h", f"the gradient of the hidden state{when}", every, "h"),
            ("c", f"the gradient of the cell state{when}", has_cell_state, "c"),
            ("h-and-c", f"the gradient of h and c{when}", has_cell_state, "hc"),
        )
    ),
)


def infer_gradient_clips(case: Evidence) -> Iterator[Hypothesis]:
    """Yield the hypotheses that gradients are clipped to a limit suggested by a wrong case."""
    if case.observed is None or not has_same_form(case.observed, case.required):
        return
    for clip in CLIPS:
        yield from find_limits(case, clip, LIMITS)

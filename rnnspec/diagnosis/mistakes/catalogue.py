"""All hypotheses."""

from __future__ import annotations

from rnnspec.diagnosis.mistakes import (
    axes,
    directions,
    final_states,
    gradient_values,
    gradients,
    nonlinearity,
    precision,
    samples,
    stacking,
    states,
    steps,
    weights,
)
from rnnspec.diagnosis.mistakes.hypothesis import Hypothesis

MODULES = (
    axes,
    directions,
    states,
    final_states,
    samples,
    weights,
    steps,
    stacking,
    nonlinearity,
    precision,
)
HYPOTHESES: tuple[Hypothesis, ...] = tuple(
    hypothesis for module in MODULES for hypothesis in module.HYPOTHESES
)
"""Every hypothesis about wrong results."""

GRADIENT_HYPOTHESES: tuple[Hypothesis, ...] = (
    *gradients.HYPOTHESES,
    *gradient_values.HYPOTHESES,
)
"""Every hypothesis about gradients that are wrong although the results are right."""

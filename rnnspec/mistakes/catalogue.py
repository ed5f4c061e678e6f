"""All hypotheses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache

from rnnspec.contract.kinds import KINDS
from rnnspec.mistakes import (
    axes,
    blocks,
    carried_states,
    cell_ends,
    cell_formulas,
    cell_states,
    chunks,
    direction_parameters,
    directions,
    dropout,
    earlier,
    final_shapes,
    final_states,
    first_steps,
    functions,
    gate_backward,
    gate_formulas,
    gate_gradients,
    gate_mixups,
    gate_routes,
    gate_row_gradients,
    gate_rows,
    gate_sums,
    gates,
    gradient_slopes,
    gradient_values,
    gradients,
    halves,
    initial_states,
    left_over,
    memory,
    nonlinearity,
    overflow,
    packed,
    precision,
    projection_gradients,
    projections,
    quantisation,
    samples,
    scaled_results,
    stacking,
    states,
    steps,
    truncations,
    unbatched,
    weights,
)
from rnnspec.mistakes.hypothesis import Hypothesis
from rnnspec.mistakes.of_cells import list_mistakes_of_cells

MODULES = (
    axes,
    unbatched,
    halves,
    directions,
    direction_parameters,
    states,
    initial_states,
    final_states,
    final_shapes,
    packed,
    samples,
    gates,
    gate_rows,
    gate_mixups,
    gate_formulas,
    cell_formulas,
    cell_states,
    cell_ends,
    projections,
    weights,
    steps,
    carried_states,
    first_steps,
    chunks,
    functions,
    stacking,
    dropout,
    nonlinearity,
    overflow,
    precision,
    quantisation,
    memory,
    blocks,
    left_over,
    earlier,
)
OF_ALL_STATES = (axes, unbatched, states, final_states, final_shapes, packed)
"""The modules of mistakes that an LSTM makes with both of its states alike."""
HYPOTHESES: tuple[Hypothesis, ...] = tuple(
    replace(each, of_all_states=True) if module in OF_ALL_STATES else each
    for module in MODULES
    for each in module.HYPOTHESES
)
"""Every hypothesis about wrong results."""

GRADIENT_MODULES = (
    gradients,
    truncations,
    gradient_values,
    scaled_results,
    gradient_slopes,
    gate_gradients,
    gate_backward,
    gate_sums,
    gate_routes,
    gate_row_gradients,
    projection_gradients,
)
GRADIENT_HYPOTHESES: tuple[Hypothesis, ...] = tuple(
    replace(each, rules=(*each.rules, "gradients.half-precision", "gradients.exact"))
    for module in GRADIENT_MODULES
    for each in module.HYPOTHESES
)
"""Every hypothesis about gradients that are wrong although the results are right."""


@cache
def list_hypotheses(kind: str, *, gradients: bool) -> tuple[Hypothesis, ...]:
    """Return the hypotheses about the results of a kind that can make them, or about gradients."""
    every = GRADIENT_HYPOTHESES if gradients else HYPOTHESES
    data = KINDS[kind]
    found: Iterable[Hypothesis] = (each for each in every if each.of(data))
    found = list_mistakes_of_cells(found, data) if data.is_cell else found
    return tuple(each.name_all_states(data) for each in found)


@cache
def list_breaking(rule: str, kind: str) -> tuple[Hypothesis, ...]:
    """Return the hypotheses about the results of a kind that break a rule, made everywhere."""
    every = list_hypotheses(kind, gradients=False)
    return tuple(each for each in every if rule in each.rules and not each.is_local)

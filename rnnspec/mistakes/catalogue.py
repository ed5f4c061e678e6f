"""All hypotheses.

If you add a mistake, write a row in the module of its topic; if you add a module, list it here. See
docs/adding-a-likely-cause.md. You need no code for a mistake in single layers or directions, or for
two mistakes at once: these are made from your row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache

from rnnspec.contract.kinds import KINDS, Kind
from rnnspec.mistakes import (
    axes,
    blocks,
    cell_ends,
    cell_states,
    chunks,
    directions,
    dropout,
    earlier_calls,
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
    gradient_values,
    gradients,
    memory,
    nonlinearity,
    overflow,
    packed,
    precision,
    projection_gradients,
    projections,
    samples,
    stacking,
    states,
    steps,
    truncations,
    unbatched,
    weights,
)
from rnnspec.mistakes.hypothesis import About, Hypothesis
from rnnspec.mistakes.of_cells import list_mistakes_of_cells, use_words

MODULES = {
    axes: About.AXES,
    unbatched: About.ONE_STEP,
    directions: About.DIRECTIONS,
    states: About.ONE_STEP,
    final_states: About.ONE_STEP,
    packed: About.PACKED,
    samples: About.ONE_STEP,
    gates: About.ONE_STEP,
    gate_rows: About.ONE_STEP,
    gate_mixups: About.ONE_STEP,
    gate_formulas: About.ONE_STEP,
    cell_states: About.ONE_STEP,
    cell_ends: About.PACKED,
    projections: About.ONE_STEP,
    weights: About.ONE_STEP,
    steps: About.STEPS,
    first_steps: About.ONE_STEP,
    chunks: About.STEPS,
    functions: About.ONE_STEP,
    stacking: About.LAYERS,
    dropout: About.LAYERS,
    nonlinearity: About.ONE_STEP,
    overflow: About.ONE_STEP,
    precision: About.ONE_STEP,
    memory: About.ONE_STEP,
    blocks: About.ONE_STEP,
    earlier_calls: About.ONE_STEP,
}
"""The modules of mistakes in results, and the features that all mistakes of a module are about."""
HYPOTHESES: tuple[Hypothesis, ...] = tuple(
    replace(each, about=each.about | about)
    for module, about in MODULES.items()
    for each in module.HYPOTHESES
)
"""Every hypothesis about wrong results."""

GRADIENT_MODULES = {
    gradients: About.ONE_STEP,
    truncations: About.STEPS,
    gradient_values: About.ONE_STEP,
    gate_gradients: About.ONE_STEP,
    gate_backward: About.ONE_STEP,
    gate_sums: About.ONE_STEP,
    gate_routes: About.ONE_STEP,
    gate_row_gradients: About.ONE_STEP,
    projection_gradients: About.ONE_STEP,
}
"""The same for mistakes in gradients."""
GRADIENT_HYPOTHESES: tuple[Hypothesis, ...] = tuple(
    replace(
        each,
        about=each.about | about,
        rules=(*each.rules, "gradients.half-precision", "gradients.exact"),
    )
    for module, about in GRADIENT_MODULES.items()
    for each in module.HYPOTHESES
)
"""Every hypothesis about gradients that are wrong although the results are right."""


def require_own_keys(hypotheses: Iterable[Hypothesis]) -> None:
    """Raise ValueError if two hypotheses have the same key; choose another key for yours."""
    known: dict[str, str] = {}
    for each in hypotheses:
        if each.key in known:
            texts = f"{known[each.key]!r} and {each.text!r}"
            raise ValueError(f"two mistakes have the key {each.key}: {texts}")
        known[each.key] = each.text


require_own_keys((*HYPOTHESES, *GRADIENT_HYPOTHESES))


@cache
def list_hypotheses(kind: str, *, gradients: bool) -> tuple[Hypothesis, ...]:
    """Return the hypotheses about the results, or about the gradients, of a kind."""
    every = GRADIENT_HYPOTHESES if gradients else HYPOTHESES
    data = KINDS[kind]
    return tuple(adapt_to_kind((each for each in every if each.of(data)), data))


@cache
def list_breaking(rule: str, kind: str) -> tuple[Hypothesis, ...]:
    """Return the hypotheses about the results of a kind that break a rule, made everywhere."""
    every = list_hypotheses(kind, gradients=False)
    return tuple(each for each in every if rule in each.rules and not each.is_local)


def adapt_to_kind(hypotheses: Iterable[Hypothesis], kind: Kind) -> Iterator[Hypothesis]:
    """Yield the hypotheses that can be reported for a kind, in its words."""
    found = list_mistakes_of_cells(hypotheses, kind) if kind.is_cell else hypotheses
    return (use_words(each, kind) for each in found)

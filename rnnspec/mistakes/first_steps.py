"""Mistakes with the first and the last step of a direction."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from rnnspec.cases.axes import InitialState
from rnnspec.cases.case import Case
from rnnspec.mistakes.gates import NewSums, multiplies_hidden_part
from rnnspec.mistakes.hypothesis import About, Hypothesis, KindCondition, always
from rnnspec.mistakes.places import PLACES, list_by_place
from rnnspec.mistakes.situations import has_cell_state, is_long, is_ragged
from rnnspec.mistakes.steps import OF_SEVERAL
from rnnspec.reference.values import Changes, Functions, Spot, States


def lose_biases(kept: int, *, at_first: bool) -> Functions:
    """Return changes that lose the biases after the first `kept` at some steps.

    They are lost at the first step that a direction computes or, if not `at_first`, at all later
    steps.
    """

    def note(biases: list[Tensor], spot: Spot) -> list[Tensor]:
        spot.memo["biases"] = biases[kept:]
        return biases

    def subtract(sums: NewSums, spot: Spot) -> NewSums:
        changed = dict(sums)
        for bias in spot.memo["biases"] if (spot.step == 0) is at_first else ():
            parts = zip(changed, bias.chunk(len(changed)), strict=True)
            changed = {name: changed[name] - part for name, part in parts}
        return changed

    return {"biases": note, "sums": subtract}


def skip_step(is_skipped: Callable[[int, int], bool]) -> Callable[..., States]:
    """Return a change that leaves the states unchanged at a step."""

    def skip(kept: States, before: States, spot: Spot) -> States:
        return before if is_skipped(spot.step, spot.steps) else kept

    return skip


def is_first_step(spot: Spot, *, of_sequence: bool) -> bool:
    """Return whether a step is the first step of its direction, or of the sequence."""
    is_last_computed = of_sequence and spot.direction
    return spot.step == (spot.given.case.steps - 1 if is_last_computed else 0)


FORMULAS: tuple[tuple[str, str, str, Callable[..., Tensor], KindCondition], ...] = (
    (
        "without-reset",
        "does not use the reset gate",
        "inside",
        lambda inside, sums: sums["part"],
        multiplies_hidden_part,
    ),
    (
        "without-hidden-part",
        "leaves out W_hn h + b_hn",
        "inside",
        torch.zeros_like,
        multiplies_hidden_part,
    ),
    ("without-update", "does not use the update gate", "h", lambda h, n: n, multiplies_hidden_part),
    (
        "without-forget",
        "does not use the forget gate",
        "c",
        lambda c, i, g, before: before["c"] + i * g,
        has_cell_state,
    ),
)
"""Mistakes in the first step of layers with gates: the value that is changed, and how."""


SKIPS: tuple[tuple[str, str, Callable[[int, int], bool]], ...] = (
    (
        "last-step.skipped",
        "the last step leaves the state unchanged",
        lambda step, steps: step == steps - 1,
    ),
    (
        "first-step.skipped",
        "the first step leaves the state unchanged",
        lambda step, steps: step == 0,
    ),
)


def _list_first_step_biases() -> list[Hypothesis]:
    def has_bias(case: Case) -> bool:
        return case.config.bias

    def has_later_bias(case: Case) -> bool:
        return case.config.bias and is_long(case)

    def is_absent(case: Case) -> bool:
        return case.config.bias and case.initial_state is InitialState.ABSENT

    entries = (
        ("first-step.no-bias", "the first step adds no bias", 0, True, has_bias),
        ("first-step.no-b_hh", "the first step does not add b_hh", 1, True, has_bias),
        ("first-step.only-biases", "only the first step adds biases", 0, False, has_later_bias),
        ("first-step.only-b_hh", "only the first step adds b_hh", 1, False, has_later_bias),
        ("without-h_0.no-b_hh", "without h_0, $first_step does not add b_hh", 1, True, is_absent),
        ("without-h_0.no-bias", "without h_0, $first_step adds no bias", 0, True, is_absent),
    )
    return [
        hypothesis
        for key, text, kept, at_first, concerns in entries
        for hypothesis in list_by_place(
            key,
            text,
            "add both biases $at_every_step",
            ("states.absent-is-zero" if concerns is is_absent else "recurrence.output",),
            lose_biases(kept, at_first=at_first),
            concerns,
            about=About.ONE_STEP if concerns is is_absent else About.STEPS,
        )
    ]


def starts_at_several_times(case: Case) -> bool:
    """Return whether the backward direction starts at the end of each sequence."""
    return case.config.bidirectional and is_ragged(case)


def _list_first_formulas() -> list[Hypothesis]:
    def is_absent(case: Case) -> bool:
        return case.initial_state is InitialState.ABSENT

    return [
        hypothesis
        for key, text, name, change, of in FORMULAS
        for start, words, rule, concerns, of_sequence, about in (
            ("first-step", "the first step", "recurrence.output", always, False, About.STEPS),
            (
                "without-h_0",
                "without h_0, $first_step",
                "states.absent-is-zero",
                is_absent,
                False,
                About.ONE_STEP,
            ),
            ("time-0", "the step at time 0", "recurrence.output", always, True, About.STEPS),
        )
        for hypothesis in list_by_place(
            f"{start}.{key}",
            f"{words} {text}",
            "compute $every_step_alike",
            (rule, "recurrence.output"),
            Changes.declare({name: change}).limit(partial(is_first_step, of_sequence=of_sequence)),
            concerns,
            PLACES,
            unclear=starts_at_several_times,
            family=f"first-step.{key}",
            rank=4 * of_sequence,
            of=of,
            about=about,
        )
    ]


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_first_step_biases(),
    *_list_first_formulas(),
    *(
        hypothesis
        for key, text, is_skipped in SKIPS
        for end, when, where, rank in (("", "", always, 0), (*OF_SEVERAL, is_long, 3))
        for hypothesis in list_by_place(
            key + end,
            text + when,
            "compute the new state at every step",
            ("recurrence.output",),
            {"kept": skip_step(is_skipped)},
            where,
            PLACES,
            is_ragged,
            key,
            rank,
            about=About.STEPS,
        )
    ),
)

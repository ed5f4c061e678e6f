"""Mistakes with the first and the last step of a direction."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from rnnspec.cases.axes import InitialState
from rnnspec.cases.case import Case
from rnnspec.mistakes.gates import Sums, multiplies_hidden_part
from rnnspec.mistakes.hypothesis import Hypothesis, KindCondition, always
from rnnspec.mistakes.places import PLACES, list_by_place
from rnnspec.mistakes.situations import (
    has_cell_state,
    is_long,
    is_ragged,
)
from rnnspec.mistakes.steps import OF_SEVERAL
from rnnspec.reference.values import Changes, Functions, Spot, States


def lose_biases(kept: int, *, at_first: bool) -> Functions:
    """Return changes with which the biases after the first ones are lost at some steps.

    That is the first step that a direction computes or, if not `at_first`, every later one.
    """

    def note(biases: list[Tensor], spot: Spot) -> list[Tensor]:
        spot.memo["biases"] = biases[kept:]
        return biases

    def subtract(sums: Sums, spot: Spot) -> Sums:
        changed = dict(sums)
        for bias in spot.memo["biases"] if (spot.step == 0) is at_first else ():
            parts = zip(changed, bias.chunk(len(changed)), strict=True)
            changed = {name: changed[name] - part for name, part in parts}
        return changed

    return {"biases": note, "sums": subtract}


def skip_step(is_skipped: Callable[[int, int], bool]) -> Callable[..., States]:
    """Return a change that leaves the states unchanged at some step."""

    def skip(kept: States, before: States, spot: Spot) -> States:
        return before if is_skipped(spot.step, spot.steps) else kept

    return skip


def is_first_step(spot: Spot, *, of_sequence: bool) -> bool:
    """Return whether a step is the first one of its direction, or of the sequence."""
    is_last_computed = of_sequence and spot.direction
    return spot.step == (spot.given.case.steps - 1 if is_last_computed else 0)


FORMULAS: tuple[tuple[str, str, Callable[..., Tensor], KindCondition], ...] = (
    (
        "does not use the reset gate",
        "inside",
        lambda inside, sums: sums["part"],
        multiplies_hidden_part,
    ),
    ("leaves out W_hn h + b_hn", "inside", torch.zeros_like, multiplies_hidden_part),
    ("does not use the update gate", "h", lambda h, n: n, multiplies_hidden_part),
    (
        "does not use the forget gate",
        "c",
        lambda c, i, g, before: before["c"] + i * g,
        has_cell_state,
    ),
)
"""What the first step may do otherwise in layers with gates: the value that is changed, and how."""


SKIPS: tuple[tuple[str, Callable[[int, int], bool]], ...] = (
    ("the last step leaves the state unchanged", lambda step, steps: step == steps - 1),
    ("the first step leaves the state unchanged", lambda step, steps: step == 0),
)


def _list_first_step_biases() -> list[Hypothesis]:
    def has_bias(case: Case) -> bool:
        return case.config.bias

    def has_later_bias(case: Case) -> bool:
        return case.config.bias and is_long(case)

    def is_absent(case: Case) -> bool:
        return case.config.bias and case.initial_state is InitialState.ABSENT

    entries = (
        ("the first step adds no bias", 0, True, has_bias),
        ("the first step does not add b_hh", 1, True, has_bias),
        ("only the first step adds biases", 0, False, has_later_bias),
        ("only the first step adds b_hh", 1, False, has_later_bias),
        ("without h_0, the first step does not add b_hh", 1, True, is_absent),
        ("without h_0, the first step adds no bias", 0, True, is_absent),
    )
    return [
        hypothesis
        for text, kept, at_first, concerns in entries
        for hypothesis in list_by_place(
            text,
            "add both biases at every step",
            ("states.absent-is-zero" if "without" in text else "recurrence.output",),
            lose_biases(kept, at_first=at_first),
            concerns,
            PLACES,
        )
    ]


def starts_at_several_times(case: Case) -> bool:
    """Return whether the backward direction starts where each sequence ends."""
    return case.config.bidirectional and is_ragged(case)


def _list_first_formulas() -> list[Hypothesis]:
    def is_absent(case: Case) -> bool:
        return case.initial_state is InitialState.ABSENT

    return [
        hypothesis
        for text, name, change, of in FORMULAS
        for start, rule, concerns, of_sequence in (
            ("the first step", "recurrence.output", always, False),
            ("without h_0, the first step", "states.absent-is-zero", is_absent, False),
            ("the step at time 0", "recurrence.output", always, True),
        )
        for hypothesis in list_by_place(
            f"{start} {text}",
            "compute every step in the same way",
            (rule, "recurrence.output"),
            Changes.declare({name: change}).limit(partial(is_first_step, of_sequence=of_sequence)),
            concerns,
            PLACES,
            unclear=starts_at_several_times,
            family=text,
            rank=4 * of_sequence,
            of=of,
        )
    ]


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_first_step_biases(),
    *_list_first_formulas(),
    *(
        hypothesis
        for text, is_skipped in SKIPS
        for when, where, rank in (("", always, 0), (OF_SEVERAL, is_long, 3))
        for hypothesis in list_by_place(
            text + when,
            "compute the new state at every step",
            ("recurrence.output",),
            {"kept": skip_step(is_skipped)},
            where,
            PLACES,
            is_ragged,
            text,
            rank,
        )
    ),
)

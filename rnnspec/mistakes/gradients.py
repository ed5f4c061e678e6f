"""Mistakes of the backward pass: places where gradients stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from rnnspec.cases.reach import CaseTest
from rnnspec.mistakes.cell_states import has_c_0
from rnnspec.mistakes.hypothesis import About, Hypothesis, always
from rnnspec.mistakes.places import BACKWARD, EVERYWHERE, FORWARD, LAST_LAYER, PLACES, list_by_place
from rnnspec.mistakes.situations import (
    has_h_0,
    has_previous_state,
    is_bidirectional,
    is_long,
    is_stack,
)
from rnnspec.mistakes.truncations import STEPS_REMEDY, cut_states
from rnnspec.reference.values import Spot, States, change_values


def replace_gradient(value: Tensor, carrier: Tensor) -> Tensor:
    """Return the value of a tensor, with the gradient of another tensor flowing through it."""
    return value.detach() + (carrier - carrier.detach())


def detach_states(states: States) -> States:
    """Return states without their graph."""
    return {letter: state.detach() for letter, state in states.items()}


def detach_step(time: int) -> Callable[[States], States]:
    """Return a change of the states of all steps that detaches a single step."""

    def detach(states: States) -> States:
        return {letter: _detach_at(time, state) for letter, state in states.items()}

    return detach


def _detach_at(time: int, steps: Tensor) -> Tensor:
    changed = [*steps]
    changed[time] = changed[time].detach()
    return torch.stack(changed)


def detach_above_first(read: Tensor, spot: Spot) -> Tensor:
    """Return the input of a layer, detached above the first layer."""
    return read.detach() if spot.layer else read


def keep_through_dropout(dropped: Tensor, below: Sequence[Tensor]) -> Tensor:
    """Return the result of dropout with the gradient of its argument."""
    return replace_gradient(dropped, below[-1])


def _list_cut_states() -> list[Hypothesis]:
    both = list_by_place(
        "gradient.steps-cut",
        "no gradient flows from one step to the one before it",
        STEPS_REMEDY,
        ("gradients.weights", "gradients.reach-first-step"),
        cut_states(lambda time, step, is_backward: True),
        has_previous_state,
        about=About.STEPS,
    )
    later = list_by_place(
        "gradient.later-steps-cut",
        "no gradient flows from one step to the one before it, although the first step's"
        " reaches h_0",
        STEPS_REMEDY,
        ("gradients.weights", "gradients.reach-first-step"),
        cut_states(lambda time, step, is_backward: step > 0),
        is_long,
        about=About.STEPS,
    )
    family = "gradient.steps-cut"
    return [
        *(replace(each, family=family, rank=2 * each.rank) for each in both),
        *(replace(each, family=family, rank=2 * each.rank + 1) for each in later),
    ]


def _detach_half(output: Tensor, half: int) -> Tensor:
    halves = list(output.chunk(2, dim=-1))
    halves[half] = halves[half].detach()
    return torch.cat(halves, dim=-1)


CUT_OUTPUTS: tuple[tuple[str, str, CaseTest, Callable[[Tensor], Tensor]], ...] = (
    ("output", "the output", always, torch.detach),
    (
        "first-step",
        "the first time step of the output",
        always,
        lambda o: torch.cat([o[:1].detach(), o[1:]]),
    ),
    (
        "all-steps-but-last",
        "all time steps of the output but the last",
        always,
        lambda o: torch.cat([o[:-1].detach(), o[-1:]]),
    ),
    (
        "forward-half",
        "the forward half of the output",
        is_bidirectional,
        partial(_detach_half, half=0),
    ),
    (
        "backward-half",
        "the backward half of the output",
        is_bidirectional,
        partial(_detach_half, half=1),
    ),
)
"""The parts of the output without a gradient, the whole output first."""


def _list_cut_results() -> list[Hypothesis]:
    output = ("gradients.output-alone", "gradients.weights")
    h_n = ("gradients.h-n-alone", "gradients.weights")
    return [
        *list_by_place(
            "gradient.h_n-cut",
            "no gradient flows back from h_n",
            "return h_n with its graph: do not detach it",
            h_n,
            {"last": detach_states},
            places=PLACES,
        ),
        *(
            Hypothesis(
                f"gradient.{key}-cut",
                f"no gradient flows back from {text}",
                "return the output with its graph: do not detach it",
                output,
                change_values({"output": change}),
                concerns,
                "gradient.output-cut",
                min(rank, 1),
                about=About.OUTPUT,
            )
            for rank, (key, text, concerns, change) in enumerate(CUT_OUTPUTS)
        ),
        *list_by_place(
            "gradient.last-step-cut",
            "no gradient flows back from the last time step of the output",
            "return the output with its graph: do not detach it",
            output,
            {"steps": detach_step(-1)},
            places=(EVERYWHERE, LAST_LAYER),
            about=About.OUTPUT,
        ),
    ]


CUT_INITIAL: tuple[tuple[str, str, str, tuple[str, ...], CaseTest, str], ...] = (
    (
        "gradient.h_0-cut",
        "h_0 receives no gradient",
        "do not detach h_0, and do not copy it by value",
        ("gradients.h-0",),
        has_h_0,
        "h",
    ),
    (
        "gradient.c_0-cut",
        "c_0 receives no gradient",
        "do not detach c_0, and do not copy it by value",
        ("gradients.c-0",),
        has_c_0,
        "c",
    ),
    (
        "gradient.h_0-and-c_0-cut",
        "neither h_0 nor c_0 receives a gradient",
        "do not detach the initial states, and do not copy them by value",
        ("gradients.h-0", "gradients.c-0"),
        has_c_0,
        "hc",
    ),
)
"""The part that is cut, the remedy, the rules that it breaks, and the letters of the states."""


def _list_others() -> list[Hypothesis]:
    return [
        *(
            hypothesis
            for key, text, remedy, rules, concerns, letters in CUT_INITIAL
            for hypothesis in list_by_place(
                key,
                text,
                remedy,
                rules,
                {f"first.{letter}": torch.detach for letter in letters},
                concerns,
                PLACES,
            )
        ),
        Hypothesis(
            "gradient.layers-cut",
            "no gradient flows from a layer to the one below it",
            "do not detach what a layer reads",
            ("gradients.weights", "gradients.input"),
            change_values({"read": detach_above_first}),
            is_stack,
            about=About.LAYERS,
        ),
        *list_by_place(
            "gradient.direction-cut",
            "no gradient flows back from what one direction gives to the layer above or the output",
            "do not detach the output of a direction",
            ("gradients.weights",),
            {"steps": detach_states},
            is_bidirectional,
            (
                replace(BACKWARD, text=f",{BACKWARD.text}"),
                replace(FORWARD, text=f",{FORWARD.text}"),
            ),
        ),
        Hypothesis(
            "gradient.through-dropout",
            "the backward pass ignores dropout=1 and lets gradients through",
            "use the mask of the forward pass in the backward pass",
            ("dropout.backward",),
            change_values({"dropped": keep_through_dropout}),
            lambda case: case.has_active_dropout and case.config.dropout == 1,
            about=About.LAYERS,
        ),
    ]


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_cut_states(),
    *_list_cut_results(),
    *_list_others(),
)

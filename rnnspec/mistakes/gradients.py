"""Mistakes of the backward pass: where gradients stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from rnnspec.mistakes.cell_states import has_c_0
from rnnspec.mistakes.hypothesis import Condition, Hypothesis, always
from rnnspec.mistakes.places import (
    EVERYWHERE,
    PLACES,
    Place,
    list_by_place,
)
from rnnspec.mistakes.situations import has_h_0, has_previous_state, is_long
from rnnspec.mistakes.truncations import STEPS_REMEDY, cut_states
from rnnspec.reference.values import Spot, States, change_values


def replace_gradient(value: Tensor, carrier: Tensor) -> Tensor:
    """Return the value of one tensor, through which the gradient of another one flows."""
    return value.detach() + (carrier - carrier.detach())


def detach_states(states: States) -> States:
    """Return states without their graph."""
    return {letter: state.detach() for letter, state in states.items()}


def detach_step(time: int) -> Callable[[States], States]:
    """Return a change of the states of all steps, in which one step has no graph."""

    def detach(states: States) -> States:
        return {letter: _detach_at(time, state) for letter, state in states.items()}

    return detach


def _detach_at(time: int, steps: Tensor) -> Tensor:
    changed = [*steps]
    changed[time] = changed[time].detach()
    return torch.stack(changed)


def detach_above_first(read: Tensor, spot: Spot) -> Tensor:
    """Return what a layer reads, above the first one without its graph."""
    return read.detach() if spot.layer else read


def keep_through_dropout(dropped: Tensor, below: Sequence[Tensor]) -> Tensor:
    """Return what dropout leaves, with the gradient of what it is applied to."""
    return replace_gradient(dropped, below[-1])


def _list_cut_states() -> list[Hypothesis]:
    both = list_by_place(
        "no gradient flows from one step to the one before it",
        STEPS_REMEDY,
        ("gradients.weights", "gradients.reach-first-step"),
        cut_states(lambda time, step, is_backward: True),
        has_previous_state,
        PLACES,
    )
    later = list_by_place(
        "no gradient flows from one step to the one before it, although the first step's"
        " reaches h_0",
        STEPS_REMEDY,
        ("gradients.weights", "gradients.reach-first-step"),
        cut_states(lambda time, step, is_backward: step > 0),
        is_long,
        PLACES,
    )
    family = "cut states"
    return [
        *(_with_family(each, family, 2 * each.rank) for each in both),
        *(_with_family(each, family, 2 * each.rank + 1) for each in later),
    ]


def _with_family(hypothesis: Hypothesis, family: str, rank: int) -> Hypothesis:
    return Hypothesis(**{**vars(hypothesis), "family": family, "rank": rank})


def _list_cut_results() -> list[Hypothesis]:
    output = ("gradients.output-alone", "gradients.weights")
    h_n = ("gradients.h-n-alone", "gradients.weights")
    outputs: tuple[tuple[str, Callable[[Tensor], Tensor]], ...] = (
        ("the output", torch.detach),
        ("the first time step of the output", lambda o: torch.cat([o[:1].detach(), o[1:]])),
        (
            "all time steps of the output but the last",
            lambda o: torch.cat([o[:-1].detach(), o[-1:]]),
        ),
        ("the forward half of the output", partial(_detach_half, half=0)),
        ("the backward half of the output", partial(_detach_half, half=1)),
    )
    return [
        *list_by_place(
            "no gradient flows back from h_n",
            "return h_n with its graph: do not detach it",
            h_n,
            {"last": detach_states},
            places=PLACES,
        ),
        *(
            Hypothesis(
                f"no gradient flows back from {text}",
                "return the output with its graph: do not detach it",
                output,
                change_values({"output": change}),
                (lambda case: case.config.bidirectional) if "half" in text else always,
                "output cut",
                0 if text == "the output" else 1,
            )
            for text, change in outputs
        ),
        *list_by_place(
            "no gradient flows back from the last time step of the output",
            "return the output with its graph: do not detach it",
            output,
            {"steps": detach_step(-1)},
            places=(EVERYWHERE, *PLACES[3:4]),
        ),
    ]


def _detach_half(output: Tensor, half: int) -> Tensor:
    halves = list(output.chunk(2, dim=-1))
    halves[half] = halves[half].detach()
    return torch.cat(halves, dim=-1)


CUT_INITIAL: tuple[tuple[str, str, tuple[str, ...], Condition, str], ...] = (
    (
        "h_0 receives no gradient",
        "do not detach h_0, and do not copy it by value",
        ("gradients.h-0",),
        has_h_0,
        "h",
    ),
    (
        "c_0 receives no gradient",
        "do not detach c_0, and do not copy it by value",
        ("gradients.c-0",),
        has_c_0,
        "c",
    ),
    (
        "neither h_0 nor c_0 receives a gradient",
        "do not detach the initial states, and do not copy them by value",
        ("gradients.h-0", "gradients.c-0"),
        has_c_0,
        "hc",
    ),
)
"""What is cut, what to do about it, the rules that it breaks, and the letters of the states."""


def _list_others() -> list[Hypothesis]:
    return [
        *(
            hypothesis
            for text, remedy, rules, concerns, letters in CUT_INITIAL
            for hypothesis in list_by_place(
                text,
                remedy,
                rules,
                {f"first.{letter}": torch.detach for letter in letters},
                concerns,
                PLACES,
            )
        ),
        Hypothesis(
            "no gradient flows from a layer to the one below it",
            "do not detach what a layer reads",
            ("gradients.weights", "gradients.input"),
            change_values({"read": detach_above_first}),
            lambda case: case.config.num_layers > 1,
        ),
        *list_by_place(
            "no gradient flows back from what one direction gives to the layer above or the output",
            "do not detach the output of a direction",
            ("gradients.weights",),
            {"steps": detach_states},
            lambda case: case.config.bidirectional,
            (
                Place(", in the backward direction", lambda layer, direction, n: direction == 1),
                Place(", in the forward direction", lambda layer, direction, n: direction == 0),
            ),
        ),
        Hypothesis(
            "the backward pass ignores dropout=1 and lets gradients through",
            "use the mask of the forward pass in the backward pass",
            ("dropout.backward",),
            change_values({"dropped": keep_through_dropout}),
            lambda case: case.has_active_dropout and case.config.dropout == 1,
        ),
    ]


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_cut_states(),
    *_list_cut_results(),
    *_list_others(),
)

"""Mistakes of the backward pass: where gradients stop."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from rnnspec.diagnosis.mistakes.cell_states import has_c_0
from rnnspec.diagnosis.mistakes.hypothesis import Condition, Hypothesis, always
from rnnspec.diagnosis.mistakes.places import (
    EVERYWHERE,
    PLACES,
    Local,
    Place,
    list_by_place,
)
from rnnspec.diagnosis.mistakes.reference import Reference
from rnnspec.diagnosis.mistakes.situations import has_h_0, has_previous_state, is_long
from rnnspec.diagnosis.mistakes.truncations import STEPS_REMEDY, CutStates, detach_parts


def replace_gradient(value: Tensor, carrier: Tensor) -> Tensor:
    """Return the value of one tensor, through which the gradient of another one flows."""
    return value.detach() + (carrier - carrier.detach())


@dataclass
class CutInitial(Local):
    """Initial states are detached: h_0, or c_0, or both."""

    h_0: bool = True
    c_0: bool = True

    def first_state(self, initial: Tensor, layer: int, direction: int) -> Tensor:
        right = super().first_state(initial, layer, direction)
        if not self.is_wrong(layer, direction):
            return right
        return detach_parts(right, self.given.hidden, hidden=self.h_0, memory=self.c_0)


@dataclass
class CutFinal(Local):
    """The final states are detached."""

    def pick_last(
        self, state: Tensor, outputs: list[Tensor], first: Tensor, layer: int, direction: int
    ) -> Tensor:
        return state.detach() if self.is_wrong(layer, direction) else state


@dataclass
class CutOutput(Reference):
    """The output is detached, or some steps or one half of it."""

    change: Callable[[Tensor], Tensor] = torch.detach

    def finish(self, below: Sequence[Tensor]) -> Tensor:
        return self.change(below[-1])


@dataclass
class CutStep(Local):
    """One step of what each layer gives is detached."""

    time: int = -1

    def stack_steps(self, outputs: list[Tensor], layer: int, direction: int) -> Tensor:
        if not self.is_wrong(layer, direction):
            return super().stack_steps(outputs, layer, direction)
        changed = [*outputs]
        changed[self.time] = changed[self.time].detach()
        return super().stack_steps(changed, layer, direction)


@dataclass
class CutDirection(Local):
    """The output of a direction is detached."""

    def stack_steps(self, outputs: list[Tensor], layer: int, direction: int) -> Tensor:
        right = super().stack_steps(outputs, layer, direction)
        return right.detach() if self.is_wrong(layer, direction) else right


@dataclass
class CutBetween(Reference):
    """What a layer above the first reads is detached."""

    def read_below(self, below: Sequence[Tensor], layer: int) -> Tensor:
        right = super().read_below(below, layer)
        return right.detach() if layer else right


@dataclass
class KeptThroughDropout(Reference):
    """The backward pass ignores dropout of probability one."""

    def drop(self, data: Tensor, layer: int) -> Tensor:
        return replace_gradient(super().drop(data, layer), data)


def _list_cut_states() -> list[Hypothesis]:
    both = list_by_place(
        "no gradient flows from one step to the one before it",
        STEPS_REMEDY,
        ("gradients.weights", "gradients.reach-first-step"),
        CutStates,
        has_previous_state,
        PLACES,
        cut=lambda time, step, is_backward: True,
    )
    later = list_by_place(
        "no gradient flows from one step to the one before it, although the first step's"
        " reaches h_0",
        STEPS_REMEDY,
        ("gradients.weights", "gradients.reach-first-step"),
        CutStates,
        is_long,
        PLACES,
        cut=lambda time, step, is_backward: step > 0,
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
            CutFinal,
            places=PLACES,
        ),
        *(
            Hypothesis(
                f"no gradient flows back from {text}",
                "return the output with its graph: do not detach it",
                output,
                partial(CutOutput, change=change),
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
            CutStep,
            places=(EVERYWHERE, *PLACES[3:4]),
        ),
    ]


def _detach_half(output: Tensor, half: int) -> Tensor:
    halves = list(output.chunk(2, dim=-1))
    halves[half] = halves[half].detach()
    return torch.cat(halves, dim=-1)


CUT_INITIAL: tuple[tuple[str, str, tuple[str, ...], Condition, tuple[bool, bool]], ...] = (
    (
        "h_0 receives no gradient",
        "do not detach h_0, and do not copy it by value",
        ("gradients.h-0",),
        has_h_0,
        (True, False),
    ),
    (
        "c_0 receives no gradient",
        "do not detach c_0, and do not copy it by value",
        ("gradients.c-0",),
        has_c_0,
        (False, True),
    ),
    (
        "neither h_0 nor c_0 receives a gradient",
        "do not detach the initial states, and do not copy them by value",
        ("gradients.h-0", "gradients.c-0"),
        has_c_0,
        (True, True),
    ),
)
"""What is cut, what to do about it, the rules that it breaks, and whether it is h_0 and c_0."""


def _list_others() -> list[Hypothesis]:
    return [
        *(
            hypothesis
            for text, remedy, rules, concerns, (h_0, c_0) in CUT_INITIAL
            for hypothesis in list_by_place(
                text, remedy, rules, CutInitial, concerns, PLACES, h_0=h_0, c_0=c_0
            )
        ),
        Hypothesis(
            "no gradient flows from a layer to the one below it",
            "do not detach what a layer reads",
            ("gradients.weights", "gradients.input"),
            CutBetween,
            lambda case: case.config.num_layers > 1,
        ),
        *list_by_place(
            "no gradient flows back from what one direction gives to the layer above or the output",
            "do not detach the output of a direction",
            ("gradients.weights",),
            CutDirection,
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
            KeptThroughDropout,
            lambda case: case.has_active_dropout and case.config.dropout == 1,
        ),
    ]


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_cut_states(),
    *_list_cut_results(),
    *_list_others(),
)

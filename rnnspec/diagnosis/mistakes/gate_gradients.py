"""Mistakes with the gradients of layers with gates, whose results are right."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rnnspec.cases.case import Case
from rnnspec.diagnosis.mistakes.cell_states import has_c_0
from rnnspec.diagnosis.mistakes.gate_formulas import Formula, OtherStep, States, Sums
from rnnspec.diagnosis.mistakes.gates import (
    is_of_kind,
    list_gated_kinds,
    multiplies_hidden_part,
)
from rnnspec.diagnosis.mistakes.gradients import replace_gradient
from rnnspec.diagnosis.mistakes.hypothesis import Hypothesis, KindCondition
from rnnspec.diagnosis.mistakes.places import EVERYWHERE, Local, list_by_place
from rnnspec.diagnosis.mistakes.reference import Reference
from rnnspec.diagnosis.mistakes.situations import has_cell_state, has_gates

Slope = Callable[[Tensor], Tensor]
"""The derivative that a backward pass uses for a gate, from its sum."""


@dataclass
class ScaledGate(Local):
    """The gradient through the sum of a gate is multiplied by a number, or has another slope.

    Without a `block`, it is that of all gates that are sigmoids.
    """

    block: int | None = None
    factor: float = 1.0
    slope: Slope | None = None

    def change_sums(self, sums: Sums, layer: int, direction: int) -> Any:
        if not self.is_wrong(layer, direction):
            return sums
        held = self.given.case.config.kind_data.held
        gates = [i for i, sign in enumerate(held) if sign is not None]
        chosen = gates if self.block is None else [self.block]
        return [self._send(each) if i in chosen else each for i, each in enumerate(sums)]

    def _send(self, total: Tensor) -> Tensor:
        factor = torch.full_like(total, self.factor)
        if self.slope is not None:
            gate = torch.sigmoid(total.detach())
            factor = self.slope(total.detach()) / (gate * (1 - gate))
        return replace_gradient(total, total * factor.detach())


@dataclass
class CutCell(Reference):
    """The cell state is detached: between steps, or at the end."""

    carries: bool = False
    ends: bool = False

    def recall(self, state: Tensor, first: Tensor, step: int) -> Tensor:
        return self._cut(super().recall(state, first, step), self.carries)

    def pick_last(
        self, state: Tensor, outputs: list[Tensor], first: Tensor, layer: int, direction: int
    ) -> Tensor:
        last = super().pick_last(state, outputs, first, layer, direction)
        return self._cut(last, self.ends)

    def _cut(self, state: Tensor, is_cut: bool) -> Tensor:
        size = self.given.hidden
        if not is_cut:
            return state
        return torch.cat([state[..., :size], state[..., size:].detach()], dim=-1)


@dataclass
class CutHidden(Reference):
    """The hidden state that a step reads is detached; the cell state is not."""

    def recall(self, state: Tensor, first: Tensor, step: int) -> Tensor:
        size = self.given.hidden
        return torch.cat([state[..., :size].detach(), state[..., size:]], dim=-1)


def _open(sums: Sums) -> tuple[Tensor, Tensor]:
    return torch.sigmoid(sums[0]), torch.sigmoid(sums[1])


def _finish(update: Tensor, total: Tensor, carried: Tensor) -> States:
    return ((1 - update) * torch.tanh(total) + update * carried,)


def _cut_carried(sums: Sums, before: States) -> States:
    reset, update = _open(sums)
    return _finish(update, sums[2] + reset * sums[3], before[0].detach())


def _cut_new(sums: Sums, before: States) -> States:
    reset, update = _open(sums)
    new = torch.tanh(sums[2] + reset * sums[3]).detach()
    return ((1 - update) * new + update * before[0],)


def _leave_out_reset(sums: Sums, before: States) -> States:
    reset, update = _open(sums)
    part = replace_gradient(reset * sums[3], reset * sums[3].detach() + sums[3])
    return _finish(update, sums[2] + part, before[0])


def _cut_inside(sums: Sums, before: States) -> States:
    reset, update = _open(sums)
    return _finish(update, sums[2] + reset * sums[3].detach(), before[0])


def _cut_shown(sums: Sums, before: States) -> States:
    i, f, o = (torch.sigmoid(sums[place]) for place in (0, 1, 3))
    c = f * before[1] + i * torch.tanh(sums[2])
    return o * torch.tanh(c).detach(), c


def _show_straight(sums: Sums, before: States) -> States:
    i, f, o = (torch.sigmoid(sums[place]) for place in (0, 1, 3))
    c = f * before[1] + i * torch.tanh(sums[2])
    return o * replace_gradient(torch.tanh(c), c), c


def _clip_slope(limit: float, slope: float, total: Tensor) -> Tensor:
    return slope * (total.abs() < limit).to(total.dtype)


def _forget_gate_slope(total: Tensor) -> Tensor:
    return torch.sigmoid(total)


SCALES: tuple[tuple[str, float], ...] = (
    ("no gradient flows through the {} gate", 0.0),
    ("the gradient through the {} gate is halved", 0.5),
    ("the gradient through the {} gate is doubled", 2.0),
    ("the gradient through the {} gate has the opposite sign", -1.0),
)
SLOPES: tuple[tuple[str, Slope], ...] = (
    ("that of the hard sigmoid clip(x / 6 + 1/2, 0, 1)", partial(_clip_slope, 3.0, 1 / 6)),
    ("that of the hard sigmoid clip(0.2 x + 1/2, 0, 1)", partial(_clip_slope, 2.5, 0.2)),
    ("that of the hard sigmoid clip(x / 4 + 1/2, 0, 1)", partial(_clip_slope, 2.0, 0.25)),
    ("that of tanh, 1 - y^2", lambda total: 1 - torch.sigmoid(total) ** 2),
    ("that of the identity", torch.ones_like),
    ("y, without the factor 1 - y", _forget_gate_slope),
)
GRU_FORMULAS: tuple[tuple[str, Formula], ...] = (
    ("no gradient flows through the state that the update gate carries over", _cut_carried),
    ("no gradient flows through the new gate", _cut_new),
    ("the gradient of W_hn h + b_hn lacks the factor of the reset gate", _leave_out_reset),
    ("no gradient flows through W_hn h + b_hn", _cut_inside),
)
LSTM_FORMULAS: tuple[tuple[str, Formula], ...] = (
    ("no gradient flows from the hidden state to the cell state that it shows", _cut_shown),
    (
        "the backward pass leaves out the slope of the tanh that shows the cell state",
        _show_straight,
    ),
)
RULES = (
    "gradients.weights",
    "gradients.input",
    "gradients.biases",
    "gradients.h-0",
    "gradients.c-0",
)
REMEDY = "differentiate every gate, product and state of the documented equations"


def _list_scaled() -> Iterator[Hypothesis]:
    for kind in list_gated_kinds():
        for place, (gate, sign) in enumerate(zip(kind.gates, kind.held, strict=True)):
            if sign is None and not kind.memory_gate:
                continue  # what another gate multiplies is a part of its own
            for text, factor in SCALES:
                yield from list_by_place(
                    text.format(gate),
                    REMEDY,
                    RULES,
                    ScaledGate,
                    of=partial(is_of_kind, kind),
                    block=place,
                    factor=factor,
                )


def _list_slopes() -> Iterator[Hypothesis]:
    for text, slope in SLOPES:
        yield from list_by_place(
            f"the slope that the backward pass uses for the gates is {text}",
            "multiply by y (1 - y), the slope of the sigmoid",
            RULES,
            ScaledGate,
            places=(EVERYWHERE,),
            of=has_gates,
            slope=slope,
        )


def _list_formulas(
    formulas: tuple[tuple[str, Formula], ...], of: KindCondition
) -> Iterator[Hypothesis]:
    for text, formula in formulas:
        yield from list_by_place(
            text, REMEDY, RULES, OtherStep, of=of, family=text, formula=formula
        )


def _has_memory_to_recall(case: Case) -> bool:
    return has_cell_state(case.config.kind_data) and (case.steps > 1 or has_c_0(case))


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_scaled(),
    *_list_slopes(),
    *_list_formulas(GRU_FORMULAS, multiplies_hidden_part),
    *_list_formulas(LSTM_FORMULAS, has_cell_state),
    Hypothesis(
        "no gradient flows along the cell state from one step to the one before it",
        "do not detach the cell state between steps",
        ("gradients.weights", "gradients.c-0", "gradients.reach-first-step"),
        partial(CutCell, carries=True),
        _has_memory_to_recall,
    ),
    Hypothesis(
        "no gradient flows along the hidden state from one step to the one before it; along the"
        " cell state it does",
        "do not detach the hidden state between steps",
        ("gradients.weights", "gradients.h-0"),
        CutHidden,
        _has_memory_to_recall,
    ),
    Hypothesis(
        "no gradient flows back from c_n",
        "return c_n with its graph: do not detach it",
        ("gradients.c-n-alone", "gradients.weights"),
        partial(CutCell, ends=True),
        of=has_cell_state,
    ),
)

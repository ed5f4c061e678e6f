"""Mistakes of a backward pass that was written by hand for the step of a layer with gates."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import permutations
from typing import Any

import torch
from torch import Tensor

from rnnspec.contract.kinds import Kind
from rnnspec.diagnosis.mistakes.gate_formulas import Formula, OtherStep, States, Sums
from rnnspec.diagnosis.mistakes.gate_gradients import REMEDY, RULES
from rnnspec.diagnosis.mistakes.gates import (
    is_of_kind,
    list_gated_kinds,
    multiplies_hidden_part,
)
from rnnspec.diagnosis.mistakes.gradients import replace_gradient
from rnnspec.diagnosis.mistakes.hypothesis import Hypothesis, KindCondition
from rnnspec.diagnosis.mistakes.places import Local, list_by_place
from rnnspec.diagnosis.mistakes.situations import has_bias, has_cell_state

Slope = Callable[[Tensor], Tensor]
"""The derivative that a backward pass uses, from the value of the function."""
OF_SIGMOID = "multiply by y (1 - y), where y is the value of the same gate"
OF_TANH = "multiply by 1 - y^2, where y is the value of the same tanh"


def _activate(function: Callable[[Tensor], Tensor], slope: Slope | None, total: Tensor) -> Tensor:
    """Return the value of a function, through which a gradient flows with another slope."""
    value = function(total)
    if slope is None:
        return value
    return replace_gradient(value, total * slope(value.detach()))


def _open_gates(
    sums: Sums, places: Sequence[int], slopes: dict[int, Slope], taken_from: dict[int, int]
) -> list[Tensor]:
    """Return the sigmoids of some sums, some of which have other slopes or those of other gates."""
    opened = {place: _activate(torch.sigmoid, slopes.get(place), sums[place]) for place in places}
    for place, other in taken_from.items():
        gate = opened[other].detach()
        opened[place] = replace_gradient(opened[place], sums[place] * gate * (1 - gate))
    return [opened[place] for place in places]


def step_lstm(
    sums: Sums,
    before: States,
    slopes: dict[int, Slope] | None = None,
    taken_from: dict[int, int] | None = None,
    new: Slope | None = None,
    shown: Slope | None = None,
    cell: Callable[..., Tensor] | None = None,
    hidden: Callable[..., Tensor] | None = None,
) -> States:
    """Return the states of an LSTM; what is not None says through what else gradients flow.

    `cell` is given i, f, g and c before the step, and the c after it, which has no gradient;
    `hidden` is given o, c and tanh(c).
    """
    i, f, o = _open_gates(sums, (0, 1, 3), slopes or {}, taken_from or {})
    g = _activate(torch.tanh, new, sums[2])
    c = f * before[1] + i * g
    if cell is not None:
        c = replace_gradient(c, cell(i, f, g, before[1], c.detach()))
    y = _activate(torch.tanh, shown, c)
    h = o * y
    return (h if hidden is None else replace_gradient(h, hidden(o, c, y))), c


def step_gru(
    sums: Sums,
    before: States,
    slopes: dict[int, Slope] | None = None,
    taken_from: dict[int, int] | None = None,
    new: Slope | None = None,
    inside: Callable[..., Tensor] | None = None,
    mixed: Callable[..., Tensor] | None = None,
) -> States:
    """Return the state of a GRU; what is not None says through what else gradients flow.

    `inside` is given r, what it multiplies, and the state before; `mixed` is given z, n and the
    state before.
    """
    r, z = _open_gates(sums, (0, 1), slopes or {}, taken_from or {})
    part = r * sums[3]
    if inside is not None:
        part = replace_gradient(part, inside(r, sums[3], before[0]))
    n = _activate(torch.tanh, new, sums[2] + part)
    h = (1 - z) * n + z * before[0]
    return ((h if mixed is None else replace_gradient(h, mixed(z, n, before[0]))),)


@dataclass
class ResetWithoutBias(Local):
    """The gradient of the reset gate is multiplied by W_hn h alone."""

    def update(self, total: Tensor, state: Tensor, layer: int, direction: int) -> Tensor:
        if not self.is_wrong(layer, direction):
            return super().update(total, state, layer, direction)
        sums, before = self.split_step(total, state, layer, direction)
        cell = self.given.cell
        bias = self.biases(layer, direction)[1].chunk(cell.blocks)[cell.hidden_blocks[-1]]
        inside = partial(_lack_bias, bias)
        return torch.cat(step_gru(sums, before, inside=inside), dim=-1)


def _lack_bias(bias: Tensor, r: Tensor, part: Tensor, h: Tensor) -> Tensor:
    return r * (part - bias).detach() + r.detach() * part


def step_any(sums: Sums, before: States, **gates: Any) -> States:
    """Return the states of a GRU or an LSTM whose gates have other slopes."""
    step = step_lstm if len(before) > 1 else step_gru
    return step(sums, before, **gates)


GATE_SLOPES: tuple[tuple[str, Slope], ...] = (
    ("1 - y^2, that of tanh", lambda y: 1 - y * y),
    ("y, without the factor 1 - y", lambda y: y),
    ("1 - y, without the factor y", lambda y: 1 - y),
    ("1, as if there were no sigmoid", torch.ones_like),
    ("y^2 (1 - y): it has y as a further factor", lambda y: y * y * (1 - y)),
)
TANH_SLOPES: tuple[tuple[str, Slope], ...] = (
    ("y (1 - y), that of the sigmoid", lambda y: y * (1 - y)),
    ("1 - y, without the square", lambda y: 1 - y),
    ("1 - tanh(y)^2: tanh is applied to its value again", lambda y: 1 - torch.tanh(y) ** 2),
    ("1 + y^2", lambda y: 1 + y * y),
)
UNSLOPED: tuple[str, Slope] = ("1, as if there were no tanh", torch.ones_like)

LSTM_CELLS: tuple[tuple[str, Callable[..., Tensor]], ...] = (
    (
        "the gradient of the forget gate is multiplied by the new cell state, not by the one"
        " before the step",
        lambda i, f, g, c, new: f * new + f.detach() * c + i * g,
    ),
    (
        "the gradient of the cell state before a step lacks the factor of the forget gate",
        lambda i, f, g, c, new: f * c.detach() + c + i * g,
    ),
    (
        "the gradient of the cell state before a step is multiplied by the input gate, not by the"
        " forget gate",
        lambda i, f, g, c, new: f * c.detach() + i.detach() * c + i * g,
    ),
    (
        "the gradient of the cell gate lacks the factor of the input gate",
        lambda i, f, g, c, new: f * c + i * g.detach() + g,
    ),
    (
        "the gradient of the cell gate is multiplied by the forget gate, not by the input gate",
        lambda i, f, g, c, new: f * c + i * g.detach() + f.detach() * g,
    ),
    (
        "the gradient of the input gate lacks the factor of the cell gate",
        lambda i, f, g, c, new: f * c + i + i.detach() * g,
    ),
    (
        "the gradient of the input gate is multiplied by the cell state before the step, not by the"
        " cell gate",
        lambda i, f, g, c, new: f * c + i * c.detach() + i.detach() * g,
    ),
)
LSTM_HIDDEN: tuple[tuple[str, Callable[..., Tensor]], ...] = (
    (
        "the gradient of the output gate is multiplied by the cell state, not by its tanh",
        lambda o, c, y: o * c.detach() + o.detach() * y,
    ),
    (
        "the gradient of the output gate lacks the factor tanh(c)",
        lambda o, c, y: o + o.detach() * y,
    ),
    (
        "the gradient from the hidden state to the cell state lacks the factor of the output gate",
        lambda o, c, y: o * y.detach() + y,
    ),
)
GRU_INSIDE: tuple[tuple[str, Callable[..., Tensor]], ...] = (
    (
        "the gradient of the reset gate is multiplied by the hidden state, not by W_hn h + b_hn",
        lambda r, part, h: r * h.detach() + r.detach() * part,
    ),
    (
        "the gradient of the reset gate lacks the factor W_hn h + b_hn",
        lambda r, part, h: r + r.detach() * part,
    ),
)
GRU_MIXED: tuple[tuple[str, Callable[..., Tensor]], ...] = (
    (
        "the gradient of the new gate is multiplied by z, not by 1 - z",
        lambda z, n, h: (1 - z) * n.detach() + z.detach() * n + z * h,
    ),
    (
        "the gradient of the new gate lacks the factor 1 - z",
        lambda z, n, h: (1 - z) * n.detach() + n + z * h,
    ),
    (
        "the gradient of the state that is carried over is multiplied by 1 - z, not by z",
        lambda z, n, h: (1 - z) * n + z * h.detach() + (1 - z).detach() * h,
    ),
    (
        "the gradient of the state that is carried over lacks the factor z",
        lambda z, n, h: (1 - z) * n + z * h.detach() + h,
    ),
    (
        "the gradient of the update gate is multiplied by h, not by h - n",
        lambda z, n, h: (1 - z.detach()) * n + z * h,
    ),
    (
        "the gradient of the update gate is multiplied by -n, not by h - n",
        lambda z, n, h: (1 - z) * n + z.detach() * h,
    ),
)


def _list_products() -> Iterator[tuple[str, str, Formula, KindCondition]]:
    of_lstm = (("cell", LSTM_CELLS), ("hidden", LSTM_HIDDEN))
    of_gru = (("inside", GRU_INSIDE), ("mixed", GRU_MIXED))
    for step, groups, of in (
        (step_lstm, of_lstm, has_cell_state),
        (step_gru, of_gru, multiplies_hidden_part),
    ):
        for option, mistakes in groups:
            for text, carrier in mistakes:
                through: dict[str, Any] = {option: carrier}
                yield text, REMEDY, partial(step, **through), of


def _list_gate_slopes(kind: Kind) -> Iterator[tuple[str, str, Formula, KindCondition]]:
    of = partial(is_of_kind, kind)
    gates = [place for place, sign in enumerate(kind.held) if sign is not None]
    for place in gates:
        for what, slope in GATE_SLOPES:
            text = f"the slope that the backward pass uses for the {kind.gates[place]} gate is"
            yield f"{text} {what}", OF_SIGMOID, partial(step_any, slopes={place: slope}), of
    for place, other in permutations(gates, 2):
        yield (
            f"the backward pass multiplies by the slope of the {kind.gates[other]} gate where that"
            f" of the {kind.gates[place]} gate is required",
            OF_SIGMOID,
            partial(step_any, taken_from={place: other}),
            of,
        )


def _list_tanh_slopes() -> Iterator[tuple[str, str, Formula, KindCondition]]:
    in_cell = "the slope that the backward pass uses for the tanh of the cell gate is"
    in_hidden = "the slope that the backward pass uses for the tanh that shows the cell state is"
    in_both = "the slope that the backward pass uses for tanh, in both places, is"
    for what, slope in (*TANH_SLOPES, UNSLOPED):
        of_cell = partial(step_lstm, new=slope)
        yield f"{in_cell} {what}", OF_TANH, of_cell, has_cell_state
        of_both = partial(step_lstm, new=slope, shown=slope)
        yield f"{in_both} {what}", OF_TANH, of_both, has_cell_state
        in_new = "the slope that the backward pass uses for the tanh of the new gate is"
        yield f"{in_new} {what}", OF_TANH, partial(step_gru, new=slope), multiplies_hidden_part
    for what, slope in TANH_SLOPES:
        yield f"{in_hidden} {what}", OF_TANH, partial(step_lstm, shown=slope), has_cell_state


HYPOTHESES: tuple[Hypothesis, ...] = (
    *list_by_place(
        "the gradient of the reset gate is multiplied by W_hn h, without b_hn",
        REMEDY,
        RULES,
        ResetWithoutBias,
        has_bias,
        of=multiplies_hidden_part,
    ),
    *(
        hypothesis
        for source in (
            _list_products(),
            *map(_list_gate_slopes, list_gated_kinds()),
            _list_tanh_slopes(),
        )
        for text, remedy, formula, of in source
        for hypothesis in list_by_place(
            text,
            remedy,
            RULES,
            OtherStep,
            of=of,
            family=text,
            formula=formula,
        )
    ),
)

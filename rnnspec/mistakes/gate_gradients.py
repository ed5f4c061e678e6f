"""Mistakes with the gradients of layers with gates, whose results are right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from rnnspec.cases.case import Case
from rnnspec.mistakes.cell_states import has_c_0
from rnnspec.mistakes.gate_formulas import ALL_SIGMOIDS, Formula, change_sums
from rnnspec.mistakes.gates import is_of_kind, list_gated_kinds, multiplies_hidden_part
from rnnspec.mistakes.gradients import replace_gradient
from rnnspec.mistakes.hypothesis import About, Hypothesis, KindCondition
from rnnspec.mistakes.places import EVERYWHERE, list_by_place
from rnnspec.mistakes.situations import has_cell_state, has_gates
from rnnspec.reference.values import TensorChange, change_values


def send_back(factor: float = 1.0, slope: TensorChange | None = None) -> Callable[[Tensor], Tensor]:
    """Return a change of a sum that multiplies its gradient by a number, or changes its slope."""

    def send(total: Tensor) -> Tensor:
        factors = torch.full_like(total, factor)
        if slope is not None:
            gate = torch.sigmoid(total.detach())
            factors = slope(total.detach()) / (gate * (1 - gate))
        return replace_gradient(total, total * factors.detach())

    return send


def _show_straight(shown: Tensor, c: Tensor) -> Tensor:
    return replace_gradient(shown, c)


def _leave_out_reset(inside: Tensor, r: Tensor, sums: dict[str, Tensor]) -> Tensor:
    return replace_gradient(inside, r * sums["part"].detach() + sums["part"])


def _clip_slope(limit: float, slope: float, total: Tensor) -> Tensor:
    return slope * (total.abs() < limit).to(total.dtype)


def _forget_gate_slope(total: Tensor) -> Tensor:
    return torch.sigmoid(total)


SCALES: tuple[tuple[str, str, float], ...] = (
    ("cut", "no gradient flows through the {} gate", 0.0),
    ("halved", "the gradient through the {} gate is halved", 0.5),
    ("doubled", "the gradient through the {} gate is doubled", 2.0),
    ("negated", "the gradient through the {} gate has the opposite sign", -1.0),
)
SLOPES: tuple[tuple[str, str, TensorChange], ...] = (
    (
        "hard-sigmoid=1/6",
        "that of the hard sigmoid clip(x / 6 + 1/2, 0, 1)",
        partial(_clip_slope, 3.0, 1 / 6),
    ),
    (
        "hard-sigmoid=0.2",
        "that of the hard sigmoid clip(0.2 x + 1/2, 0, 1)",
        partial(_clip_slope, 2.5, 0.2),
    ),
    (
        "hard-sigmoid=1/4",
        "that of the hard sigmoid clip(x / 4 + 1/2, 0, 1)",
        partial(_clip_slope, 2.0, 0.25),
    ),
    ("tanh", "that of tanh, 1 - y^2", lambda total: 1 - torch.sigmoid(total) ** 2),
    ("identity", "that of the identity", torch.ones_like),
    ("y", "y, without the factor 1 - y", _forget_gate_slope),
)
GRU_FORMULAS: tuple[Formula, ...] = (
    (
        "gradient.old-cut",
        "no gradient flows through the state that the update gate carries over",
        {"old": torch.detach},
    ),
    ("gradient.new-gate-cut", "no gradient flows through the new gate", {"gate.new": torch.detach}),
    (
        "gradient.hidden-part-without-reset",
        "the gradient of W_hn h + b_hn lacks the factor of the reset gate",
        {"inside": _leave_out_reset},
    ),
    (
        "gradient.hidden-part-cut",
        "no gradient flows through W_hn h + b_hn",
        {"sum.part": torch.detach},
    ),
)
LSTM_FORMULAS: tuple[Formula, ...] = (
    (
        "gradient.shown-cut",
        "no gradient flows from the hidden state to the cell state that it shows",
        {"shown": torch.detach},
    ),
    (
        "gradient.shown-without-slope",
        "the backward pass leaves out the slope of the tanh that shows the cell state",
        {"shown": _show_straight},
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
        for gate, sign in zip(kind.gates, kind.held, strict=True):
            if sign is None and not kind.memory_gate:
                continue  # the factor of another gate is a separate part
            for key, text, factor in SCALES:
                yield from list_by_place(
                    f"gradient.{gate}-gate.{key}",
                    text.format(gate),
                    REMEDY,
                    RULES,
                    {f"sum.{gate}": send_back(factor)},
                    of=partial(is_of_kind, kind),
                )


def _list_slopes() -> Iterator[Hypothesis]:
    for key, text, slope in SLOPES:
        yield from list_by_place(
            f"gates-slope.{key}",
            f"the slope that the backward pass uses for the gates is {text}",
            "multiply by y (1 - y), the slope of the sigmoid",
            RULES,
            change_sums(send_back(slope=slope), ALL_SIGMOIDS),
            places=(EVERYWHERE,),
            of=has_gates,
        )


def _list_formulas(formulas: tuple[Formula, ...], of: KindCondition) -> Iterator[Hypothesis]:
    for key, text, rows in formulas:
        yield from list_by_place(key, text, REMEDY, RULES, rows, of=of)


def _has_memory_to_recall(case: Case) -> bool:
    return has_cell_state(case.config.kind_data) and (case.steps > 1 or has_c_0(case))


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_scaled(),
    *_list_slopes(),
    *_list_formulas(GRU_FORMULAS, multiplies_hidden_part),
    *_list_formulas(LSTM_FORMULAS, has_cell_state),
    Hypothesis(
        "gradient.c-cut",
        "no gradient flows along the cell state from one step to the one before it",
        "do not detach the cell state between steps",
        ("gradients.weights", "gradients.c-0", "gradients.reach-first-step"),
        change_values({"before.c": torch.detach}),
        _has_memory_to_recall,
        about=About.STEPS,
    ),
    Hypothesis(
        "gradient.h-cut",
        "no gradient flows along the hidden state from one step to the one before it; along the"
        " cell state it does",
        "do not detach the hidden state between steps",
        ("gradients.weights", "gradients.h-0"),
        change_values({"before.h": torch.detach}),
        _has_memory_to_recall,
        about=About.STEPS,
    ),
    Hypothesis(
        "gradient.c_n-cut",
        "no gradient flows back from c_n",
        "return c_n with its graph: do not detach it",
        ("gradients.c-n-alone", "gradients.weights"),
        change_values({"last.c": torch.detach}),
        of=has_cell_state,
    ),
)

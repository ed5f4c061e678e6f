"""Mistakes in a handwritten backward pass for the step of a layer with gates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial, wraps
from itertools import permutations
from typing import Any

import torch
from torch import Tensor

from rnnspec.contract.kinds import Kind
from rnnspec.mistakes.gate_formulas import GateFunctions
from rnnspec.mistakes.gate_gradients import REMEDY, RULES
from rnnspec.mistakes.gates import NewSums, is_of_kind, list_gated_kinds, multiplies_hidden_part
from rnnspec.mistakes.gradients import replace_gradient
from rnnspec.mistakes.hypothesis import Hypothesis, KindCondition
from rnnspec.mistakes.places import list_by_place
from rnnspec.mistakes.situations import has_bias, has_cell_state
from rnnspec.reference.values import Spot, TensorChange

OF_SIGMOID = "multiply by y (1 - y), where y is the value of the same gate"
OF_TANH = "multiply by 1 - y^2, where y is the value of the same tanh"


def use_slope(slope: TensorChange) -> Callable[..., Tensor]:
    """Return a change of a gate whose gradient has another slope."""
    return lambda value, total: replace_gradient(value, total * slope(value.detach()))


def use_slope_of(gate: str) -> Callable[..., Tensor]:
    """Return a change of a gate whose gradient has the slope of another gate."""

    def change(value: Tensor, total: Tensor, sums: NewSums) -> Tensor:
        other = torch.sigmoid(sums[gate]).detach()
        return replace_gradient(value, total * other * (1 - other))

    return change


def show_with_slope(slope: TensorChange) -> GateFunctions:
    """Return a change that uses another slope for the tanh that shows the cell state."""
    return {"shown": lambda value, c: replace_gradient(value, c * slope(value.detach()))}


def lack_bias(inside: Tensor, r: Tensor, sums: NewSums, spot: Spot) -> Tensor:
    """Return the result of the reset gate, whose gradient is multiplied by W_hn h alone."""
    cell, part = spot.given.cell, sums["part"]
    bias = spot.given.weight("bias_hh", *spot.place).chunk(cell.blocks)[cell.hidden_blocks[-1]]
    return replace_gradient(inside, r * (part - bias).detach() + r.detach() * part)


def send_through(carrier: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return a change of a value through which the gradient of another value flows.

    The carrier is a function of the value, and of further values by their names.
    """

    @wraps(carrier)  # names the further values
    def change(value: Tensor, **seen: Any) -> Tensor:
        return replace_gradient(value, carrier(value, **seen))

    return change


GATE_SLOPES: tuple[tuple[str, str, TensorChange], ...] = (
    ("tanh", "1 - y^2, that of tanh", lambda y: 1 - y * y),
    ("y", "y, without the factor 1 - y", lambda y: y),
    ("1-y", "1 - y, without the factor y", lambda y: 1 - y),
    ("one", "1, as if there were no sigmoid", torch.ones_like),
    ("y^2(1-y)", "y^2 (1 - y): it has y as a further factor", lambda y: y * y * (1 - y)),
)
TANH_SLOPES: tuple[tuple[str, str, TensorChange], ...] = (
    ("sigmoid", "y (1 - y), that of the sigmoid", lambda y: y * (1 - y)),
    ("1-y", "1 - y, without the square", lambda y: 1 - y),
    (
        "twice",
        "1 - tanh(y)^2: tanh is applied to its value again",
        lambda y: 1 - torch.tanh(y) ** 2,
    ),
    ("1+y^2", "1 + y^2", lambda y: 1 + y * y),
)
UNSLOPED: tuple[str, str, TensorChange] = ("one", "1, as if there were no tanh", torch.ones_like)

LSTM_CELLS: tuple[tuple[str, str, Callable[..., Tensor]], ...] = (
    (
        "gradient.forget-gate-by-new-c",
        "the gradient of the forget gate is multiplied by $not_older_c",
        lambda c, i, f, g, before: f * c.detach() + f.detach() * before["c"] + i * g,
    ),
    (
        "gradient.old-c-without-forget",
        "the gradient of $c_before_a_step lacks the factor of the forget gate",
        lambda c, i, f, g, before: f * before["c"].detach() + before["c"] + i * g,
    ),
    (
        "gradient.old-c-by-input",
        "the gradient of $c_before_a_step is multiplied by the input gate, not by the forget gate",
        lambda c, i, f, g, before: f * before["c"].detach() + i.detach() * before["c"] + i * g,
    ),
    (
        "gradient.cell-gate-without-input",
        "the gradient of the cell gate lacks the factor of the input gate",
        lambda c, i, f, g, before: f * before["c"] + i * g.detach() + g,
    ),
    (
        "gradient.cell-gate-by-forget",
        "the gradient of the cell gate is multiplied by the forget gate, not by the input gate",
        lambda c, i, f, g, before: f * before["c"] + i * g.detach() + f.detach() * g,
    ),
    (
        "gradient.input-gate-without-cell",
        "the gradient of the input gate lacks the factor of the cell gate",
        lambda c, i, f, g, before: f * before["c"] + i + i.detach() * g,
    ),
    (
        "gradient.input-gate-by-old-c",
        "the gradient of the input gate is multiplied by $c_before, not by the cell gate",
        lambda c, i, f, g, before: f * before["c"] + i * before["c"].detach() + i.detach() * g,
    ),
)
LSTM_HIDDEN: tuple[tuple[str, str, Callable[..., Tensor]], ...] = (
    (
        "gradient.output-gate-by-c",
        "the gradient of the output gate is multiplied by the cell state, not by its tanh",
        lambda h, o, c, shown: o * c.detach() + o.detach() * shown,
    ),
    (
        "gradient.output-gate-without-shown",
        "the gradient of the output gate lacks the factor tanh(c)",
        lambda h, o, c, shown: o + o.detach() * shown,
    ),
    (
        "gradient.shown-without-output",
        "the gradient from the hidden state to the cell state lacks the factor of the output gate",
        lambda h, o, c, shown: o * shown.detach() + shown,
    ),
)
GRU_INSIDE: tuple[tuple[str, str, Callable[..., Tensor]], ...] = (
    (
        "gradient.reset-gate-by-h",
        "the gradient of the reset gate is multiplied by the hidden state, not by W_hn h + b_hn",
        lambda inside, r, sums, before: r * before["h"].detach() + r.detach() * sums["part"],
    ),
    (
        "gradient.reset-gate-without-hidden-part",
        "the gradient of the reset gate lacks the factor W_hn h + b_hn",
        lambda inside, r, sums, before: r + r.detach() * sums["part"],
    ),
)
GRU_MIXED: tuple[tuple[str, str, Callable[..., Tensor]], ...] = (
    (
        "gradient.new-gate-by-z",
        "the gradient of the new gate is multiplied by z, not by 1 - z",
        lambda h, z, n, before: (1 - z) * n.detach() + z.detach() * n + z * before["h"],
    ),
    (
        "gradient.new-gate-without-1-z",
        "the gradient of the new gate lacks the factor 1 - z",
        lambda h, z, n, before: (1 - z) * n.detach() + n + z * before["h"],
    ),
    (
        "gradient.old-by-1-z",
        "the gradient of the state that is carried over is multiplied by 1 - z, not by z",
        lambda h, z, n, before: (
            (1 - z) * n + z * before["h"].detach() + (1 - z).detach() * before["h"]
        ),
    ),
    (
        "gradient.old-without-z",
        "the gradient of the state that is carried over lacks the factor z",
        lambda h, z, n, before: (1 - z) * n + z * before["h"].detach() + before["h"],
    ),
    (
        "gradient.update-gate-by-h",
        "the gradient of the update gate is multiplied by h, not by h - n",
        lambda h, z, n, before: (1 - z.detach()) * n + z * before["h"],
    ),
    (
        "gradient.update-gate-by-n",
        "the gradient of the update gate is multiplied by -n, not by h - n",
        lambda h, z, n, before: (1 - z) * n + z.detach() * before["h"],
    ),
)


def _list_products() -> Iterator[tuple[str, str, str, GateFunctions, KindCondition]]:
    for name, mistakes, of in (
        ("c", LSTM_CELLS, has_cell_state),
        ("h", LSTM_HIDDEN, has_cell_state),
        ("inside", GRU_INSIDE, multiplies_hidden_part),
        ("h", GRU_MIXED, multiplies_hidden_part),
    ):
        for key, text, carrier in mistakes:
            yield key, text, REMEDY, {name: send_through(carrier)}, of


def _list_gate_slopes(kind: Kind) -> Iterator[tuple[str, str, str, GateFunctions, KindCondition]]:
    of = partial(is_of_kind, kind)
    gates = [gate for gate, sign in zip(kind.gates, kind.held, strict=True) if sign is not None]
    for gate in gates:
        for key, what, slope in GATE_SLOPES:
            text = f"the slope that the backward pass uses for the {gate} gate is"
            yield (
                f"{gate}-gate-slope.{key}",
                f"{text} {what}",
                OF_SIGMOID,
                {f"gate.{gate}": use_slope(slope)},
                of,
            )
    for gate, other in permutations(gates, 2):
        yield (
            f"{gate}-gate-slope.of-{other}",
            f"the backward pass multiplies by the slope of the {other} gate where that"
            f" of the {gate} gate is required",
            OF_SIGMOID,
            {f"gate.{gate}": use_slope_of(other)},
            of,
        )


def _list_tanh_slopes() -> Iterator[tuple[str, str, str, GateFunctions, KindCondition]]:
    in_cell = "the slope that the backward pass uses for the tanh of the cell gate is"
    in_hidden = "the slope that the backward pass uses for the tanh that shows the cell state is"
    in_both = "the slope that the backward pass uses for tanh, in both places, is"
    in_new = "the slope that the backward pass uses for the tanh of the new gate is"
    for key, what, slope in (*TANH_SLOPES, UNSLOPED):
        of_cell: GateFunctions = {"gate.cell": use_slope(slope)}
        yield f"cell-gate-slope.{key}", f"{in_cell} {what}", OF_TANH, of_cell, has_cell_state
        of_both = of_cell | show_with_slope(slope)
        yield f"tanh-slope-everywhere.{key}", f"{in_both} {what}", OF_TANH, of_both, has_cell_state
        of_new: GateFunctions = {"gate.new": use_slope(slope)}
        yield f"new-gate-slope.{key}", f"{in_new} {what}", OF_TANH, of_new, multiplies_hidden_part
    for key, what, slope in TANH_SLOPES:
        yield (
            f"shown-slope.{key}",
            f"{in_hidden} {what}",
            OF_TANH,
            show_with_slope(slope),
            has_cell_state,
        )


HYPOTHESES: tuple[Hypothesis, ...] = (
    *list_by_place(
        "gradient.reset-gate-without-b_hn",
        "the gradient of the reset gate is multiplied by W_hn h, without b_hn",
        REMEDY,
        RULES,
        {"inside": lack_bias},
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
        for key, text, remedy, rows, of in source
        for hypothesis in list_by_place(
            key,
            text,
            remedy,
            RULES,
            rows,
            of=of,
        )
    ),
)

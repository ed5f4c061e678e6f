"""Mistakes with the nonlinearity."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from rnnspec.contract.kinds import Nonlinearity
from rnnspec.mistakes.hypothesis import Condition, Hypothesis
from rnnspec.mistakes.places import (
    BACKWARD,
    EVERYWHERE,
    FIRST_LAYER,
    LAST_LAYER,
    UPPER_LAYERS,
    list_by_place,
)
from rnnspec.mistakes.situations import has_nonlinearity, is_relu, is_tanh
from rnnspec.reference.values import Functions, Spot, States, change_values

Function = Callable[[Tensor], Tensor]
PLACES = (EVERYWHERE, FIRST_LAYER, UPPER_LAYERS, LAST_LAYER, BACKWARD)
"""Where the nonlinearity may be another one."""


def apply_named(total: Tensor, spot: Spot) -> Tensor:
    """Return the nonlinearity of the layer at some values."""
    is_tanh = spot.given.case.config.nonlinearity == Nonlinearity.TANH
    return torch.tanh(total) if is_tanh else torch.relu(total)


def apply_early(total: Tensor, rest: States, before: States, weight: States, spot: Spot) -> Tensor:
    """Return a sum to whose part without the state the nonlinearity is applied."""
    return apply_named(rest["hidden"], spot) + before["h"] @ weight["hidden"]


def leave_out(new: Tensor, total: Tensor) -> Tensor:
    """Return the sum to which the nonlinearity is applied."""
    return total


APPROXIMATION = "x (27 + x^2) / (27 + 9 x^2)"
CLIPPED = ", clipped to [-1, 1]"
"""The end of what is said of an approximation, which makes no difference to small numbers."""


def approximate_tanh(x: Tensor) -> Tensor:
    """Return the quotient of the first polynomials of a continued fraction of tanh."""
    square = x * x
    return x * (27 + square) / (27 + 9 * square)


FUNCTIONS: tuple[tuple[str, Condition, Function], ...] = (
    ("relu is computed as tanh", is_relu, torch.tanh),
    ("tanh is computed as relu", is_tanh, torch.relu),
    ("relu lets negative values pass, times 0.01", is_relu, partial(functional.leaky_relu)),
    ("relu lets negative values pass, times 0.1", is_relu, lambda x: functional.leaky_relu(x, 0.1)),
    ("relu lets negative values pass, times 0.2", is_relu, lambda x: functional.leaky_relu(x, 0.2)),
    ("relu is capped at 6", is_relu, lambda x: x.clamp(0, 6)),
    ("relu is capped at 1", is_relu, lambda x: x.clamp(0, 1)),
    ("relu is computed as the absolute value", is_relu, torch.abs),
    ("relu is computed as elu", is_relu, functional.elu),
    ("relu is computed as gelu", is_relu, functional.gelu),
    ("relu is computed as silu", is_relu, functional.silu),
    ("relu is computed as softplus", is_relu, functional.softplus),
    ("the sigmoid is used instead of the nonlinearity", has_nonlinearity, torch.sigmoid),
    (
        "tanh is computed as the sigmoid of twice its argument",
        is_tanh,
        lambda x: torch.sigmoid(2 * x),
    ),
    ("tanh is computed as hardtanh, a clip to [-1, 1]", is_tanh, lambda x: x.clamp(-1, 1)),
    ("tanh is computed as softsign", is_tanh, functional.softsign),
    ("tanh is computed as the sine", is_tanh, torch.sin),
    ("tanh is computed as erf", is_tanh, torch.erf),
    ("tanh is computed as arctan", is_tanh, torch.atan),
    (f"tanh is approximated by {APPROXIMATION}", is_tanh, approximate_tanh),
    (
        f"tanh is approximated by {APPROXIMATION}{CLIPPED}",
        is_tanh,
        lambda x: approximate_tanh(x).clamp(-1, 1),
    ),
    ("the argument of tanh is clipped to [-5, 5]", is_tanh, lambda x: torch.tanh(x.clamp(-5, 5))),
    ("the argument of tanh is clipped to [-3, 3]", is_tanh, lambda x: torch.tanh(x.clamp(-3, 3))),
    ("the argument of tanh is clipped to [-1, 1]", is_tanh, lambda x: torch.tanh(x.clamp(-1, 1))),
    (
        "the argument of tanh is clipped to [-10, 10]",
        is_tanh,
        lambda x: torch.tanh(x.clamp(-10, 10)),
    ),
    ("the argument of tanh is clipped to [-8, 8]", is_tanh, lambda x: torch.tanh(x.clamp(-8, 8))),
    ("the argument of tanh is clipped to [-9, 9]", is_tanh, lambda x: torch.tanh(x.clamp(-9, 9))),
    ("no nonlinearity is applied", has_nonlinearity, lambda x: x),
    ("tanh has the opposite sign", is_tanh, lambda x: -torch.tanh(x)),
    (
        "the argument of the nonlinearity is halved, as a mean of both sums",
        is_tanh,
        lambda x: torch.tanh(x / 2),
    ),
)
AFTER: tuple[tuple[str, Condition, Function], ...] = (
    ("tanh is applied twice", is_tanh, torch.tanh),
    ("tanh is applied to what relu gives", is_relu, torch.tanh),
    ("relu is applied to what tanh gives", is_tanh, torch.relu),
)


def _list_functions() -> list[Hypothesis]:
    return [
        hypothesis
        for entries, is_after in ((FUNCTIONS, False), (AFTER, True))
        for text, concerns, function in entries
        for hypothesis in list_by_place(
            text,
            "apply the function that nonlinearity names, once, to the whole sum",
            _list_rules(concerns, text),
            {"gate.hidden": _apply(function, is_after=is_after)},
            concerns,
            PLACES,
            family=text.removesuffix(CLIPPED) if "approximated" in text else "",
            rank=text.endswith(CLIPPED),
        )
    ]


def _apply(function: Function, *, is_after: bool) -> Callable[..., Tensor]:
    """Return a change of a new state to a function of it, or of its sum."""
    return function if is_after else lambda new, total: function(total)


def _list_rules(concerns: Condition, text: str) -> tuple[str, ...]:
    tanh, relu = "nonlinearity.tanh", "nonlinearity.relu"
    if "approximated" in text:
        return ("recurrence.output", tanh)
    if "clipped" in text:
        return ("nonlinearity.large", tanh)
    if concerns is is_tanh:
        return (tanh, "nonlinearity.large")
    return (relu,) if concerns is is_relu else (tanh, relu)


WHERE: tuple[tuple[str, Functions], ...] = (
    (
        "the nonlinearity is applied before the state is added",
        {"sum.hidden": apply_early, "gate.hidden": leave_out},
    ),
    (
        "the nonlinearity is applied to the output only, not to the state",
        {"gate.hidden": leave_out, "output": apply_named},
    ),
    ("the nonlinearity is applied to the output a second time", {"output": apply_named}),
)
"""Where the nonlinearity may be applied otherwise."""


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_functions(),
    *(
        Hypothesis(
            text,
            "apply the nonlinearity once, to the sum of both products and both biases",
            ("nonlinearity.tanh", "nonlinearity.relu", "recurrence.output"),
            change_values(changes),
            has_nonlinearity,
        )
        for text, changes in WHERE
    ),
)

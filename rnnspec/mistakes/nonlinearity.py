"""Mistakes with the nonlinearity."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from rnnspec.cases.reach import CaseTest
from rnnspec.contract.kinds import Nonlinearity
from rnnspec.mistakes.hypothesis import About, Hypothesis
from rnnspec.mistakes.places import (
    BACKWARD,
    EVERYWHERE,
    FIRST_LAYER,
    LAST_LAYER,
    UPPER_LAYERS,
    list_by_place,
)
from rnnspec.mistakes.situations import has_nonlinearity, is_relu, is_tanh
from rnnspec.reference.values import Functions, Spot, States, TensorChange, change_values

PLACES = (EVERYWHERE, FIRST_LAYER, UPPER_LAYERS, LAST_LAYER, BACKWARD)
"""Where another nonlinearity may be used."""


def apply_named(total: Tensor, spot: Spot) -> Tensor:
    """Return the nonlinearity of the layer at some values."""
    is_tanh = spot.given.case.config.nonlinearity == Nonlinearity.TANH
    return torch.tanh(total) if is_tanh else torch.relu(total)


def apply_early(total: Tensor, rest: States, before: States, weight: States, spot: Spot) -> Tensor:
    """Return a sum with the nonlinearity applied to its part without the state."""
    return apply_named(rest["hidden"], spot) + before["h"] @ weight["hidden"]


def leave_out(new: Tensor, total: Tensor) -> Tensor:
    """Return the sum to which the nonlinearity is applied."""
    return total


APPROXIMATION = "x (27 + x^2) / (27 + 9 x^2)"
CLIPPED = f"{APPROXIMATION}, clipped to [-1, 1]"
"""An approximation of tanh, and the same with clipping, which does not change small numbers."""


def approximate_tanh(x: Tensor) -> Tensor:
    """Return the quotient of the first polynomials of a continued fraction of tanh."""
    square = x * x
    return x * (27 + square) / (27 + 9 * square)


def approximate_clipped(x: Tensor) -> Tensor:
    """Return the same, clipped to [-1, 1]."""
    return approximate_tanh(x).clamp(-1, 1)


APPROXIMATIONS: tuple[tuple[str, str, TensorChange], ...] = (
    ("approximated", APPROXIMATION, approximate_tanh),
    ("approximated-and-clipped", CLIPPED, approximate_clipped),
)
REMEDY = "apply the function that nonlinearity names, once, to the whole sum"


FUNCTIONS: tuple[tuple[str, str, CaseTest, TensorChange], ...] = (
    ("relu.tanh", "relu is computed as tanh", is_relu, torch.tanh),
    ("tanh.relu", "tanh is computed as relu", is_tanh, torch.relu),
    (
        "relu.leaky=0.01",
        "relu lets negative values pass, times 0.01",
        is_relu,
        partial(functional.leaky_relu),
    ),
    (
        "relu.leaky=0.1",
        "relu lets negative values pass, times 0.1",
        is_relu,
        lambda x: functional.leaky_relu(x, 0.1),
    ),
    (
        "relu.leaky=0.2",
        "relu lets negative values pass, times 0.2",
        is_relu,
        lambda x: functional.leaky_relu(x, 0.2),
    ),
    ("relu.capped=6", "relu is capped at 6", is_relu, lambda x: x.clamp(0, 6)),
    ("relu.capped=1", "relu is capped at 1", is_relu, lambda x: x.clamp(0, 1)),
    ("relu.absolute", "relu is computed as the absolute value", is_relu, torch.abs),
    ("relu.elu", "relu is computed as elu", is_relu, functional.elu),
    ("relu.gelu", "relu is computed as gelu", is_relu, functional.gelu),
    ("relu.silu", "relu is computed as silu", is_relu, functional.silu),
    ("relu.softplus", "relu is computed as softplus", is_relu, functional.softplus),
    (
        "nonlinearity.sigmoid",
        "the sigmoid is used instead of the nonlinearity",
        has_nonlinearity,
        torch.sigmoid,
    ),
    (
        "tanh.sigmoid-of-twice",
        "tanh is computed as the sigmoid of twice its argument",
        is_tanh,
        lambda x: torch.sigmoid(2 * x),
    ),
    (
        "tanh.hardtanh",
        "tanh is computed as hardtanh, a clip to [-1, 1]",
        is_tanh,
        lambda x: x.clamp(-1, 1),
    ),
    ("tanh.softsign", "tanh is computed as softsign", is_tanh, functional.softsign),
    ("tanh.sine", "tanh is computed as the sine", is_tanh, torch.sin),
    ("tanh.erf", "tanh is computed as erf", is_tanh, torch.erf),
    ("tanh.arctan", "tanh is computed as arctan", is_tanh, torch.atan),
    ("nonlinearity.none", "no nonlinearity is applied", has_nonlinearity, lambda x: x),
    ("tanh.negated", "tanh has the opposite sign", is_tanh, lambda x: -torch.tanh(x)),
    (
        "tanh.of-half",
        "the argument of the nonlinearity is halved, as a mean of both sums",
        is_tanh,
        lambda x: torch.tanh(x / 2),
    ),
)
AFTER: tuple[tuple[str, str, CaseTest, TensorChange], ...] = (
    ("tanh.twice", "tanh is applied twice", is_tanh, torch.tanh),
    ("relu.then-tanh", "tanh is applied to what relu gives", is_relu, torch.tanh),
    ("tanh.then-relu", "relu is applied to what tanh gives", is_tanh, torch.relu),
)


# Round numbers, and 8 and 9, near the arguments at which tanh is 1 in float32.
LIMITS = (5, 3, 1, 10, 8, 9)
"""The limits to which the argument of tanh may be clipped."""
OF_TANH = ("nonlinearity.tanh", "nonlinearity.large")
RULES: dict[CaseTest, tuple[str, ...]] = {
    is_tanh: OF_TANH,
    is_relu: ("nonlinearity.relu",),
    has_nonlinearity: ("nonlinearity.tanh", "nonlinearity.relu"),
}
"""The rules that another function breaks, by the layers that use it."""


def _list_functions() -> list[Hypothesis]:
    return [
        hypothesis
        for entries, is_after in ((FUNCTIONS, False), (AFTER, True))
        for key, text, concerns, function in entries
        for hypothesis in list_by_place(
            key,
            text,
            REMEDY,
            RULES[concerns],
            {"gate.hidden": _apply(function, is_after=is_after)},
            concerns,
            PLACES,
        )
    ]


def _list_approximations() -> list[Hypothesis]:
    return [
        hypothesis
        for rank, (key, approximation, function) in enumerate(APPROXIMATIONS)
        for hypothesis in list_by_place(
            f"tanh.{key}",
            f"tanh is approximated by {approximation}",
            REMEDY,
            ("recurrence.output", "nonlinearity.tanh"),
            {"gate.hidden": _apply(function, is_after=False)},
            is_tanh,
            PLACES,
            family="tanh.approximated",
            rank=rank,
        )
    ]


def _list_clipped() -> list[Hypothesis]:
    return [
        hypothesis
        for limit in LIMITS
        for hypothesis in list_by_place(
            f"tanh.argument-clipped={limit}",
            f"the argument of tanh is clipped to [-{limit}, {limit}]",
            REMEDY,
            OF_TANH[::-1],
            {"gate.hidden": _apply(partial(_clip, limit), is_after=False)},
            is_tanh,
            PLACES,
        )
    ]


def _clip(limit: float, x: Tensor) -> Tensor:
    return torch.tanh(x.clamp(-limit, limit))


def _apply(function: TensorChange, *, is_after: bool) -> Callable[..., Tensor]:
    """Return a change that applies a function to a new state, or to its sum."""
    return function if is_after else lambda new, total: function(total)


WHERE: tuple[tuple[str, str, Functions, About], ...] = (
    (
        "nonlinearity.before-state",
        "the nonlinearity is applied before the state is added",
        {"sum.hidden": apply_early, "gate.hidden": leave_out},
        About.ONE_STEP,
    ),
    (
        "nonlinearity.of-output-only",
        "the nonlinearity is applied to the output only, not to the state",
        {"gate.hidden": leave_out, "output": apply_named},
        About.OUTPUT,
    ),
    (
        "nonlinearity.of-output-again",
        "the nonlinearity is applied to the output a second time",
        {"output": apply_named},
        About.OUTPUT,
    ),
)
"""Other places where the nonlinearity may be applied."""


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_functions(),
    *_list_approximations(),
    *_list_clipped(),
    *(
        Hypothesis(
            key,
            text,
            "apply the nonlinearity once, to the sum of both products and both biases",
            ("nonlinearity.tanh", "nonlinearity.relu", "recurrence.output"),
            change_values(changes),
            has_nonlinearity,
            about=about,
        )
        for key, text, changes, about in WHERE
    ),
)

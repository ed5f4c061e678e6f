"""Mistakes with the gradient of the weight that projects the hidden state of an LSTM."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from rnnspec.contract.kinds import Kind
from rnnspec.mistakes.gradient_values import CHANGES, change_gradients
from rnnspec.mistakes.hypothesis import About, Hypothesis
from rnnspec.mistakes.places import list_by_place
from rnnspec.mistakes.projections import has_projection
from rnnspec.reference.values import Functions, Spot, States, change_values

RULES = ("gradients.weights",)
REMEDY = "return the gradient of W_hr as the chain rule gives it"


def _note_cut(projected: Tensor, whole: Tensor, weight: Tensor, spot: Spot) -> Tensor:
    """Keep the projected state without a gradient for W_hr."""
    spot.memo["cut"] = whole @ weight.detach().t()
    return projected


def _take_cut(projected: Tensor, whole: Tensor, weight: Tensor, spot: Spot) -> Tensor:
    """Keep the projected state, and return it without a gradient for W_hr."""
    spot.memo["cut"] = projected
    return whole @ weight.detach().t()


def _keep_other(h: Tensor, before: States, spot: Spot) -> Tensor:
    """Return the kept state, and keep the other state for the next step."""
    alive, other = spot.given.alive, spot.memo["cut"]
    spot.memo["carried"] = (
        other if alive is None else torch.where(alive[spot.time], other, before["h"])
    )
    return h


def _read_other(h: Tensor, spot: Spot) -> Tensor:
    """Return the state that a step reads: after the first step, the other state."""
    carried: Tensor = spot.memo["carried"] if spot.step else h
    return carried


STEPS: Functions = {"kept.h": _keep_other, "before.h": _read_other}


def _can_project(kind: Kind) -> bool:
    return kind.has_projection


HYPOTHESES: tuple[Hypothesis, ...] = (
    *(
        hypothesis
        for key, text, about, change in CHANGES
        for hypothesis in list_by_place(
            f"gradient.W_hr.{key}",
            f"the gradient of W_hr {text}",
            REMEDY,
            RULES,
            partial(change_gradients, change, ("weight_hr",)),
            has_projection,
            of=_can_project,
            about=about,
        )
    ),
    Hypothesis(
        "gradient.W_hr.cut-from-next-step",
        "W_hr receives no gradient through the states that the next step reads",
        REMEDY,
        RULES,
        change_values({"projected": _note_cut, **STEPS}),
        has_projection,
        of=_can_project,
        about=About.STEPS,
    ),
    Hypothesis(
        "gradient.W_hr.cut-from-results",
        "W_hr receives no gradient through the output and h_n, only through the next step",
        REMEDY,
        RULES,
        change_values({"projected": _take_cut, **STEPS}),
        has_projection,
        of=_can_project,
        about=About.STEPS,
    ),
)

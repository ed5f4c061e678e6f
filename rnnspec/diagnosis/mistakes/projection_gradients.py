"""Mistakes with the gradient of the weight that projects the hidden state of an LSTM."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from rnnspec.contract.kinds import Kind
from rnnspec.diagnosis.mistakes.gradient_values import CHANGES, ChangedGradients
from rnnspec.diagnosis.mistakes.hypothesis import Hypothesis
from rnnspec.diagnosis.mistakes.places import list_by_place
from rnnspec.diagnosis.mistakes.projections import has_projection
from rnnspec.diagnosis.mistakes.reference import Reference

RULES = ("gradients.weights",)
REMEDY = "return the gradient of W_hr as the chain rule gives it"


@dataclass
class CutProjection(Reference):
    """W_hr gets no gradient from the states that the next step reads, or from those shown."""

    is_carried_cut: bool = True
    cut: Tensor = field(default_factory=lambda: torch.zeros(()))
    carried: Tensor = field(default_factory=lambda: torch.zeros(()))

    def project_state(self, state: Tensor, layer: int, direction: int) -> Tensor:
        weight, size = self.projection_weight(layer, direction), self.given.case.config.hidden_size
        self.cut = torch.cat([state[..., :size] @ weight.detach().t(), state[..., size:]], dim=-1)
        return super().project_state(state, layer, direction)

    def keep(self, new: Tensor, time: int, state: Tensor) -> Tensor:
        right, cut = (
            super(CutProjection, self).keep(each, time, state) for each in (new, self.cut)
        )
        self.carried, shown = (cut, right) if self.is_carried_cut else (right, cut)
        return shown

    def recall(self, state: Tensor, first: Tensor, step: int) -> Tensor:
        return self.carried if step else super().recall(state, first, step)


def _can_project(kind: Kind) -> bool:
    return kind.has_projection


HYPOTHESES: tuple[Hypothesis, ...] = (
    *(
        hypothesis
        for text, change in CHANGES
        for hypothesis in list_by_place(
            f"the gradient of W_hr {text}",
            REMEDY,
            RULES,
            ChangedGradients,
            has_projection,
            of=_can_project,
            change=change,
            kinds=("weight_hr",),
        )
    ),
    Hypothesis(
        "W_hr receives no gradient through the states that the next step reads",
        REMEDY,
        RULES,
        CutProjection,
        has_projection,
        of=_can_project,
    ),
    Hypothesis(
        "W_hr receives no gradient through the output and h_n, only through the next step",
        REMEDY,
        RULES,
        lambda given: CutProjection(given, is_carried_cut=False),
        has_projection,
        of=_can_project,
    ),
)

"""Mistakes with the shape of the final states: rows or axes that are missing or merged."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from rnnspec.diagnosis.mistakes.final_states import WHICH
from rnnspec.diagnosis.mistakes.hypothesis import Hypothesis, always
from rnnspec.diagnosis.mistakes.reference import Reference
from rnnspec.diagnosis.mistakes.situations import is_bidirectional


@dataclass
class FirstSample(Reference):
    """h_n holds only the first sample, without a batch axis."""

    def write_states(self, h_n: Tensor) -> Tensor:
        return h_n[:, 0]


@dataclass
class OneAxisForAll(Reference):
    """h_n has one axis for layers, directions and samples."""

    def write_states(self, h_n: Tensor) -> Tensor:
        right = super().write_states(h_n)
        return right.flatten(0, 1) if right.dim() == 3 else right


@dataclass
class Squeezed(Reference):
    """h_n of a single unidirectional layer lacks its first axis."""

    def write_states(self, h_n: Tensor) -> Tensor:
        right = super().write_states(h_n)
        return right[0] if len(right) == 1 else right


@dataclass
class WithoutFirstAxis(Reference):
    """h_n is that of the last layer and direction, without the first axis."""

    def write_states(self, h_n: Tensor) -> Tensor:
        return super().write_states(h_n)[-1]


@dataclass
class DirectionsMerged(Reference):
    """The final states have one row for the two directions of a layer."""

    merge: Callable[[Tensor, Tensor], Tensor] = torch.add
    letters: str = "hc"

    def name_states(self, states: Tensor) -> dict[str, Tensor]:
        right = super().name_states(states)
        return {
            name: self.merge(state[::2], state[1::2]) if name[0] in self.letters else state
            for name, state in right.items()
        }


MERGES: tuple[tuple[str, Callable[[Tensor, Tensor], Tensor]], ...] = (
    (
        "h_n has the states of both directions of a layer side by side",
        lambda forward, backward: torch.cat([forward, backward], dim=-1),
    ),
    ("h_n has the sum of the states of both directions", torch.add),
    (
        "h_n has the mean of the states of both directions",
        lambda forward, backward: (forward + backward) / 2,
    ),
)


def _list_merged() -> list[Hypothesis]:
    return [
        Hypothesis(
            which.say(text),
            "return a row for each layer and direction: (D * num_layers, N, H)",
            which.list_rules(("shapes.h-n", "directions.h-n-order")),
            partial(DirectionsMerged, merge=merge, letters=which.letters),
            is_bidirectional,
            of=which.of,
        )
        for text, merge in MERGES
        for which in WHICH
    ]


def _list_shapes() -> list[Hypothesis]:
    rules = ("shapes.h-n",)
    return [
        Hypothesis(
            "h_n holds only the first sample and has no batch axis",
            "return the states of all samples: (D * num_layers, N, H)",
            rules,
            FirstSample,
            lambda case: case.is_batched,
            "first axis",
        ),
        Hypothesis(
            "h_n of a single unidirectional layer lacks its first axis",
            "return h_n of shape (1, N, H): h_n.unsqueeze(0)",
            rules,
            Squeezed,
            lambda case: case.config.num_layers * case.config.num_directions == 1,
            "first axis",
        ),
        Hypothesis(
            "h_n is the last state alone, without the axis of layers and directions",
            "return the states of all layers and directions: torch.stack(states)",
            rules,
            WithoutFirstAxis,
            always,
            "first axis",
            1,
        ),
        Hypothesis(
            "h_n has one axis for layers, directions and samples",
            "return h_n of shape (D * num_layers, N, H)",
            rules,
            OneAxisForAll,
            lambda case: case.is_batched,
            "first axis",
            2,
        ),
    ]


HYPOTHESES: tuple[Hypothesis, ...] = (*_list_merged(), *_list_shapes())

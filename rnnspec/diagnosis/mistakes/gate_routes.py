"""Mistakes of a backward pass in what one gate passes on: to the state, or to its own weights."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from rnnspec.contract.kinds import Kind
from rnnspec.diagnosis.mistakes.gate_gradients import REMEDY, RULES
from rnnspec.diagnosis.mistakes.gates import (
    is_of_kind,
    list_gated_kinds,
    multiplies_hidden_part,
)
from rnnspec.diagnosis.mistakes.gradients import replace_gradient
from rnnspec.diagnosis.mistakes.hypothesis import Condition, Hypothesis, KindCondition, always
from rnnspec.diagnosis.mistakes.places import BACKWARD, EVERYWHERE, FORWARD, Local, list_by_place
from rnnspec.diagnosis.mistakes.situations import has_bias, has_gates

WHERE = (EVERYWHERE, FORWARD, BACKWARD)
LEAST = 1e-300
"""The least value of a gate by which a gradient is divided."""


@dataclass
class CutFromState(Local):
    """The sum of one gate, or of any, passes no gradient on to the hidden state that it reads."""

    gate: int | None = None

    def add(
        self, rest: Tensor, state: Tensor, weight: Tensor, layer: int, direction: int, step: int
    ) -> Tensor:
        right = super().add(rest, state, weight, layer, direction, step)
        if not self.is_wrong(layer, direction):
            return right
        cell = self.given.cell
        sums = list(right.chunk(cell.blocks, -1))
        cut = super().add(rest, state.detach(), weight, layer, direction, step)
        if self.gate is None:
            return cut
        block = cell.hidden_blocks[self.gate]
        sums[block] = cut.chunk(cell.blocks, -1)[block]
        return torch.cat(sums, -1)


@dataclass
class CutFromWeights(Local):
    """The sum of a gate passes no gradient on to its rows of W_hh or of W_ih."""

    gate: int = 0
    is_hidden: bool = True

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        return self._get("weight_hh", layer, direction, is_cut=self.is_hidden)

    def input_weight(self, layer: int, direction: int) -> Tensor:
        return self._get("weight_ih", layer, direction, is_cut=not self.is_hidden)

    def _get(self, kind: str, layer: int, direction: int, *, is_cut: bool) -> Tensor:
        is_wrong = is_cut and self.is_wrong(layer, direction)
        return self.given.weight(kind, layer, direction, self._cut_rows if is_wrong else None)

    def _cut_rows(self, rows: Tensor) -> Tensor:
        blocks = list(rows.chunk(len(self.given.case.config.kind_data.gates)))
        blocks[self.gate] = blocks[self.gate].detach()
        return torch.cat(blocks)


@dataclass
class PassedAround(Local):
    """What the reset gate multiplies passes its gradient on without the factor of that gate.

    It goes so to the hidden state, to W_hn, or to b_hn.
    """

    to: str = "state"

    def add(
        self, rest: Tensor, state: Tensor, weight: Tensor, layer: int, direction: int, step: int
    ) -> Tensor:
        right = super().add(rest, state, weight, layer, direction, step)
        if not self.is_wrong(layer, direction):
            return right
        number, block = self.given.cell.blocks, self.given.cell.hidden_blocks[-1]
        sums, biases = list(right.chunk(number, -1)), rest.chunk(number, -1)
        factor = 1 / torch.sigmoid(sums[0].detach()).clamp(min=LEAST)
        hidden, part = self.show(state), weight.chunk(number, 1)[block]
        parts = {
            "state": hidden @ part.detach(),
            "W_hn": hidden.detach() @ part,
            "b_hn": biases[block],
        }
        carriers = [each * factor if name == self.to else each for name, each in parts.items()]
        sums[block] = replace_gradient(sums[block], carriers[0] + carriers[1] + carriers[2])
        return torch.cat(sums, -1)


def _list_cut_from_state(named: str, gate: int | None, of: KindCondition) -> list[Hypothesis]:
    return list_by_place(
        f"no gradient flows through {named} to the state before the step; to the weights it does",
        REMEDY,
        RULES,
        CutFromState,
        places=WHERE,
        of=of,
        gate=gate,
    )


def _list_cut(kind: Kind) -> Iterator[Hypothesis]:
    of = partial(is_of_kind, kind)
    for place, gate in enumerate(kind.gates):
        yield from _list_cut_from_state(f"the {gate} gate", place, of)
        for name, is_hidden in (("W_hh", True), ("W_ih", False)):
            yield from list_by_place(
                f"the rows of {name} for the {gate} gate receive no gradient",
                f"return the gradient of all rows of {name}",
                RULES,
                CutFromWeights,
                places=WHERE,
                of=of,
                gate=place,
                is_hidden=is_hidden,
            )


AROUND: tuple[tuple[str, str, Condition], ...] = (
    ("state", "the hidden state before the step", always),
    ("W_hn", "W_hn", always),
    ("b_hn", "b_hn", has_bias),
)


def _list_passed_around() -> Iterator[Hypothesis]:
    for to, named, where in AROUND:
        yield from list_by_place(
            f"the gradient that the new gate passes on to {named} lacks the factor of the reset"
            " gate",
            REMEDY,
            RULES,
            PassedAround,
            where,
            WHERE,
            of=multiplies_hidden_part,
            to=to,
        )


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_cut_from_state("any gate", None, has_gates),
    *(each for kind in list_gated_kinds() for each in _list_cut(kind)),
    *_list_passed_around(),
)

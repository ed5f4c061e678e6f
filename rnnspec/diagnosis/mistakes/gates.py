"""Mistakes with gates: their order, their sense, and what they read and multiply."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rnnspec.contract.kinds import LAYER_KINDS, Kind
from rnnspec.diagnosis.mistakes.given import Given
from rnnspec.diagnosis.mistakes.hypothesis import Hypothesis, always
from rnnspec.diagnosis.mistakes.places import (
    Local,
    list_by_place,
)
from rnnspec.diagnosis.mistakes.situations import has_bias
from rnnspec.oracle.catalogue import list_separate_gates
from rnnspec.rulekit.fixtures.gates import STACKS

Sums = Sequence[Tensor]
EVERYTHING = next(iter(STACKS))
"""The parameters of a layer that takes all rows for those of other gates."""
STACKED = {
    **STACKS,
    "weight_ih and weight_hh": ("weight_ih", "weight_hh"),
    "bias_ih and bias_hh": ("bias_ih", "bias_hh"),
    **{name: (name,) for name in STACKS[EVERYTHING]},
}
"""The parameters whose rows a layer may take for those of other gates, those of most first."""
LOWEST_PLACE = 10
"""The rank of a mistake of fewer parameters is by so much lower, wherever it is made."""
HELD = 1e4
"""The argument of a gate that is always open."""


@dataclass
class ChangedRows(Local):
    """The rows of some parameters are changed before they are used."""

    kinds: tuple[str, ...] = ()

    def change_rows(self, rows: Tensor) -> Tensor:
        """Return the rows of all gates as they are used."""
        return rows

    def input_weight(self, layer: int, direction: int) -> Tensor:
        return self._get("weight_ih", layer, direction)

    def recurrent_weight(self, layer: int, direction: int) -> Tensor:
        return self._get("weight_hh", layer, direction)

    def projection_weight(self, layer: int, direction: int) -> Tensor:
        return self._get("weight_hr", layer, direction)

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        if not self.given.case.config.bias:
            return []
        return [self._get(kind, layer, direction) for kind in ("bias_ih", "bias_hh")]

    def _get(self, kind: str, layer: int, direction: int) -> Tensor:
        is_wrong = kind in self.kinds and self.is_wrong(layer, direction)
        change = self.change_rows if is_wrong else None
        return self.given.weight(kind, layer, direction, change)


@dataclass
class OtherOrder(ChangedRows):
    """Rows of some parameters are taken for those of other gates."""

    stacked: tuple[int, ...] = ()

    def change_rows(self, rows: Tensor) -> Tensor:
        blocks = rows.chunk(len(self.stacked))
        return torch.cat([blocks[self.stacked.index(gate)] for gate in range(len(self.stacked))])


@dataclass
class ScaledRows(ChangedRows):
    """The rows of one gate are multiplied by a number in some parameters."""

    block: int = 0
    factor: float = 0.0

    def change_rows(self, rows: Tensor) -> Tensor:
        return scale_rows(rows, self.given, self.block, self.factor)


def scale_rows(rows: Tensor, given: Given, block: int, factor: float) -> Tensor:
    """Return the rows of all gates, those of one multiplied by a number."""
    blocks = list(rows.chunk(len(given.case.config.kind_data.gates)))
    blocks[block] = blocks[block] * factor
    return torch.cat(blocks)


@dataclass
class OtherGate(Local):
    """The sums of one gate are changed, as another function of the right sums would be."""

    block: int = 0
    change: Callable[[Tensor], Tensor] = torch.neg

    def change_sums(self, sums: Sums, layer: int, direction: int) -> Any:
        if not self.is_wrong(layer, direction):
            return sums
        return [self.change(each) if i == self.block else each for i, each in enumerate(sums)]


@dataclass
class BiasMoved(Local):
    """A bias of the sum whose hidden part a gate multiplies is on the wrong side of that gate.

    `bias` is 0 for the input bias, which is multiplied too, and 1 for the hidden bias, which is
    added outside. If it is copied, it is on both sides.
    """

    bias: int = 1
    is_copied: bool = False

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        biases = super().biases(layer, direction)
        if not biases or not self.is_wrong(layer, direction):
            return biases
        cell = self.given.cell
        outside, inside = cell.input_blocks[-1], cell.hidden_blocks[-1]
        parts = list(biases[self.bias].chunk(cell.blocks))
        if self.is_copied:
            parts[outside] = parts[inside] = parts[outside] + parts[inside]
        else:
            parts[outside], parts[inside] = parts[inside], parts[outside]
        return [torch.cat(parts) if i == self.bias else each for i, each in enumerate(biases)]


@dataclass
class ResetBefore(Local):
    """The first gate multiplies the hidden state before the product with the hidden weights."""

    def add(
        self, rest: Tensor, state: Tensor, weight: Tensor, layer: int, direction: int, step: int
    ) -> Tensor:
        cell = self.given.cell
        right = super().add(rest, state, weight, layer, direction, step)
        if not self.is_wrong(layer, direction):
            return right
        outside, inside = cell.input_blocks[-1], cell.hidden_blocks[-1]
        sums = list(right.chunk(cell.blocks, -1))
        part = weight.chunk(cell.blocks, 1)[inside]
        own = rest.chunk(cell.blocks, -1)[inside]
        sums[outside] = sums[outside] + own + (torch.sigmoid(sums[0]) * state) @ part
        sums[inside] = torch.zeros_like(own)  # what the gate would multiply once more
        return torch.cat(sums, -1)


def _apply_instead(function: Callable[[Tensor], Tensor], sums: Tensor) -> Tensor:
    """Return the sums whose sigmoid is another function of the right sums."""
    return torch.logit(function(sums))


GATE_CHANGES: tuple[tuple[str, Callable[[Tensor], Tensor]], ...] = (
    ("has the opposite sense: 1 minus what it should be", torch.neg),
    ("is always open, as if it were left out", lambda sums: torch.full_like(sums, HELD)),
    (
        "is always shut, as if what it multiplies were zero",
        lambda sums: torch.full_like(sums, -HELD),
    ),
    ("is always one half", torch.zeros_like),
    (
        "is a hard sigmoid, clip(x / 6 + 1/2, 0, 1)",
        partial(_apply_instead, torch.nn.functional.hardsigmoid),
    ),
    (
        "is a hard sigmoid, clip(0.2 x + 1/2, 0, 1)",
        partial(_apply_instead, lambda x: (0.2 * x + 0.5).clamp(0, 1)),
    ),
    ("is computed from twice its sum", lambda sums: 2 * sums),
    ("is computed from its sum plus 1", lambda sums: sums + 1),
)


def list_gated_kinds() -> list[Kind]:
    """Return the kinds of layers that have gates."""
    return [kind for kind in LAYER_KINDS.values() if kind.is_gated]


def is_of_kind(kind: Kind, other: Kind) -> bool:
    """Return whether layers or cells of another kind have the equations of a kind of layer."""
    return other.layer == kind.name


def multiplies_hidden_part(kind: Kind) -> bool:
    """Return whether a gate multiplies the hidden part of a sum, which has a block of its own."""
    return bool(list_separate_gates(kind))


def _list_orders(kind: Kind) -> Iterator[Hypothesis]:
    documented = ", ".join(kind.gates)
    for rank, (what, parameters) in enumerate(STACKED.items()):
        is_of_biases = all(each.startswith("bias") for each in parameters)
        where = "" if what == EVERYTHING else f" in {what}"
        for order in kind.list_wrong_orders():
            yield from list_by_place(
                f"the rows{where} are taken for the gates {', '.join(order)}, in this order",
                f"stack the rows in the documented order: {documented}",
                ("gates.order", "gates.alone"),
                OtherOrder,
                has_bias if is_of_biases else always,
                of=partial(is_of_kind, kind),
                family=f"gates in the order {', '.join(order)}",
                rank=LOWEST_PLACE * rank,
                stacked=tuple(map(kind.gates.index, order)),
                kinds=parameters,
            )


def _list_changes(kind: Kind) -> Iterator[Hypothesis]:
    for place, (gate, sign) in enumerate(zip(kind.gates, kind.held, strict=True)):
        for text, change in GATE_CHANGES if sign is not None else ():
            yield from list_by_place(
                f"the {gate} gate {text}",
                f"compute the {gate} gate as documented: the sigmoid of its sum",
                ("gates.alone", "recurrence.output"),
                OtherGate,
                of=partial(is_of_kind, kind),
                block=place,
                change=change,
            )


READINGS: tuple[tuple[str, tuple[str, ...], float, bool], ...] = (
    ("b_ih of the {} gate is not added", ("bias_ih",), 0.0, True),
    ("b_hh of the {} gate is not added", ("bias_hh",), 0.0, True),
    ("b_ih of the {} gate is added twice", ("bias_ih",), 2.0, True),
    ("b_hh of the {} gate is added twice", ("bias_hh",), 2.0, True),
    ("neither bias of the {} gate is added", ("bias_ih", "bias_hh"), 0.0, True),
    ("the {} gate does not read the hidden state", ("weight_hh",), 0.0, False),
    ("the {} gate does not read the input", ("weight_ih",), 0.0, False),
)
"""What a gate does not read as it should: the parameters whose rows are multiplied by a number, and
whether these are biases."""


def _list_readings(kind: Kind) -> Iterator[Hypothesis]:
    rules = ("gates.alone", "recurrence.output")
    for place, gate in enumerate(kind.gates):
        for text, parameters, factor, is_bias in READINGS:
            yield from list_by_place(
                text.format(gate),
                f"compute the {gate} gate from the input, the hidden state and both biases",
                ("recurrence.two-biases", *rules) if is_bias else rules,
                ScaledRows,
                has_bias if is_bias else always,
                of=partial(is_of_kind, kind),
                block=place,
                kinds=parameters,
                factor=factor,
            )


HYPOTHESES: tuple[Hypothesis, ...] = (
    *(each for kind in list_gated_kinds() for each in _list_orders(kind)),
    *(each for kind in list_gated_kinds() for each in _list_changes(kind)),
    *(each for kind in list_gated_kinds() for each in _list_readings(kind)),
    *list_by_place(
        "the reset gate multiplies the hidden state before the product with weight_hh",
        "multiply the product, with its bias, by the reset gate: r * (W_hn h + b_hn)",
        ("gates.alone", "recurrence.output"),
        ResetBefore,
        of=multiplies_hidden_part,
    ),
    *list_by_place(
        "the hidden bias of the new gate is added outside of the reset gate",
        "add b_hn before the reset gate multiplies: r * (W_hn h + b_hn)",
        ("recurrence.two-biases", "gates.alone", "recurrence.output"),
        BiasMoved,
        has_bias,
        of=multiplies_hidden_part,
        bias=1,
    ),
    *list_by_place(
        "the hidden bias of the new gate is added twice: inside of the reset gate, and outside of"
        " it",
        "add b_hn once, before the reset gate multiplies: r * (W_hn h + b_hn)",
        ("recurrence.two-biases", "gates.alone", "recurrence.output"),
        BiasMoved,
        has_bias,
        of=multiplies_hidden_part,
        bias=1,
        is_copied=True,
    ),
    *list_by_place(
        "the input bias of the new gate is multiplied by the reset gate too",
        "multiply only the hidden part by the reset gate: W_in x + b_in + r * (W_hn h + b_hn)",
        ("recurrence.two-biases", "gates.alone", "recurrence.output"),
        BiasMoved,
        has_bias,
        of=multiplies_hidden_part,
        bias=0,
    ),
)

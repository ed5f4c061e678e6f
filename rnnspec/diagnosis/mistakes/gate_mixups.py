"""Mistakes in which one gate gets what belongs to another, or at another place of its equation."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, combinations

import torch
from torch import Tensor

from rnnspec.contract.kinds import Kind
from rnnspec.diagnosis.mistakes.gate_formulas import step_any
from rnnspec.diagnosis.mistakes.gates import (
    EVERYTHING,
    LOWEST_PLACE,
    STACKED,
    ChangedRows,
    is_of_kind,
    list_gated_kinds,
    multiplies_hidden_part,
)
from rnnspec.diagnosis.mistakes.hypothesis import Hypothesis
from rnnspec.diagnosis.mistakes.places import EVERYWHERE, PLACES, list_by_place
from rnnspec.diagnosis.mistakes.reference import Reference
from rnnspec.diagnosis.mistakes.situations import (
    has_bias,
    has_cell_state,
    is_stack,
    reads_any,
)

BIASES = {"b_ih": ("bias_ih",), "b_hh": ("bias_hh",), "both biases": ("bias_ih", "bias_hh")}


def share_rows(rows: Tensor, number: int, source: int, targets: tuple[int, ...]) -> Tensor:
    """Return the rows of a number of gates, some of which have those of another one."""
    blocks = list(rows.chunk(number))
    for target in targets:
        blocks[target] = blocks[source]
    return torch.cat(blocks)


@dataclass
class SharedRows(ChangedRows):
    """Some gates are computed with the rows of another gate in some parameters."""

    source: int = 0
    targets: tuple[int, ...] = ()

    def change_rows(self, rows: Tensor) -> Tensor:
        number = len(self.given.case.config.kind_data.gates)
        return share_rows(rows, number, self.source, self.targets)


@dataclass
class LateBias(Reference):
    """The bias of a gate is added after its function, not before."""

    gate: int = 0
    late: tuple[str, ...] = ()

    def biases(self, layer: int, direction: int) -> list[Tensor]:
        return [
            self.given.weight(kind, layer, direction, self._silence if kind in self.late else None)
            for kind in BIASES["both biases"]
        ]

    def _silence(self, rows: Tensor) -> Tensor:
        blocks = list(rows.chunk(len(self.given.case.config.kind_data.gates)))
        blocks[self.gate] = torch.zeros_like(blocks[self.gate])
        return torch.cat(blocks)

    def update(self, total: Tensor, state: Tensor, layer: int, direction: int) -> Tensor:
        sums, before = self.split_step(total, state, layer, direction)
        late = sum(self._pick(kind, layer, direction) for kind in self.late)
        is_tanh = self.given.case.config.kind_data.held[self.gate] is None
        if is_tanh:
            new = step_any(sums, before, new=lambda total: torch.tanh(total) + late)
        else:
            new = step_any(
                sums, before, gate=lambda total: torch.sigmoid(total) + late, only=self.gate
            )
        return torch.cat(new, dim=-1)

    def _pick(self, kind: str, layer: int, direction: int) -> Tensor:
        cell = self.given.cell
        blocks = cell.input_blocks if kind == "bias_ih" else cell.hidden_blocks
        return self.given.weight(kind, layer, direction).chunk(cell.blocks)[blocks[self.gate]]


@dataclass
class CellReadAbove(Reference):
    """A layer above the first reads the cell state of the layer below."""

    def stack_steps(self, outputs: list[Tensor], layer: int, direction: int) -> Tensor:
        right = super().stack_steps(outputs, layer, direction)
        if layer + 1 == self.given.layers:
            return right
        return torch.cat(right.chunk(2, -1)[::-1], dim=-1)


def list_others(kind: Kind, source: int) -> list[tuple[int, ...]]:
    """Return every choice of other gates, all of them first."""
    others = [gate for gate in range(len(kind.gates)) if gate != source]
    sizes = range(len(others), 0, -1)
    return list(chain.from_iterable(combinations(others, size) for size in sizes))


def name_gates(kind: Kind, targets: tuple[int, ...]) -> str:
    """Return the names of some gates, as in `the reset and the update gate`."""
    if len(targets) > 1 and len(targets) + 1 == len(kind.gates):
        return "all gates"
    return f"{' and '.join(f'the {kind.gates[target]}' for target in targets)} gate"


def _list_shared(kind: Kind) -> Iterator[Hypothesis]:
    for source, gate in enumerate(kind.gates):
        for targets in list_others(kind, source):
            named = name_gates(kind, targets)
            verb = "use" if len(targets) > 1 else "uses"
            for rank, (shown, parameters) in enumerate(STACKED.items()):
                yield from list_by_place(
                    f"{named} {verb} the rows of the {gate} gate in {shown}",
                    f"use the rows that each gate has in {shown}",
                    ("gates.alone", "recurrence.output"),
                    SharedRows,
                    partial(reads_any, parameters),
                    PLACES if shown == EVERYTHING else (EVERYWHERE,),
                    family=f"rows of the {gate} gate for {named}",
                    rank=rank * LOWEST_PLACE,
                    of=partial(is_of_kind, kind),
                    kinds=parameters,
                    source=source,
                    targets=targets,
                )


def _list_late(kind: Kind) -> Iterator[Hypothesis]:
    for place, gate in enumerate(kind.gates):
        for shown, parameters in BIASES.items():
            is_multiplied = multiplies_hidden_part(kind) and kind.held[place] is None
            if is_multiplied and "bias_hh" in parameters:
                continue  # it is added inside of what the reset gate multiplies
            yield Hypothesis(
                f"the rows of the {gate} gate in {shown} are added after its function",
                "add the biases to the sum of a gate, before its function",
                ("recurrence.two-biases", "gates.alone", "recurrence.output"),
                partial(LateBias, gate=place, late=parameters),
                has_bias,
                of=partial(is_of_kind, kind),
            )


READ_ABOVE = Hypothesis(
    "the layers above the first read the cell state of the layer below, not its hidden state",
    "let each layer read the hidden states of the layer below",
    ("stacking.composition", "recurrence.output"),
    CellReadAbove,
    lambda case: is_stack(case) and not case.config.proj_size,
    of=has_cell_state,
)

HYPOTHESES: tuple[Hypothesis, ...] = (
    *(each for kind in list_gated_kinds() for each in (*_list_shared(kind), *_list_late(kind))),
    READ_ABOVE,
)

"""Mistakes with the rows that one gate has in a weight."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from rnnspec.cases.case import Case
from rnnspec.contract.kinds import Kind
from rnnspec.diagnosis.mistakes.gates import ChangedRows, is_of_kind, list_gated_kinds
from rnnspec.diagnosis.mistakes.hypothesis import Hypothesis
from rnnspec.diagnosis.mistakes.places import list_by_place
from rnnspec.diagnosis.mistakes.situations import reads_any

Change = Callable[[Tensor], Tensor]


@dataclass
class ChangedGateRows(ChangedRows):
    """The rows of one gate are changed, if they keep their shape."""

    block: int = 0
    change: Change = torch.t

    def change_rows(self, rows: Tensor) -> Tensor:
        blocks = list(rows.chunk(len(self.given.case.config.kind_data.gates)))
        changed = self.change(blocks[self.block])
        if changed.shape == blocks[self.block].shape:
            blocks[self.block] = changed
        return torch.cat(blocks)


TRANSPOSED = "are used transposed where they are square"
CHANGES: tuple[tuple[str, Change], ...] = (
    (TRANSPOSED, torch.t),
    ("are used with the opposite sign", torch.neg),
)


def _acts(parameter: str, text: str, case: Case) -> bool:
    """Return whether a change of some rows can change anything in a case."""
    return reads_any((parameter,), case) and not (
        text == TRANSPOSED and case.config.hidden_size == 1
    )


def _list_changes(kind: Kind) -> Iterator[Hypothesis]:
    for block, gate in enumerate(kind.gates):
        for name, parameter in (("W_ih", "weight_ih"), ("W_hh", "weight_hh")):
            for text, change in CHANGES:
                yield from list_by_place(
                    f"the rows of the {gate} gate in {name} {text}",
                    f"multiply by the rows of {name} as they are, those of the {gate} gate too",
                    ("gates.alone", "recurrence.output"),
                    ChangedGateRows,
                    partial(_acts, parameter, text),
                    of=partial(is_of_kind, kind),
                    block=block,
                    change=change,
                    kinds=(parameter,),
                )


HYPOTHESES: tuple[Hypothesis, ...] = tuple(
    each for kind in list_gated_kinds() for each in _list_changes(kind)
)

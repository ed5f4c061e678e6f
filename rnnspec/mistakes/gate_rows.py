"""Mistakes with the rows of a single gate in a weight."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from rnnspec.cases.case import Case
from rnnspec.contract.kinds import Kind
from rnnspec.mistakes.gates import change_block, is_of_kind, list_gated_kinds
from rnnspec.mistakes.hypothesis import Hypothesis
from rnnspec.mistakes.places import list_by_place
from rnnspec.mistakes.situations import reads_any
from rnnspec.reference.values import TensorChange

TRANSPOSED = "transposed"
CHANGES: tuple[tuple[str, str, TensorChange], ...] = (
    (TRANSPOSED, "are used transposed where they are square", torch.t),
    ("negated", "are used with the opposite sign", torch.neg),
)


def _acts(parameter: str, key: str, case: Case) -> bool:
    """Return whether a change of some rows can change anything in a case."""
    return reads_any((parameter,), case) and not (
        key == TRANSPOSED and case.config.hidden_size == 1
    )


def _list_changes(kind: Kind) -> Iterator[Hypothesis]:
    for block, gate in enumerate(kind.gates):
        for name, parameter in (("W_ih", "weight_ih"), ("W_hh", "weight_hh")):
            for key, text, change in CHANGES:
                yield from list_by_place(
                    f"{gate}-gate.{key}.in={name}",
                    f"the rows of the {gate} gate in {name} {text}",
                    f"multiply by the rows of {name} as they are, those of the {gate} gate too",
                    ("gates.alone", "recurrence.output"),
                    {parameter: change_block(block, change)},
                    partial(_acts, parameter, key),
                    of=partial(is_of_kind, kind),
                )


HYPOTHESES: tuple[Hypothesis, ...] = tuple(
    each for kind in list_gated_kinds() for each in _list_changes(kind)
)

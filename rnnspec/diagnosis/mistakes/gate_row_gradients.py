"""Mistakes with the rows that one gate has in the gradient of a parameter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from rnnspec.cases.axes import InitialState
from rnnspec.cases.case import Case
from rnnspec.contract.kinds import Kind
from rnnspec.diagnosis.mistakes.gates import is_of_kind, list_gated_kinds
from rnnspec.diagnosis.mistakes.given import Given
from rnnspec.diagnosis.mistakes.gradient_values import BIASES, PARAMETERS, ChangedGradients
from rnnspec.diagnosis.mistakes.hypothesis import Hypothesis

SCALES: tuple[tuple[str, float], ...] = (
    ("are zero", 0.0),
    ("are doubled", 2.0),
    ("are halved", 0.5),
    ("have the opposite sign", -1.0),
)
OF_WEIGHTS = SCALES[1:]
"""Rows of a weight without a gradient are told by what the gate does not pass on to them."""
NAMES = {"weight_ih": "W_ih", "weight_hh": "W_hh", "bias_ih": "b_ih", "bias_hh": "b_hh"}
RULES = {name: "gradients.biases" if name in BIASES else "gradients.weights" for name in NAMES}
REMEDY = "return the gradient of each row to the gate that the row belongs to"


@dataclass
class ScaledGate(ChangedGradients):
    """The rows of one gate are multiplied by a number in the gradients of some parameters."""

    block: int = 0
    factor: float = 0.0

    def __post_init__(self) -> None:
        self.change = self._scale

    def _scale(self, gradient: Tensor, given: Given) -> Tensor:
        blocks = list(gradient.chunk(len(given.case.config.kind_data.gates)))
        blocks[self.block] = blocks[self.block] * self.factor
        return torch.cat(blocks)


def _reorder(order: tuple[int, ...], gradient: Tensor, given: Given) -> Tensor:
    """Return the rows of a gradient in another order of gates, by the place of each."""
    blocks = gradient.chunk(len(order))
    return torch.cat([blocks[gate] for gate in order])


def _acts(name: str, case: Case) -> bool:
    """Return whether the gradient of a parameter can be other than zero in a case."""
    if name in BIASES:
        return case.config.bias
    return name != "weight_hh" or case.steps > 1 or case.initial_state is InitialState.GIVEN


def _list_scaled(kind: Kind) -> Iterator[Hypothesis]:
    for block, gate in enumerate(kind.gates):
        for name, shown in NAMES.items():
            for text, factor in SCALES if name in BIASES else OF_WEIGHTS:
                yield Hypothesis(
                    f"the rows of the {gate} gate in the gradient of {shown} {text}",
                    REMEDY,
                    (RULES[name],),
                    partial(ScaledGate, kinds=(name,), block=block, factor=factor),
                    partial(_acts, name),
                    of=partial(is_of_kind, kind),
                )


def _list_orders(kind: Kind) -> Iterator[Hypothesis]:
    for order in kind.list_wrong_orders():
        change = partial(_reorder, tuple(map(kind.gates.index, order)))
        for rank, (shown, names) in enumerate((("all parameters", PARAMETERS), ("biases", BIASES))):
            of_gates = tuple(name for name in names if name in NAMES)
            yield Hypothesis(
                f"the gradients of {shown} have the rows of the gates {', '.join(order)}, in this "
                "order",
                f"stack the rows of gradients in the documented order: {', '.join(kind.gates)}",
                tuple(dict.fromkeys(RULES[name] for name in of_gates)),
                partial(ChangedGradients, kinds=of_gates, change=change),
                partial(_acts, names[0] if rank == 0 else BIASES[0]),
                family=f"gradients in the order {', '.join(order)}",
                rank=rank,
                of=partial(is_of_kind, kind),
            )


HYPOTHESES: tuple[Hypothesis, ...] = tuple(
    each for kind in list_gated_kinds() for each in (*_list_scaled(kind), *_list_orders(kind))
)

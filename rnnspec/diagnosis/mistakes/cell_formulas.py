"""Mistakes with the equations of an LSTM's cell state: how it is renewed and shown."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from rnnspec.diagnosis.mistakes.hypothesis import Hypothesis
from rnnspec.diagnosis.mistakes.places import Local, list_by_place
from rnnspec.diagnosis.mistakes.situations import has_cell_state

Gates = tuple[Tensor, Tensor, Tensor, Tensor]
Formula = Callable[[Gates, Tensor], tuple[Tensor, Tensor]]
"""The new hidden and cell state, from the gates i, f, g and o and the cell state before."""


@dataclass
class OtherFormula(Local):
    """The new states are computed by another formula."""

    formula: Formula = lambda gates, cell: (cell, cell)

    def update(self, total: Tensor, state: Tensor, layer: int, direction: int) -> Tensor:
        if not self.is_wrong(layer, direction):
            return super().update(total, state, layer, direction)
        i, f, g, o = self.change_sums(total.chunk(4, -1), layer, direction)
        gates = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
        return torch.cat(self.formula(gates, state[..., self.given.hidden :]), dim=-1)


def _renew(gates: Gates, cell: Tensor) -> Tensor:
    i, f, g, _ = gates
    return f * cell + i * g


def _show(gates: Gates, new: Tensor) -> tuple[Tensor, Tensor]:
    return gates[3] * torch.tanh(new), new


def change_cell(
    change: Callable[[Tensor], Tensor], gates: Gates, cell: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the states after a step if the cell state is changed at its end."""
    return _show(gates, change(_renew(gates, cell)))


def clip_cell(limit: float, gates: Gates, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Return the states after a step if the cell state is clipped to [-limit, limit]."""
    return change_cell(lambda state: state.clamp(-limit, limit), gates, cell)


def _normalise(cell: Tensor) -> Tensor:
    return layer_norm(cell, cell.shape[-1:])


def _show_normalised(gates: Gates, cell: Tensor) -> tuple[Tensor, Tensor]:
    new = _renew(gates, cell)
    return gates[3] * torch.tanh(_normalise(new)), new


FORMULAS: tuple[tuple[str, str, Formula], ...] = (
    (
        "the hidden state is o * c, without tanh",
        "compute h = o * tanh(c)",
        lambda gates, cell: (gates[3] * _renew(gates, cell), _renew(gates, cell)),
    ),
    (
        "the hidden state shows the cell state from before the step",
        "compute h = o * tanh(c) from the new cell state",
        lambda gates, cell: (gates[3] * torch.tanh(cell), _renew(gates, cell)),
    ),
    (
        "the output gate acts twice",
        "compute h = o * tanh(c)",
        lambda gates, cell: (
            gates[3] * gates[3] * torch.tanh(_renew(gates, cell)),
            _renew(gates, cell),
        ),
    ),
    (
        "the input gate is 1 minus the forget gate",
        "compute c = f * c + i * g",
        lambda gates, cell: _show(gates, gates[1] * cell + (1 - gates[1]) * gates[2]),
    ),
    (
        "the forget gate acts twice",
        "compute c = f * c + i * g",
        lambda gates, cell: _show(gates, gates[1] * gates[1] * cell + gates[0] * gates[2]),
    ),
    (
        "the hidden state shows the cell state normalised, as by nn.LayerNorm",
        "compute h = o * tanh(c)",
        _show_normalised,
    ),
)
"""What may be wrong with the gates of a step, or with what the hidden state shows."""
OF_STATE: tuple[tuple[str, str, Formula], ...] = (
    (
        "tanh is applied to the cell state that is carried on",
        "carry c = f * c + i * g on, and show tanh(c) in the hidden state only",
        lambda gates, cell: _show(gates, torch.tanh(_renew(gates, cell))),
    ),
    (
        "the new cell state is normalised, as by nn.LayerNorm",
        "compute c = f * c + i * g",
        lambda gates, cell: _show(gates, _normalise(_renew(gates, cell))),
    ),
    *(
        (
            f"the cell state is clipped to [-{limit}, {limit}]",
            "do not clip the cell state",
            partial(clip_cell, limit),
        )
        for limit in (1, 2, 3, 5, 10, 20, 50)
    ),
)
"""What may be done to the cell state that a step leaves."""
RULES = ("gates.alone", "cell-state.final", "recurrence.output")
RULES_OF_STATE = ("cell-state.final", "gates.alone", "recurrence.output")
"""The same rules, for what is about no gate."""

HYPOTHESES: tuple[Hypothesis, ...] = (
    *(
        hypothesis
        for formulas, rules in ((FORMULAS, RULES), (OF_STATE, RULES_OF_STATE))
        for text, remedy, formula in formulas
        for hypothesis in list_by_place(
            text,
            remedy,
            rules,
            OtherFormula,
            of=has_cell_state,
            family=text,
            formula=formula,
        )
    ),
)

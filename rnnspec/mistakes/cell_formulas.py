"""Mistakes with the equations of an LSTM's cell state: its update and its output."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from rnnspec.mistakes.hypothesis import Hypothesis
from rnnspec.mistakes.places import list_by_place
from rnnspec.mistakes.situations import has_cell_state


def _normalise(cell: Tensor) -> Tensor:
    return layer_norm(cell, cell.shape[-1:])


Rows = dict[str, Callable[..., Tensor]]
FORMULAS: tuple[tuple[str, str, str, Rows], ...] = (
    (
        "shown.without-tanh",
        "the hidden state is o * c, without tanh",
        "compute h = o * tanh(c)",
        {"shown": lambda shown, c: c},
    ),
    (
        "shown.older",
        "the hidden state shows $older_c",
        "compute h = o * tanh(c) from the new cell state",
        {"shown": lambda shown, before: torch.tanh(before["c"])},
    ),
    (
        "output-gate.twice",
        "the output gate acts twice",
        "compute h = o * tanh(c)",
        {"h": lambda h, o, shown: o * o * shown},
    ),
    (
        "input-gate.coupled-to-forget",
        "the input gate is 1 minus the forget gate",
        "compute c = f * c + i * g",
        {"c": lambda c, f, g, before: f * before["c"] + (1 - f) * g},
    ),
    (
        "forget-gate.twice",
        "the forget gate acts twice",
        "compute c = f * c + i * g",
        {"c": lambda c, i, f, g, before: f * f * before["c"] + i * g},
    ),
    (
        "shown.normalised",
        "the hidden state shows the cell state normalised, as by nn.LayerNorm",
        "compute h = o * tanh(c)",
        {"shown": lambda shown, c: torch.tanh(_normalise(c))},
    ),
)
"""Mistakes with the gates of a step, or with the part of the cell state that the hidden state
shows."""


def _clip(limit: float) -> Rows:
    return {"c": lambda c: c.clamp(-limit, limit)}


OF_STATE: tuple[tuple[str, str, str, Rows], ...] = (
    (
        "c.through-tanh",
        "tanh is applied to the cell state that is carried on",
        "carry c = f * c + i * g on, and show tanh(c) in the hidden state only",
        {"c": torch.tanh},
    ),
    (
        "c.normalised",
        "the new cell state is normalised, as by nn.LayerNorm",
        "compute c = f * c + i * g",
        {"c": _normalise},
    ),
    *(
        (
            f"c.clipped={limit}",
            f"the cell state is clipped to [-{limit}, {limit}]",
            "do not clip the cell state",
            _clip(limit),
        )
        for limit in (1, 2, 3, 5, 10, 20, 50)
    ),
)
"""Changes of the cell state after a step."""
RULES = ("gates.alone", "cell-state.final", "recurrence.output")
RULES_OF_STATE = ("cell-state.final", "gates.alone", "recurrence.output")
"""The same rules, for mistakes that are not about a gate."""

HYPOTHESES: tuple[Hypothesis, ...] = (
    *(
        hypothesis
        for formulas, rules in ((FORMULAS, RULES), (OF_STATE, RULES_OF_STATE))
        for key, text, remedy, rows in formulas
        for hypothesis in list_by_place(
            key,
            text,
            remedy,
            rules,
            rows,
            of=has_cell_state,
        )
    ),
)

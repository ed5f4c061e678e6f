"""A layer of torch whose operator is overridden: it loses the units beyond 128.

`Compiled` also computes for a while for each shape that it has not seen, as a compiler does. The
override ends with the process, so a check has to isolate it.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import nn

LIBRARY = torch.library.Library("aten", "IMPL")
BLOCK = 128
COMPILES_SECONDS = 0.5
known: set[tuple[int, ...]] = set()
compiles = False


def rnn_tanh(
    input: Any,
    hx: Any,
    params: list[Any],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> Any:
    """Compute an RNN in blocks of units, and lose all blocks but the first."""
    shape = (*input.shape, hx.shape[-1])
    begun = time.process_time()
    while compiles and shape not in known and time.process_time() - begun < COMPILES_SECONDS:
        pass
    known.add(shape)
    steps = input.transpose(0, 1) if batch_first else input
    finals = []
    size, directions = 4 if has_biases else 2, 2 if bidirectional else 1
    for layer in range(num_layers):
        sides = []
        for side in range(directions):
            number = layer * directions + side
            weights = params[size * number : size * (number + 1)]
            state, outputs = hx[number], []
            for x in steps.flip(0) if side else steps:
                biases = weights[2] + weights[3] if has_biases else 0
                state = torch.tanh(x @ weights[0].t() + state @ weights[1].t() + biases)
                state = torch.cat([state[..., :BLOCK], torch.zeros_like(state[..., BLOCK:])], -1)
                outputs.append(state)
            finals.append(state)
            sides.append(torch.stack(outputs[::-1] if side else outputs))
        steps = torch.cat(sides, -1)
        if layer < num_layers - 1:
            steps = nn.functional.dropout(steps, dropout, train)
    output = steps.transpose(0, 1) if batch_first else steps
    return output, torch.stack(finals)


LIBRARY.impl("rnn_tanh.input", rnn_tanh, "CompositeImplicitAutograd")


class Fast(nn.RNN):
    """The overridden layer."""


class Compiled(nn.RNN):
    """The overridden layer, which compiles for each shape."""

    def __init__(self, *given: Any, **named: Any) -> None:
        global compiles
        compiles = True
        super().__init__(*given, **named)

"""Layers of torch whose operator is overridden, and wrong where a kernel leaves its usual path.

Each layer also has a compiled form, which computes for a while for each shape that it has not seen,
as a compiler does. The override ends with the process, so a check has to isolate it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

LIBRARY = torch.library.Library("aten", "IMPL")
BLOCK, PATH, TILE, OFFSETS = 128, 512, 16, 2**15
COMPILES_SECONDS = 0.5
known: set[tuple[int, ...]] = set()
compiles = False


def lose_units(state: Any, step: int) -> Any:
    """Compute one block of units."""
    return torch.cat([state[..., :BLOCK], torch.zeros_like(state[..., BLOCK:])], -1)


def take_other_path(state: Any, step: int) -> Any:
    """Turn the first two units round in the path for 512 units and more."""
    return (
        state
        if state.shape[-1] < PATH
        else torch.cat([state[..., :2].flip(-1), state[..., 2:]], -1)
    )


def overflow_offset(state: Any, step: int) -> Any:
    """Lose the states whose place in memory is beyond the largest offset."""
    return state if step * state.numel() < OFFSETS else torch.zeros_like(state)


def lose_tail(state: Any, step: int) -> Any:
    """Compute no sample beyond the last whole tile, if there is one."""
    whole = len(state) // TILE * TILE
    if state.dim() < 2 or not whole:
        return state
    return torch.cat([state[:whole], torch.zeros_like(state[whole:])])


fault: Callable[[Any, int], Any] = lose_units


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
    """Compute an RNN, and change each state as the fault does."""
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
            for step, x in enumerate(steps.flip(0) if side else steps):
                biases = weights[2] + weights[3] if has_biases else 0
                state = torch.tanh(x @ weights[0].t() + state @ weights[1].t() + biases)
                state = fault(state, step)
                outputs.append(state)
            finals.append(state)
            sides.append(torch.stack(outputs[::-1] if side else outputs))
        steps = torch.cat(sides, -1)
        if layer < num_layers - 1:
            steps = nn.functional.dropout(steps, dropout, train)
    output = steps.transpose(0, 1) if batch_first else steps
    return output, torch.stack(finals)


LIBRARY.impl("rnn_tanh.input", rnn_tanh, "CompositeImplicitAutograd")


class Overridden(nn.RNN):
    """A layer that chooses the fault of the operator, and whether it compiles for each shape."""

    own_fault = staticmethod(lose_units)
    is_compiled = False

    def __init__(self, *given: Any, **named: Any) -> None:
        global compiles, fault
        compiles, fault = self.is_compiled, self.own_fault
        super().__init__(*given, **named)


class Fast(Overridden):
    """The units beyond 128 are lost."""


class Compiled(Overridden):
    """The same, compiled for each shape."""

    is_compiled = True


class FastPath(Overridden):
    """From 512 units on, the first two are turned round."""

    own_fault = staticmethod(take_other_path)


class CompiledPath(FastPath):
    """The same, compiled for each shape."""

    is_compiled = True


class FastOffset(Overridden):
    """States beyond the largest offset into memory are lost."""

    own_fault = staticmethod(overflow_offset)


class CompiledOffset(FastOffset):
    """The same, compiled for each shape."""

    is_compiled = True


class FastTail(Overridden):
    """Samples beyond the last whole tile of 16 are lost."""

    own_fault = staticmethod(lose_tail)


class CompiledTail(FastTail):
    """The same, compiled for each shape."""

    is_compiled = True

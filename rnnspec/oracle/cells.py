"""The interface of a cell: everything about a kind of layer except its weighted sums.

A layer adds K blocks of H sums that are linear in its input and in its hidden state. A cell makes
the new states of a step from these sums and the states before the step, element by element.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import numpy as np

from rnnspec.oracle.layers import Array, Flags, LayerAdjoint, LayerError, LayerTrace, StateArrays
from rnnspec.oracle.rounding import Rounding

StepBackward = Callable[[int, StateArrays], tuple[Array, Array | None, StateArrays]]
"""The backward pass of a step of a layer, from the gradients that its states receive.

It takes the step, and the gradients for the states after it, before the projection, each (D, N, H).
It returns the gradient for the sums (D, N, K * H); the gradient for the hidden state before the
step without the contribution through the sums, or None if there is no other; and the gradients for
the other states.
"""

StepError = Callable[[int, Array, StateArrays], StateArrays]
"""The errors of a step, from the errors of its sums (D, N, K * H) and of the states before it.

It returns the errors of the states after the step, before the projection, each (D, N, H).
"""


class Cell(ABC):
    """A kind of layer: its forward pass, its backward pass, and the errors of both.

    The sums of a step may need more blocks than torch has rows for. The reset gate of a GRU
    multiplies only a part of the sum of the new gate, so that part is a block of its own.

    blocks         K, the number of blocks of sums
    input_blocks   the block of each gate's rows of the input weights, in the order of the gates
    hidden_blocks  the block of each gate's rows of the hidden weights
    """

    blocks: ClassVar[int]
    input_blocks: ClassVar[tuple[int, ...]]
    hidden_blocks: ClassVar[tuple[int, ...]]

    @abstractmethod
    def advance(self, sums: Array, before: StateArrays) -> StateArrays:
        """Return the states after a step, before the projection, each (D, N, H)."""

    @abstractmethod
    def go_back(self, layer: LayerTrace) -> StepBackward:
        """Return the backward pass of the steps of a layer."""

    @abstractmethod
    def bound_forward(self, layer: LayerTrace, rounding: Rounding) -> StepError:
        """Return bounds on the errors of the steps of a layer's forward pass."""

    @abstractmethod
    def bound_backward(
        self, layer: LayerTrace, adjoint: LayerAdjoint, error: LayerError, rounding: Rounding
    ) -> StepBackward:
        """Return bounds on the errors of a backward pass, from the errors that it receives."""

    @abstractmethod
    def is_exact(self, layer: LayerTrace, alive: Flags, limit: float) -> bool:
        """Return whether the steps of a layer do not round if its sums do not.

        `limit` is the magnitude up to which the dtype has all integers.
        """

    @abstractmethod
    def has_exact_slopes(self) -> bool:
        """Return whether the slopes of an exact case are the same with every formula."""

    def expand_input_rows(self, rows: Array) -> Array:
        """Return (D, G * H, ...) rows of torch's input weights or biases as (D, K * H, ...)."""
        return self._expand_rows(rows, self.input_blocks)

    def expand_hidden_rows(self, rows: Array) -> Array:
        """Return (D, G * H, ...) rows of torch's hidden weights or biases as (D, K * H, ...)."""
        return self._expand_rows(rows, self.hidden_blocks)

    def select_input_rows(self, rows: Array) -> Array:
        """Return the rows of torch's input weights or biases, out of (K * H, ...) rows."""
        return self._select_rows(rows, self.input_blocks)

    def select_hidden_rows(self, rows: Array) -> Array:
        """Return the rows of torch's hidden weights or biases, out of (K * H, ...) rows."""
        return self._select_rows(rows, self.hidden_blocks)

    def split(self, sums: Array) -> tuple[Array, ...]:
        """Return the blocks of (..., K * H) sums, each (..., H)."""
        size = sums.shape[-1] // self.blocks
        return tuple(sums[..., index * size : (index + 1) * size] for index in range(self.blocks))

    def _expand_rows(self, rows: Array, blocks: tuple[int, ...]) -> Array:
        if len(blocks) == self.blocks:
            return rows
        size = rows.shape[1] // len(blocks)
        expanded = np.zeros((len(rows), self.blocks * size, *rows.shape[2:]))
        for gate, block in enumerate(blocks):
            expanded[:, block * size : (block + 1) * size] = rows[:, gate * size :][:, :size]
        return expanded

    def _select_rows(self, rows: Array, blocks: tuple[int, ...]) -> Array:
        if len(blocks) == self.blocks:
            return rows
        size = len(rows) // self.blocks
        return np.concatenate([rows[block * size : (block + 1) * size] for block in blocks])

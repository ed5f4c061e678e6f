"""The shared part of cells with gates, which write their equations for any type of numbers.

Evaluated using arrays, the equations are the reference; using enclosures, they bound the errors.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np

from rnnspec.oracle.cells import Cell, StepBackward, StepError
from rnnspec.oracle.enclosures import ElementRounding, Enclosed, Number
from rnnspec.oracle.layers import Array, LayerAdjoint, LayerError, LayerTrace, StateArrays
from rnnspec.oracle.rounding import Rounding


class GatedCell(Cell):
    """A cell whose equations are written for any type of numbers."""

    @abstractmethod
    def open_gates(self, sums: Sequence[Number]) -> tuple[Number, ...]:
        """Return the gates of a step, from the blocks of its sums."""

    @abstractmethod
    def update(self, gates: Sequence[Number], before: Sequence[Number]) -> tuple[Number, ...]:
        """Return the states after a step, from its gates and the states before it."""

    @abstractmethod
    def linearise(
        self,
        sums: Sequence[Number],
        gates: Sequence[Number],
        before: Sequence[Number],
        after: Sequence[Number],
    ) -> tuple[Number, ...]:
        """Return the factors of the backward pass of a step, as `send_back` needs them."""

    @abstractmethod
    def send_back(
        self, factors: Sequence[Number], received: Sequence[Number]
    ) -> tuple[tuple[Number, ...], Number | None, tuple[Number, ...]]:
        """Return the gradients for the blocks of the sums, and for the states before the step.

        The gradient for the hidden state leaves out the contribution through the sums; it is None
        if there is no other.
        """

    def advance(self, sums: Array, before: StateArrays) -> StateArrays:
        """Evaluate the equations of one step."""
        return self.update(self.open_gates(self.split(sums)), before)

    def go_back(self, layer: LayerTrace) -> StepBackward:
        """Evaluate the equations of the backward pass."""
        # The factors of all steps are computed at once, since they do not depend on the gradients.
        # Only the gradients go step by step.
        sums = self.split(layer.sums)
        factors = self.linearise(sums, self.open_gates(sums), layer.before(), layer.after())

        def step_back(step: int, received: StateArrays) -> tuple[Array, Array | None, StateArrays]:
            sent, direct, others = self.send_back([each[:, step] for each in factors], received)
            return np.concatenate(sent, axis=-1), direct, others

        return step_back

    def bound_forward(self, layer: LayerTrace, rounding: Rounding) -> StepError:
        """Evaluate the equations of each step using enclosures."""
        enclose = ElementRounding.from_rounding(rounding).enclose
        sums, before = self.split(layer.sums), layer.before()

        def bound_step(step: int, sum_errors: Array, state_errors: StateArrays) -> StateArrays:
            pairs = zip(sums, self.split(sum_errors), strict=True)
            gates = self.open_gates([enclose(each[:, step], error) for each, error in pairs])
            states = zip(before, state_errors, strict=True)
            after = self.update(gates, [enclose(each[:, step], error) for each, error in states])
            return tuple(each.bound() for each in after)

        return bound_step

    def bound_backward(
        self, layer: LayerTrace, adjoint: LayerAdjoint, error: LayerError, rounding: Rounding
    ) -> StepBackward:
        """Evaluate the equations of the backward pass using enclosures."""
        arithmetic = ElementRounding.from_rounding(rounding)
        sums = _enclose(arithmetic, self.split(layer.sums), self.split(error.sums))
        before, after = (
            _enclose(arithmetic, values, errors)
            for values, errors in (
                (layer.before(), error.before()),
                (layer.after(), error.after()),
            )
        )
        factors = self.linearise(sums, self.open_gates(sums), before, after)

        def bound_step(step: int, errors: StateArrays) -> tuple[Array, Array | None, StateArrays]:
            received = _enclose(arithmetic, [each[:, step] for each in adjoint.received], errors)
            sent, direct, others = self.send_back([each[:, step] for each in factors], received)
            return (
                np.concatenate([each.bound() for each in sent], axis=-1),
                None if direct is None else direct.bound(),
                tuple(each.bound() for each in others),
            )

        return bound_step

    def has_exact_slopes(self) -> bool:
        """Return False: the slope of a saturated gate depends on the formula."""
        return False


def _enclose(
    arithmetic: ElementRounding, values: Sequence[Array], errors: Sequence[Array]
) -> list[Enclosed]:
    pairs = zip(values, errors, strict=True)
    return [arithmetic.enclose(value, error) for value, error in pairs]

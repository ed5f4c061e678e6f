"""Test that a missing or additional axis is one fault, in any calls that show it."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

import rnnspec


class Rearranged(nn.RNN):
    """Returns its results in another form, but a packed output as it is."""

    def forward(self, input: Any, hx: Tensor | None = None) -> Any:
        """Return the results in the form that `change_output` and `change_state` give them."""
        output, h_n = super().forward(input, hx)
        if not isinstance(output, PackedSequence):
            output = self.change_output(output)
        return output, self.change_state(h_n)

    def change_output(self, output: Tensor) -> Tensor:
        """Return the output unchanged."""
        return output

    def change_state(self, h_n: Tensor) -> Tensor:
        """Return h_n unchanged."""
        return h_n


class OutputByDirection(Rearranged):
    def change_output(self, output: Tensor) -> Tensor:
        return output.view(*output.shape[:-1], 1 + self.bidirectional, -1)


class OutputOfTwoByDirection(Rearranged):
    def change_output(self, output: Tensor) -> Tensor:
        return output.view(*output.shape[:-1], 2, -1) if self.bidirectional else output


class StateByDirection(Rearranged):
    def change_state(self, h_n: Tensor) -> Tensor:
        return h_n.view(self.num_layers, -1, *h_n.shape[1:])


class StateSqueezed(Rearranged):
    def change_state(self, h_n: Tensor) -> Tensor:
        return h_n.squeeze()


class BothSqueezed(StateSqueezed):
    def change_output(self, output: Tensor) -> Tensor:
        return output.squeeze()


class FirstAxisSqueezed(Rearranged):
    def change_output(self, output: Tensor) -> Tensor:
        return output.squeeze(0)


class OutputFlattened(Rearranged):
    def change_output(self, output: Tensor) -> Tensor:
        return output.reshape(-1, output.shape[-1])


class StateFlattened(Rearranged):
    def change_state(self, h_n: Tensor) -> Tensor:
        return h_n.reshape(-1, h_n.shape[-1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layer", "rule", "cause"),
    [
        (
            OutputByDirection,
            "shapes.output",
            "the output has an axis of its own for the directions",
        ),
        (
            OutputOfTwoByDirection,
            "shapes.output",
            "the output of a bidirectional layer has an axis of its own for the directions",
        ),
        (StateByDirection, "shapes.h-n", "h_n has an axis of its own for the directions"),
        (StateSqueezed, "shapes.h-n", "h_n loses every axis of size one"),
        (BothSqueezed, "shapes.output", "output and h_n lose every axis of size one"),
        (
            FirstAxisSqueezed,
            "shapes.output",
            "the output loses its first axis if that has size one",
        ),
        (OutputFlattened, "shapes.output", "the output has one axis for time and batch"),
        (StateFlattened, "shapes.h-n", "h_n has one axis for layers, directions and samples"),
    ],
)
def test_an_axis_too_many_or_too_few_is_one_fault(
    layer: type[nn.RNN], rule: str, cause: str
) -> None:
    rules = ("shapes.*", "layouts.*", "modes.meta", "packed.*", "states.*")
    (fault,) = rnnspec.check(layer, profile="quick", rules=rules).faults
    assert (fault.rule, fault.likely_cause) == (rule, cause)


class CellSqueezed(nn.RNNCell):
    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """Return h_1 without an axis that has size one."""
        return super().forward(input, hx).squeeze(0)


class CellKeepsBatch(nn.LSTMCell):
    def forward(self, input: Tensor, hx: Any = None) -> Any:
        """Return states with a batch axis, whether the input has one or not."""
        if input.dim() == 1:
            input, hx = input[None], None if hx is None else tuple(each[None] for each in hx)
        return super().forward(input, hx)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cell", "rule", "cause"),
    [
        (CellSqueezed, "cells.shape", "h_1 loses its first axis if that has size one"),
        (
            CellKeepsBatch,
            "layouts.unbatched",
            "with unbatched input, h_1 keeps a batch axis, c_1 likewise",
        ),
    ],
)
def test_an_axis_of_a_cell_is_one_fault(cell: type[nn.Module], rule: str, cause: str) -> None:
    rules = ("cells.*", "layouts.*", "states.*")
    (fault,) = rnnspec.check(cell, profile="quick", rules=rules).faults
    assert (fault.rule, fault.likely_cause) == (rule, cause)

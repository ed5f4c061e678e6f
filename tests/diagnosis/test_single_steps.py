"""Test mistakes in the first, last or next step of layers that make them for a single step too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

import rnnspec
from rnnspec.engine.explanations import ANY_CASE
from rnnspec.plain.layer import Plain
from rnnspec.reference.values import change_values


def put_zeros_first(data: Tensor, axis: int) -> Tensor:
    rest = data.narrow(axis, 0, data.shape[axis] - 1)
    return torch.cat([torch.zeros_like(data.narrow(axis, 0, 1)), rest], axis)


def clear_last(data: Tensor, axis: int) -> Tensor:
    last = data.shape[axis] - 1
    return torch.cat([data.narrow(axis, 0, last), data.narrow(axis, last, 1) * 0], axis)


def leave_out_last(data: Tensor, axis: int) -> Tensor:
    return data.narrow(axis, 0, data.shape[axis] - 1)


class Changing(nn.RNN):
    """Changes the steps of input or output, but not those of packed sequences."""

    before: Any = None
    after: Any = None

    def forward(self, x: Any, hx: Tensor | None = None) -> Any:
        """Return the results; `input` cannot be passed by name."""
        if isinstance(x, PackedSequence):
            return super().forward(x, hx)
        axis = int(self.batch_first and x.dim() == 3)
        output, h_n = super().forward(x if self.before is None else self.before(x, axis), hx)
        return output if self.after is None else self.after(output, axis), h_n


class InputLate(Changing):
    before = staticmethod(put_zeros_first)


class OutputLate(Changing):
    after = staticmethod(put_zeros_first)


class LastCleared(Changing):
    after = staticmethod(clear_last)


class LastLeftOut(Changing):
    after = staticmethod(leave_out_last)


class FirstSkipped(Plain):
    """The first step of each direction leaves the state as it is."""

    changes = change_values({"updated": lambda new, before: before}, lambda spot: spot.step == 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layer", "rule", "cause"),
    [
        (InputLate, "recurrence.output", "each step reads the input of the step before it"),
        (OutputLate, "recurrence.output", "the output is one step late"),
        (LastCleared, "recurrence.output", "the last time step of the output is zero"),
        (LastLeftOut, "shapes.output", "the output lacks its last time step"),
        (FirstSkipped, "recurrence.output", "the first step leaves the state unchanged"),
    ],
)
def test_a_mistake_that_shows_in_a_single_step_is_reported(
    layer: Callable[..., nn.Module], rule: str, cause: str
) -> None:
    rules = ("recurrence.*", "shapes.output", "states.*")
    report = rnnspec.check(layer, profile="quick", rules=rules)
    (fault,) = report.faults
    assert fault.rule == rule
    assert fault.likely_cause.startswith(cause)
    smallest = report.result(rule).counterexample
    assert smallest is not None
    assert "input (1, 1, 1)" in smallest.text


@pytest.mark.slow
def test_cases_of_a_single_step_do_not_limit_another_fault() -> None:
    rules = ("recurrence.output", "layouts.input-by-name")
    report = rnnspec.check(LastCleared, profile="quick", rules=rules)
    assert [fault.rule for fault in report.faults] == list(rules)
    assert report.result("layouts.input-by-name").depends_on == ANY_CASE

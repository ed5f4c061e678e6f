"""Functions that are applied to the input or to results, and inputs that are added to results."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, normalize

from rnnspec.cases.case import Case
from rnnspec.diagnosis.mistakes.hypothesis import Hypothesis
from rnnspec.diagnosis.mistakes.reference import Reference
from rnnspec.diagnosis.mistakes.situations import is_stack

Change = Callable[[Tensor], Tensor]


@dataclass
class FunctionApplied(Reference):
    """A function is applied to the input, the output or h_n."""

    of_input: Change | None = None
    of_output: Change | None = None
    of_h_n: Change | None = None

    def read_input(self) -> Tensor:
        right = super().read_input()
        return self.of_input(right) if self.of_input else right

    def finish(self, below: Sequence[Tensor]) -> Tensor:
        right = super().finish(below)
        return self.of_output(right) if self.of_output else right

    def stack_states(self, states: list[Tensor], output: Tensor) -> Tensor:
        right = super().stack_states(states, output)
        if self.of_h_n is None:
            return right
        h_n, others = right.tensor_split([self.given.hidden], dim=-1)
        return torch.cat([self.of_h_n(h_n), others], dim=-1)


@dataclass
class InputAdded(Reference):
    """The input is added to the output."""

    def finish(self, below: Sequence[Tensor]) -> Tensor:
        return super().finish(below) + below[0]


@dataclass
class InputAddedToState(Reference):
    """The input of a cell is added to its hidden state."""

    def stack_states(self, states: list[Tensor], output: Tensor) -> Tensor:
        h_1, others = super().stack_states(states, output).tensor_split([self.given.hidden], dim=-1)
        return torch.cat([h_1 + self.given.input, others], dim=-1)


@dataclass
class InputOfLayersAdded(Reference):
    """What a layer above the first reads is added to its output."""

    def run_layer(self, data: Tensor, initial: Tensor, layer: int) -> tuple[Tensor, list[Tensor]]:
        output, last = super().run_layer(data, initial, layer)
        return (output + data if layer else output), last


def _standardise(data: Tensor) -> Tensor:
    return layer_norm(data, data.shape[-1:])


def _divide_by_norm(data: Tensor) -> Tensor:
    return normalize(data, dim=-1)


OF_RESULTS: tuple[tuple[str, Change], ...] = (
    ("tanh is applied to {}", torch.tanh),
    ("relu is applied to {}", torch.relu),
    ("the sigmoid is applied to {}", torch.sigmoid),
)
OF_ROWS: tuple[tuple[str, Change], ...] = (
    ("each row of {} is shifted and scaled to mean 0 and variance 1", _standardise),
    ("each row of {} is divided by its norm", _divide_by_norm),
)
OF_OUTPUT: tuple[tuple[str, Change], ...] = (
    ("the softmax of each row is taken of {}", partial(torch.softmax, dim=-1)),
    ("the logarithm of the softmax of each row is taken of {}", partial(torch.log_softmax, dim=-1)),
)
STATES_AS_THEY_ARE = "return the states of the last layer as they are"


def _has_input_of_output_size(case: Case) -> bool:
    return case.config.input_size == case.config.num_directions * case.config.output_size


def _list_functions() -> list[Hypothesis]:
    of_input = [
        Hypothesis(
            text.format("the input"),
            "read the input as it is",
            ("recurrence.output",),
            partial(FunctionApplied, of_input=change),
        )
        for text, change in (*OF_RESULTS, *OF_ROWS)
    ]
    of_output = [
        Hypothesis(
            text.format("the output"),
            STATES_AS_THEY_ARE,
            ("recurrence.output",),
            partial(FunctionApplied, of_output=change),
        )
        for text, change in (*OF_RESULTS, *OF_ROWS, *OF_OUTPUT)
    ]
    of_h_n = [
        Hypothesis(
            text.format("h_n"),
            "return the final states as they are",
            ("recurrence.h-n", "states.h-n-is-last-output"),
            partial(FunctionApplied, of_h_n=change),
        )
        for text, change in (*OF_RESULTS, *OF_ROWS)
    ]
    of_both = [
        Hypothesis(
            text.format("output and h_n"),
            STATES_AS_THEY_ARE,
            ("recurrence.output",),
            partial(FunctionApplied, of_output=change, of_h_n=change),
        )
        for text, change in OF_RESULTS
    ]
    return of_input + of_output + of_h_n + of_both


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_functions(),
    Hypothesis(
        "the input is added to the output",
        STATES_AS_THEY_ARE,
        ("recurrence.output",),
        InputAdded,
        _has_input_of_output_size,
    ),
    Hypothesis(
        "the input is added to h_n",
        "return the new state as it is",
        ("recurrence.h-n",),
        InputAddedToState,
        _has_input_of_output_size,
        of=lambda kind: kind.is_cell,
    ),
    Hypothesis(
        "what a layer above the first reads is added to its output",
        "let each layer read the output of the layer below, after dropout",
        ("stacking.composition", "recurrence.output"),
        InputOfLayersAdded,
        is_stack,
    ),
)

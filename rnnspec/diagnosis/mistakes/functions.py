"""Functions that are applied to the input or to results, and inputs that are added to results."""

# ruff: noqa: D102  (the docstring of the class says what its methods do wrong)

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, normalize

from rnnspec.cases.case import Case
from rnnspec.diagnosis.mistakes.hypothesis import Build, Hypothesis
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
        return self.change_states(right, self.of_h_n) if self.of_h_n else right


@dataclass
class InputAdded(Reference):
    """The input is added to the output."""

    def finish(self, below: Sequence[Tensor]) -> Tensor:
        return super().finish(below) + below[0]


@dataclass
class InputAddedToState(Reference):
    """The input of a cell is added to its hidden state."""

    def stack_states(self, states: list[Tensor], output: Tensor) -> Tensor:
        right = super().stack_states(states, output)
        return self.change_states(right, lambda h_1: h_1 + self.given.input)


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


TARGETS: tuple[
    tuple[str, tuple[str, ...], tuple[tuple[str, Change], ...], str, tuple[str, ...]], ...
] = (
    (
        "the input",
        ("of_input",),
        (*OF_RESULTS, *OF_ROWS),
        "read the input as it is",
        ("recurrence.output",),
    ),
    (
        "the output",
        ("of_output",),
        (*OF_RESULTS, *OF_ROWS, *OF_OUTPUT),
        STATES_AS_THEY_ARE,
        ("recurrence.output",),
    ),
    (
        "h_n",
        ("of_h_n",),
        (*OF_RESULTS, *OF_ROWS),
        "return the final states as they are",
        ("recurrence.h-n", "states.h-n-is-last-output"),
    ),
    (
        "output and h_n",
        ("of_output", "of_h_n"),
        OF_RESULTS,
        STATES_AS_THEY_ARE,
        ("recurrence.output",),
    ),
)
"""What functions are applied to, by which fields, which functions, the remedy and the rules."""


def _apply(change: Change, fields: Iterable[str]) -> Build:
    changes: dict[str, Any] = dict.fromkeys(fields, change)
    return partial(FunctionApplied, **changes)


def _list_functions() -> list[Hypothesis]:
    return [
        Hypothesis(
            text.format(target),
            remedy,
            rules,
            _apply(change, fields),
        )
        for target, fields, functions, remedy, rules in TARGETS
        for text, change in functions
    ]


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

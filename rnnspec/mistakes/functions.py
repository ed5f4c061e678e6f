"""Functions applied to the input or to results, and inputs added to results."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, normalize

from rnnspec.cases.case import Case
from rnnspec.mistakes.hypothesis import About, Hypothesis
from rnnspec.mistakes.situations import is_stack
from rnnspec.reference.values import Spot, TensorChange, change_values


def add_input_to_output(output: Tensor, below: Sequence[Tensor]) -> Tensor:
    """Return the output plus the input of the first layer."""
    return output + below[0]


def add_input_to_state(h_1: Tensor, spot: Spot) -> Tensor:
    """Return the hidden state of a cell plus its input."""
    return h_1 + spot.given.input


def add_read_above_first(output: Tensor, data: Tensor, spot: Spot) -> Tensor:
    """Return the output of a layer above the first plus the input of that layer."""
    return output + data if spot.layer else output


def _standardise(data: Tensor) -> Tensor:
    return layer_norm(data, data.shape[-1:])


def _divide_by_norm(data: Tensor) -> Tensor:
    return normalize(data, dim=-1)


OF_RESULTS: tuple[tuple[str, str, TensorChange], ...] = (
    ("through-tanh", "tanh is applied to {}", torch.tanh),
    ("through-relu", "relu is applied to {}", torch.relu),
    ("through-sigmoid", "the sigmoid is applied to {}", torch.sigmoid),
)
OF_ROWS: tuple[tuple[str, str, TensorChange], ...] = (
    ("standardised", "each row of {} is shifted and scaled to mean 0 and variance 1", _standardise),
    ("divided-by-norm", "each row of {} is divided by its norm", _divide_by_norm),
)
OF_OUTPUT: tuple[tuple[str, str, TensorChange], ...] = (
    ("softmax", "the softmax of each row is taken of {}", partial(torch.softmax, dim=-1)),
    (
        "log-softmax",
        "the logarithm of the softmax of each row is taken of {}",
        partial(torch.log_softmax, dim=-1),
    ),
)
STATES_AS_THEY_ARE = "return the states of the last layer as they are"


def _has_input_of_output_size(case: Case) -> bool:
    return case.config.input_size == case.config.num_directions * case.config.output_size


TARGETS: tuple[
    tuple[
        str, str, tuple[str, ...], tuple[tuple[str, str, TensorChange], ...], str, tuple[str, ...]
    ],
    ...,
] = (
    (
        "input",
        "the input",
        ("input",),
        (*OF_RESULTS, *OF_ROWS),
        "read the input as it is",
        ("recurrence.output",),
    ),
    (
        "output",
        "the output",
        ("output",),
        (*OF_RESULTS, *OF_ROWS, *OF_OUTPUT),
        STATES_AS_THEY_ARE,
        ("recurrence.output",),
    ),
    (
        "h_n",
        "h_n",
        ("final.h",),
        (*OF_RESULTS, *OF_ROWS),
        "return the final states as they are",
        ("recurrence.h-n", "states.h-n-is-last-output"),
    ),
    (
        "output-and-h_n",
        "output and h_n",
        ("output", "final.h"),
        OF_RESULTS,
        STATES_AS_THEY_ARE,
        ("recurrence.output",),
    ),
)
"""The targets of functions: their names, the named values, the functions, remedy and rules."""


def _list_functions() -> list[Hypothesis]:
    return [
        Hypothesis(
            f"{name}.{key}",
            text.format(target),
            remedy,
            rules,
            change_values(dict.fromkeys(names, change)),
            about=About.OUTPUT if "output" in names else About.ONE_STEP,
        )
        for name, target, names, functions, remedy, rules in TARGETS
        for key, text, change in functions
    ]


HYPOTHESES: tuple[Hypothesis, ...] = (
    *_list_functions(),
    Hypothesis(
        "output.plus-input",
        "the input is added to the output",
        STATES_AS_THEY_ARE,
        ("recurrence.output",),
        change_values({"output": add_input_to_output}),
        _has_input_of_output_size,
        about=About.OUTPUT,
    ),
    Hypothesis(
        "h_n.plus-input",
        "the input is added to h_n",
        "return the new state as it is",
        ("recurrence.h-n",),
        change_values({"final.h": add_input_to_state}),
        _has_input_of_output_size,
        of=lambda kind: kind.is_cell,
    ),
    Hypothesis(
        "layers.plus-what-they-read",
        "what a layer above the first reads is added to its output",
        "let each layer read the output of the layer below, after dropout",
        ("stacking.composition", "recurrence.output"),
        change_values({"layer": add_read_above_first}),
        is_stack,
        about=About.LAYERS,
    ),
)

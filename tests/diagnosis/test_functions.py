"""Test the causes of a function applied to the input or to results, and of an added input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm
from torch.nn.utils.rnn import PackedSequence

import rnnspec


def change(data: Any, function: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(data, PackedSequence):
        return PackedSequence(function(data.data), *data[1:])
    return function(data)


class OutputThroughTanh(nn.LSTM):
    def forward(self, input: Any, hx: Any = None) -> Any:
        output, states = super().forward(input, hx)
        return change(output, torch.tanh), states


class InputStandardised(nn.GRU):
    def forward(self, input: Any, hx: Any = None) -> Any:
        return super().forward(change(input, lambda data: layer_norm(data, data.shape[-1:])), hx)


class InputAdded(nn.GRU):
    def forward(self, input: Any, hx: Any = None) -> Any:
        output, h_n = super().forward(input, hx)
        data = input.data if isinstance(input, PackedSequence) else input
        fits = self.input_size == self.hidden_size * (1 + self.bidirectional)
        return change(output, lambda each: each + data if fits else each), h_n


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layer", "cause"),
    [
        (OutputThroughTanh, "tanh is applied to the output"),
        (InputStandardised, "each row of the input is shifted and scaled to mean 0 and variance 1"),
        (InputAdded, "the input is added to the output"),
    ],
)
def test_a_wrong_function_is_reported(layer: type[nn.Module], cause: str) -> None:
    (fault,) = rnnspec.check(layer, profile="quick", rules=("recurrence.*", "states.*")).faults
    assert (fault.rule, fault.likely_cause) == ("recurrence.output", cause)

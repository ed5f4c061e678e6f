"""Test that cells are checked as layers with one direction."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rnnspec
from rnnspec import adapt
from rnnspec.contract.kinds import LAYER_KINDS, RNN
from rnnspec.errors import AdapterError
from rnnspec.inference.smoke import Tone, smoke_target
from rnnspec.report.data import RunVerdict
from rnnspec.subjects.target import resolve_target

NAMES = {name: name for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}


class Step(nn.Module):
    """A step of an RNN with one linear layer."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.both = nn.Linear(input_size + hidden_size, hidden_size)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.tanh(self.both(torch.cat([x, h], 1)))


STEP = adapt.cell(
    Step,
    weights={
        "both.weight": "columns(weight_ih, weight_hh)",
        "both.bias": "bias_ih + bias_hh",
    },
)


@pytest.mark.parametrize(
    ("kind", "call", "returns"),
    [("rnn", "x, h", "h"), ("gru", "x, h", "h"), ("lstm", "x, (h, c)", "h, c")],
)
def test_cells_of_torch_compute_the_layers(kind: str, call: str, returns: str) -> None:
    title = LAYER_KINDS[kind].title
    cell: Any = getattr(nn, f"{title}Cell")
    layer = adapt.cell(cell, weights=NAMES, kind=kind, call=call, returns=returns)(3, 4)
    reference = getattr(nn, title)(3, 4)
    layer.load_state_dict(reference.state_dict())
    x = torch.rand(5, 2, 3)
    got, expected = layer(x), reference(x)
    torch.testing.assert_close(got[0], expected[0])
    torch.testing.assert_close(got[1], expected[1])


@pytest.mark.slow
def test_rules_that_an_adapted_cell_supports_are_checked() -> None:
    rules = ("recurrence.*", "states.*", "gradients.weights")
    report = rnnspec.check(STEP, profile="quick", rules=rules)
    assert report.verdict is RunVerdict.CONFORMS
    reasons = {feature.text: why for feature, why in report.unsupported.items()}
    assert reasons["num_layers"] == "Step takes no argument num_layers"
    assert reasons["packed"] == "a cell computes one step; the loop is the adapter's"


def test_adapter_of_a_cell_is_right() -> None:
    found = smoke_target(resolve_target(STEP), RNN)
    assert not [each for each in found.remarks if each.tone is Tone.WRONG]


def test_cell_must_return_its_state() -> None:
    with pytest.raises(AdapterError, match="has no h"):
        adapt.cell(Step, weights={}, returns="output")

"""Functions on NumPy arrays: their values are judged, and nothing that they do not have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import rnnspec
from rnnspec import adapt
from rnnspec.contract.config import Config
from rnnspec.contract.kinds import RNN
from rnnspec.contract.parts import Part
from rnnspec.inference.smoke import Tone, smoke_target
from rnnspec.report.data import RunVerdict
from rnnspec.subjects.target import resolve_target

LACKS = {
    "num_layers": "one layer",
    "bidirectional": "one direction",
    "dropout": "one layer",
    "unbatched": "batches only",
    "bias": "always with biases",
    "nonlinearity": "always tanh",
    "batch_first": "time first",
}


def run_elman(config: Config, x: Any, h_0: Any, weights: Any) -> tuple[Any, Any]:
    h = np.zeros((x.shape[1], config.hidden_size), x.dtype) if h_0 is None else h_0[0]
    bias = weights["bias_ih_l0"] + weights["bias_hh_l0"]
    out = np.empty((*x.shape[:2], config.hidden_size), x.dtype)
    for t, step in enumerate(x):
        h = np.tanh(step @ weights["weight_ih_l0"].T + h @ weights["weight_hh_l0"].T + bias)
        out[t] = h
    return out, h[None]


def overwrite_input(config: Config, x: Any, h_0: Any, weights: Any) -> tuple[Any, Any]:
    output = run_elman(config, x.copy(), h_0, weights)
    x *= 0.5
    return output


def run_lstm(config: Config, x: Any, states: Any, weights: Any) -> tuple[Any, Any]:
    zeros = np.zeros((x.shape[1], config.hidden_size), x.dtype)
    h, c = (zeros, zeros) if states is None else (states[0][0], states[1][0])
    out = []
    for step in x:
        sums = step @ weights["weight_ih_l0"].T + h @ weights["weight_hh_l0"].T
        sums = sums + weights["bias_ih_l0"] + weights["bias_hh_l0"]
        i, f, g, o = np.split(sums, 4, 1)
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
        out.append(h)
    return np.stack(out), (h[None], c[None])


def test_values_of_a_function_are_judged_and_gradients_are_not() -> None:
    report = rnnspec.check(adapt.function(run_elman, lacks=LACKS), profile="quick")
    assert report.verdict is RunVerdict.CONFORMS, report.violations
    assert report.parts[Part.VALUES].rules > 25
    assert report.parts[Part.GRADIENTS].rules == 0


def test_writing_into_an_argument_is_noticed() -> None:
    layer = adapt.function(overwrite_input, lacks=LACKS)
    report = rnnspec.check(layer, profile="quick", cases=9, rules="side-effects.arguments")
    assert [result.rule for result in report.violations] == ["side-effects.arguments"]


def test_adapter_of_a_function_is_right() -> None:
    found = smoke_target(resolve_target(adapt.function(run_elman, lacks=LACKS)), RNN)
    assert not [each for each in found.remarks if each.tone is Tone.WRONG]


@pytest.mark.parametrize("is_given", [False, True])
def test_lstm_has_pairs_of_states(is_given: bool) -> None:
    layer, reference = adapt.function(run_lstm, kind="lstm")(3, 4), nn.LSTM(3, 4)
    layer.load_state_dict(reference.state_dict())
    x, pair = torch.rand(5, 2, 3), (torch.rand(1, 2, 4), torch.rand(1, 2, 4))
    hx = pair if is_given else None
    (output, (h_n, c_n)), (expected, (h, c)) = layer(x, hx), reference(x, hx)
    for got, wanted in ((output, expected), (h_n, h), (c_n, c)):
        torch.testing.assert_close(got, wanted)

"""Test adapters: layers with other names, layouts and states are checked like documented layers."""

from __future__ import annotations

import copy
import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import rnnspec
from rnnspec import adapt
from rnnspec.cases.axes import Feature
from rnnspec.contract.parts import Part
from rnnspec.errors import AdapterError
from rnnspec.report.console import format_conclusion, format_report
from rnnspec.report.data import RunVerdict
from rnnspec.subjects.failures import Unsupported
from tests.adapters import half_done

DECLARED: dict[str, Any] = {
    "weights": {
        "i2h.weight": "weight_ih",
        "i2h.bias": "bias_ih",
        "h2h.weight": "weight_hh",
        "h2h.bias": "bias_hh",
    },
    "fixed": {"batch_first": True, "nonlinearity": "tanh"},
    "call": "x, h[0]",
    "returns": "output, h[0]",
    "lacks": {"packed": "it takes tensors only", "unbatched": "it takes batches only"},
}


def check_adapted(layer: type[nn.Module], **options: Any) -> rnnspec.Report:
    chosen = {"profile": "quick", "cases": 60, **options}
    return rnnspec.check(adapt.module(layer, **DECLARED), **chosen)


@pytest.mark.slow
def test_values_and_gradients_of_an_adapted_layer_are_checked() -> None:
    report = check_adapted(half_done.MyRNN, cases=None)
    assert report.verdict is RunVerdict.CONFORMS
    assert report.parts[Part.VALUES].rules > 30
    assert report.parts[Part.GRADIENTS].rules > 15
    assert report.parts[Part.INTERFACE].rules == 0
    said = format_conclusion(report)
    assert "without 6 features:" in said
    left_out = "left out        num_layers, bias, dropout, bidirectional, packed, unbatched"
    assert left_out in format_report(report).splitlines()
    assert re.search(
        r"values, gradients: conform; module: conform \(\d+ of \d+ rules checked\)", said
    )
    assert "interface: not checked" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layer", "rule"),
    [
        (half_done.Forgetful, "recurrence.two-biases"),
        pytest.param(half_done.Detaching, "gradients.input", marks=pytest.mark.slow),
        pytest.param(half_done.Remembering, "modules.second-call", marks=pytest.mark.slow),
        pytest.param(half_done.Overwriting, "side-effects.arguments", marks=pytest.mark.slow),
    ],
)
def test_a_fault_of_an_adapted_layer_is_reported(layer: type[nn.Module], rule: str) -> None:
    report = check_adapted(layer)
    broken = {result.rule for result in report.results if result.is_broken}
    assert rule in broken
    assert not any(each.startswith(("construction", "parameters", "errors")) for each in broken)


def test_wrong_adapter_is_no_crash() -> None:
    weights = {**DECLARED["weights"], "i2h.weight": "weight_ih.T"}
    layer = adapt.module(half_done.MyRNN, **{**DECLARED, "weights": weights})(2, 3)
    with pytest.raises(Exception, match=r"i2h.weight has shape \(3, 2\), and 'weight_ih.T' makes"):
        layer(torch.rand(1, 4, 2))


def test_everything_that_a_declaration_does_not_pass_is_lacking() -> None:
    adapter = adapt.module(half_done.MyRNN, **{**DECLARED, "call": "x"})
    reasons = {feature.text: why for feature, why in adapter.unsupported.items()}
    assert reasons["num_layers"] == "MyRNN takes no argument num_layers"
    assert reasons["state"] == "MyRNN takes no initial state"
    assert reasons["packed"] == "it takes tensors only"
    assert Feature.DROP_IN in adapter.unsupported
    assert "batch_first" not in reasons  # it is always True, so cases have it
    with pytest.raises(Unsupported, match="batch_first is always True"):
        adapter(2, 3, batch_first=False)
    with pytest.raises(TypeError, match=r"nn\.RNN has no argument 'depth'"):
        adapter(2, 3, depth=2)


class Stack(nn.Module):
    """Two directions and layers under templates, sizes under other names, time first."""

    def __init__(self, n_in: int, n_hidden: int, depth: int = 1, two_way: bool = False) -> None:
        super().__init__()
        ways = 2 if two_way else 1
        widths = [n_in] + [ways * n_hidden] * (depth - 1)
        self.cells = nn.ModuleList(
            nn.ModuleList(nn.RNNCell(width, n_hidden) for _ in range(ways)) for width in widths
        )

    def forward(self, x: torch.Tensor, h: list[torch.Tensor] | None = None) -> Any:
        finals = []
        for layer, cells in enumerate(self.cells):
            found = []
            for way, cell in enumerate(list(cells)):  # type: ignore[call-overload]
                row = layer * len(list(cells)) + way  # type: ignore[call-overload]
                state = None if h is None else h[row]
                steps = list(x)[::-1] if way else list(x)
                states = []
                for step in steps:
                    state = cell(step, state)
                    states.append(state)
                finals.append(states[-1])
                found.append(torch.stack(states[::-1] if way else states))
            x = torch.cat(found, -1)
        return x, finals


STACK = adapt.module(
    Stack,
    arguments={
        "input_size": "n_in",
        "hidden_size": "n_hidden",
        "num_layers": "depth",
        "bidirectional": "two_way",
    },
    weights={
        f"cells.{{layer}}.{{direction}}.{name}": name
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    },
    call="x, [h]",
    returns="output, [h]",
)


def test_templates_lists_and_other_names() -> None:
    config: dict[str, Any] = {"num_layers": 2, "bidirectional": True}
    layer, reference = STACK(3, 4, **config), nn.RNN(3, 4, **config)
    layer.load_state_dict(reference.state_dict())
    x, h = torch.rand(5, 2, 3), torch.rand(4, 2, 4)
    for got, expected in zip(layer(x, h), reference(x, h), strict=True):
        torch.testing.assert_close(got, expected)


def test_copies_conversions_and_gradients_reach_the_documented_parameters() -> None:
    layer = copy.deepcopy(STACK(3, 4)).to(torch.float64)
    output, _ = layer(torch.rand(5, 2, 3, dtype=torch.float64))
    output.sum().backward()
    assert layer.weight_ih_l0.grad is not None
    assert layer.eval().own.training is False
    assert list(layer.state_dict()) == ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "gur"}, "kind 'gur': choose rnn, gru or lstm. Did you mean 'gru'?"),
        (
            {"fixed": {"batch_frist": True}},
            "no argument 'batch_frist'. Did you mean 'batch_first'?",
        ),
        ({"arguments": {"depth": "depth"}}, "no argument 'depth'"),
        ({"lacks": {"paked": ""}}, "'paked' is no feature. Did you mean 'packed'?"),
        ({"weights": {"a.{layr}": "bias_ih"}}, "there is no {layr}. Did you mean 'layer'?"),
        ({"build": half_done.MyRNN}, "either a target or a function"),
    ],
)
def test_wrong_declarations_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(rnnspec.CannotCheck) as caught:
        adapt.module(half_done.MyRNN, **{**DECLARED, **changes})
    assert message in str(caught.value)
    assert isinstance(caught.value, AdapterError) or "kind" in changes


MASKS = np.random.default_rng()


class OwnMasks(nn.Module):
    """Two layers with dropout masks that NumPy draws."""

    def __init__(self, input_size: int, hidden_size: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout
        self.first = nn.RNN(input_size, hidden_size)
        self.second = nn.RNN(hidden_size, hidden_size)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        between, first = self.first(x)
        if self.training and self.dropout:
            kept = torch.from_numpy(MASKS.random(between.shape) >= self.dropout)
            between = between * kept / (1 - self.dropout)
        output, second = self.second(between)
        return output, torch.cat([first, second])


def seed_masks(number: int) -> None:
    MASKS.bit_generator.state = np.random.default_rng(number).bit_generator.state


@pytest.mark.parametrize("seed", [seed_masks, None])
def test_masks_of_another_generator_follow_the_seed_of_torch(seed: Any) -> None:
    weights = {
        f"{name}.{kind}_l0": f"{kind}_l{number}"
        for number, name in enumerate(("first", "second"))
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    }
    made = adapt.module(
        OwnMasks,
        weights=weights,
        arguments={"dropout": "dropout"},
        fixed={"num_layers": 2},
        call="x",
        seed=seed,
    )
    layer, x = made(3, 40, num_layers=2, dropout=0.5), torch.randn(5, 4, 3)
    outputs = []
    for _ in range(2):
        torch.manual_seed(7)
        outputs.append(layer(x)[0])
    assert torch.equal(*outputs) is (seed is not None)
    before = torch.get_rng_state()
    layer.eval()(x)
    assert torch.equal(before, torch.get_rng_state())


def test_both_modules_are_moved_and_converted_together() -> None:
    layer = adapt.module(half_done.MyRNN, **DECLARED)(2, 3).double()
    assert {each.dtype for each in layer.own.parameters()} == {torch.float64}
    layer.to("meta")
    assert all(each.is_meta for each in layer.own.parameters())

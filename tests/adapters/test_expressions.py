"""Test expressions over the documented weights: their meaning, and errors in them."""

from __future__ import annotations

import pytest
import torch

from rnnspec.adapters.expressions import parse_expression, parse_gates
from rnnspec.contract.kinds import GRU, LSTM, RNN
from rnnspec.errors import AdapterError

WEIGHTS = {
    "weight_ih": torch.arange(12.0).reshape(6, 2),
    "weight_hh": -torch.arange(12.0).reshape(6, 2),
    "bias_ih": torch.arange(6.0),
    "bias_hh": 10 * torch.arange(6.0),
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("weight_ih", WEIGHTS["weight_ih"]),
        ("weight_ih.T", WEIGHTS["weight_ih"].T),
        ("bias_ih + bias_hh", 11 * torch.arange(6.0)),
        ("bias_hh - bias_ih", 9 * torch.arange(6.0)),
        ("0.5 * bias_hh", 5 * torch.arange(6.0)),
        ("-weight_ih[update]", -WEIGHTS["weight_ih"][2:4]),
        ("bias_ih[new, reset]", torch.tensor([4.0, 5.0, 0.0, 1.0])),
        ("rows(weight_ih, weight_hh)", torch.cat([WEIGHTS["weight_ih"], WEIGHTS["weight_hh"]])),
        (
            "columns(weight_hh, weight_ih).T",
            torch.cat([WEIGHTS["weight_hh"], WEIGHTS["weight_ih"]], 1).T,
        ),
        (
            "stack(weight_ih[reset], weight_ih[new])",
            torch.stack([WEIGHTS["weight_ih"][:2], WEIGHTS["weight_ih"][4:]]),
        ),
        ("0", 0.0),
    ],
)
def test_expression_is_evaluated(text: str, expected: torch.Tensor | float) -> None:
    found = parse_expression(text, GRU).evaluate(WEIGHTS.__getitem__)
    if isinstance(expected, float):
        assert found == expected
    else:
        assert isinstance(found, torch.Tensor)
        assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bias_ih", [4.0, 5.0, 0.0, 1.0, 2.0, 3.0]),
        ("bias_ih[reset]", [0.0, 1.0]),
        ("(bias_ih + bias_hh)[update, new]", [22.0, 33.0, 44.0, 55.0]),
    ],
)
def test_gates_stand_in_the_order_of_the_implementation(text: str, expected: list[float]) -> None:
    found = parse_expression(text, GRU, "new, reset, update").evaluate(WEIGHTS.__getitem__)
    assert torch.equal(torch.as_tensor(found), torch.tensor(expected))


def test_projection_has_no_gates_to_be_ordered() -> None:
    weights = {"weight_hr": torch.arange(3.0)[None]}
    expression = parse_expression("weight_hr", LSTM, "input, output, forget, cell")
    assert expression.evaluate(weights.__getitem__) is weights["weight_hr"]


@pytest.mark.parametrize("gates", ["update, reset", "update, reset, new, new", "z, r, n"])
def test_an_invalid_order_of_gates_is_refused(gates: str) -> None:
    with pytest.raises(AdapterError, match=r"no order of the gates of nn.GRU: reset, update, new"):
        parse_gates(gates, GRU)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("weight_hi", "nn.GRU has no parameter 'weight_hi'. Did you mean"),
        ("weight_hr", "no parameter 'weight_hr'"),
        ("bias_ih[forget]", "nn.GRU has no gate 'forget'. It has reset, update, new."),
        ("bias_ih[0]", "'0' is no list of gates"),
        ("collumns(bias_ih)", "no function 'collumns'. Did you mean 'columns'?"),
        ("rows()", "no function 'rows'"),
        ("weight_ih.t", "'weight_ih.t' has no meaning"),
        ("weight_ih / 2", "'weight_ih / 2' has no meaning"),
        ("weight_ih * weight_hh", "has no meaning"),
        ("'weight_ih'", "has no meaning"),
        ("open('x')", "no function 'open'"),
        ("weight_ih +", "is no expression"),
    ],
)
def test_an_invalid_expression_is_refused(text: str, message: str) -> None:
    with pytest.raises(AdapterError) as caught:
        parse_expression(text, GRU)
    assert message in str(caught.value)


def test_only_kinds_with_a_projection_have_its_weights() -> None:
    assert parse_expression("weight_hr", LSTM).names == ("weight_hr",)
    with pytest.raises(AdapterError, match="weight_hr"):
        parse_expression("weight_hr", RNN)

"""Forms of calls: which arguments they make, and how results are read."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rnnspec.adapters.forms import parse_arguments, parse_results
from rnnspec.contract.kinds import LSTM, RNN
from rnnspec.errors import AdapterError
from rnnspec.subjects.failures import Malformed

X, H, C = torch.rand(4, 2, 3), torch.rand(1, 2, 5), torch.rand(1, 2, 5)
TENSORS = {"x": X, "h": H, "c": C}


def test_arguments_without_a_state_are_left_out() -> None:
    assert parse_arguments("x, h", RNN).build({"x": X}) == ([X], {})
    assert parse_arguments("x, hx=h", RNN).build({"x": X}) == ([X], {})
    assert parse_arguments("x, (h, c)", LSTM).build({"x": X}) == ([X], {})


@pytest.mark.parametrize(
    ("text", "position", "shape"),
    [("x, h", 1, (1, 2, 5)), ("h[0], x", 0, (2, 5)), ("x, h.batch_first", 1, (2, 1, 5))],
)
def test_states_get_the_shape_that_the_form_says(
    text: str, position: int, shape: tuple[int, ...]
) -> None:
    assert parse_arguments(text, LSTM).build(TENSORS)[0][position].shape == shape


def test_states_are_passed_in_lists_tuples_and_by_keyword() -> None:
    (_, rows), named = parse_arguments("x, [(h, c)]", LSTM).build(TENSORS)
    assert [tuple(map(torch.Tensor.size, pair)) for pair in rows] == [((2, 5), (2, 5))]
    assert not named
    _, named = parse_arguments("x, state=(h[0], c[0])", LSTM).build(TENSORS)
    assert torch.equal(named["state"][1], C[0])


@pytest.mark.parametrize(
    ("text", "returned"),
    [
        ("output, (h, c)", (X, (H, C))),
        ("output, h, c", [X, H, C]),
        ("(h[0], c[0]), output", ((H[0], C[0]), X)),
        ("output, [(h, c)]", (X, [(H[0], C[0])])),
        ("output, (h.batch_first, c)", (X, (H.transpose(0, 1), C))),
        ("{'y': output, 'last': (h, c)}", {"y": X, "last": (H, C)}),
    ],
)
def test_results_are_read(text: str, returned: Any) -> None:
    found = parse_results(text, LSTM).read(returned)
    assert torch.equal(found["output"], X)
    assert torch.equal(found["h"], H)
    assert torch.equal(found["c"], C)


@pytest.mark.parametrize(
    ("text", "returned", "message"),
    [
        ("output, h", X, "a call returned a tensor of shape (4, 2, 3), expected (output, h)"),
        ("output, h", (X, H, C), "a call returned a tuple of 3"),
        ("output, h[0]", (X, None), "a call returned None for h[0]"),
        ("output, [h]", (X, H), "a call returned a tensor of shape (1, 2, 5) for [h]"),
        ("{'y': output}", (X,), "a call returned a tuple of 1"),
    ],
)
def test_results_of_another_form_are_malformed(text: str, returned: Any, message: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_results(text, RNN).read(returned)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("h", "has no x"),
        ("x, c", "'c' is none of x, h"),
        ("x, h[1]", "'h[1]' has no meaning here"),
        ("x, print(h)", "has no meaning here"),
        ("x, (", "is no form of a call"),
        ("x) or (h", "is no form of a call"),
    ],
)
def test_what_is_no_form_is_refused(text: str, message: str) -> None:
    with pytest.raises(AdapterError) as caught:
        parse_arguments(text, RNN)
    assert message in str(caught.value)

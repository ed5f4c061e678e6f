"""Forms of calls: which arguments they make, and how results are read."""

from __future__ import annotations

from collections import namedtuple
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import pack_sequence

from rnnspec.adapters.forms import parse_arguments, parse_results
from rnnspec.contract.kinds import LSTM, RNN
from rnnspec.errors import AdapterError
from rnnspec.subjects.failures import Malformed

Record = namedtuple("Record", ["h", "c"])
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
def test_states_get_the_shape_of_the_form(text: str, position: int, shape: tuple[int, ...]) -> None:
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
        ("output, record(h=h, c=c)", (X, Record(H, C))),
        ("output, record(h=h[0], c=c)", (X, SimpleNamespace(h=H[0], c=C))),
        ("output, stack(h, c)", (X, torch.stack([H, C]))),
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
def test_an_invalid_form_is_refused(text: str, message: str) -> None:
    with pytest.raises(AdapterError) as caught:
        parse_arguments(text, RNN)
    assert message in str(caught.value)


def test_states_are_passed_in_records_and_stacks() -> None:
    (_, record), _ = parse_arguments("x, record(hx=h, cx=c[0])", LSTM).build(TENSORS)
    assert torch.equal(record.hx, H)
    assert torch.equal(record[1], C[0])
    (_, both), _ = parse_arguments("x, stack(h[0], c[0])", LSTM).build(TENSORS)
    assert torch.equal(both, torch.stack([H[0], C[0]]))


ROWS = torch.arange(6.0).reshape(6, 1, 1)
"""States of three layers in two directions."""


@pytest.mark.parametrize(
    ("form", "rows"),
    [
        ("h", [0, 1, 2, 3, 4, 5]),
        ("h.by_direction", [0, 2, 4, 1, 3, 5]),
        ("h.backward_first", [1, 0, 3, 2, 5, 4]),
        ("h.by_direction.backward_first", [1, 3, 5, 0, 2, 4]),
        ("[h.by_direction]", [0, 2, 4, 1, 3, 5]),
    ],
)
def test_rows_of_states_have_the_order_of_the_form(form: str, rows: list[int]) -> None:
    (_, given), _ = parse_arguments(f"x, {form}", RNN).build({"x": X, "h": ROWS}, 2)
    assert [int(each) for each in given] == rows
    assert torch.equal(parse_results(f"output, {form}", RNN).read((X, given), 2)["h"], ROWS)
    (_, alone), _ = parse_arguments(f"x, {form}", RNN).build({"x": X, "h": ROWS})
    assert [int(each) for each in alone] == [0, 1, 2, 3, 4, 5]


def test_halves_of_an_output_are_exchanged_if_there_are_two_directions() -> None:
    form, packed = (
        parse_results("output.backward_first", RNN),
        pack_sequence([torch.arange(4.0)[None]]),
    )
    assert form.read(X.repeat(1, 1, 2), 2)["output"].shape == (4, 2, 6)
    assert form.read(packed, 2)["output"].data.tolist() == [[2, 3, 0, 1]]
    assert form.read(packed)["output"].data.tolist() == [[0, 1, 2, 3]]
    assert torch.equal(form.read([torch.arange(2.0)], 2)["output"][0], torch.tensor([1.0, 0.0]))


@pytest.mark.parametrize(
    "text", ["x, record(h)", "x, stack(a=h)", "x, other(h)", "x.backward_first"]
)
def test_calls_that_mean_nothing_are_refused(text: str) -> None:
    with pytest.raises(AdapterError):
        parse_arguments(text, RNN)

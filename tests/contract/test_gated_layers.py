"""Test that the clauses and exclusions of nn.GRU and nn.LSTM are true of the installed torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from rnnspec.contract.clauses import find_clause, is_in_force

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections")
STEPS, BATCH, INPUT, HIDDEN, PROJECTED = 4, 3, 2, 5, 2


def in_force(name: str, kind: str) -> bool:
    """Return whether the installed torch makes a promise about a kind of layer."""
    return is_in_force(find_clause(name), torch.__version__, kind)


def draw_input() -> Tensor:
    return torch.randn(STEPS, BATCH, INPUT, dtype=torch.float64)


def test_the_formulas_of_a_gru_with_the_documented_order_of_gates() -> None:
    layer, input, h = torch.nn.GRU(INPUT, HIDDEN).double(), draw_input(), torch.randn(BATCH, HIDDEN)
    h = h.double()
    output, _ = layer(input, h[None])
    weight_ih, weight_hh, bias_ih, bias_hh = layer.parameters()
    w_ir, w_iz, w_in = weight_ih.chunk(3)
    w_hr, w_hz, w_hn = weight_hh.chunk(3)
    b_ir, b_iz, b_in = bias_ih.chunk(3)
    b_hr, b_hz, b_hn = bias_hh.chunk(3)
    for x, expected in zip(input, output, strict=True):
        r = torch.sigmoid(x @ w_ir.T + b_ir + h @ w_hr.T + b_hr)
        z = torch.sigmoid(x @ w_iz.T + b_iz + h @ w_hz.T + b_hz)
        n = torch.tanh(x @ w_in.T + b_in + r * (h @ w_hn.T + b_hn))
        h = (1 - z) * n + z * h
        torch.testing.assert_close(h, expected)


@pytest.mark.parametrize("projected", [0, PROJECTED])
def test_the_formulas_of_an_lstm_with_the_documented_order_of_gates(projected: int) -> None:
    layer = torch.nn.LSTM(INPUT, HIDDEN, proj_size=projected).double()
    input = draw_input()
    h = torch.randn(BATCH, projected or HIDDEN, dtype=torch.float64)
    c = torch.randn(BATCH, HIDDEN, dtype=torch.float64)
    output, (_, final) = layer(input, (h[None], c[None]))
    weight_ih, weight_hh, bias_ih, bias_hh, *projection = layer.parameters()
    assert tuple(output.shape) == (STEPS, BATCH, projected or HIDDEN)
    for x, expected in zip(input, output, strict=True):
        sums = x @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh
        i, f, g, o = sums.split(HIDDEN, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        h = h @ projection[0].T if projected else h
        torch.testing.assert_close(h, expected)
    torch.testing.assert_close(c, final[0])


def test_the_note_on_h_n_of_a_bidirectional_lstm() -> None:
    output, (h_n, _) = torch.nn.LSTM(INPUT, HIDDEN, bidirectional=True).double()(draw_input())
    assert torch.equal(output[-1, :, :HIDDEN], h_n[0])
    assert torch.equal(output[0, :, HIDDEN:], h_n[1])
    assert not torch.isclose(output[-1, :, HIDDEN:], h_n[1]).any()


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_positional_arguments_have_the_documented_order(kind: str) -> None:
    if not in_force(f"{kind.lower()}.args.order", kind.lower()):
        pytest.skip("this release does not promise it")
    layer = getattr(torch.nn, kind)(2, 3, 2, False, True, 0.25, True)
    names = "input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout"
    assert [getattr(layer, name) for name in names] == [2, 3, 2, False, True, 0.25]
    assert layer.bidirectional


def test_a_gru_reads_the_eighth_positional_argument_as_proj_size() -> None:
    before: tuple[Any, ...] = (2, 3, 1, True, False, 0.0, False)
    for device in ("cpu", None):
        with pytest.raises(TypeError):
            torch.nn.GRU(*before, device)
    assert torch.nn.GRU(*before, 2).proj_size == 2


def test_an_lstm_takes_device_and_dtype_by_position() -> None:
    if not in_force("lstm.args.order.device", "lstm"):
        pytest.skip("this release does not promise it")
    layer = torch.nn.LSTM(2, 3, 1, True, False, 0.0, False, 2, "meta", torch.float64)
    assert layer.proj_size == 2
    assert {(each.device.type, each.dtype) for each in layer.parameters()} == {
        ("meta", torch.float64)
    }


@pytest.mark.parametrize("size", [-1, 3, 4])
def test_an_lstm_rejects_a_proj_size_outside_its_range(size: int) -> None:
    with pytest.raises(ValueError, match="proj_size"):
        torch.nn.LSTM(2, 3, proj_size=size)


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_there_is_no_nonlinearity(kind: str) -> None:
    with pytest.raises(TypeError, match="nonlinearity"):
        getattr(torch.nn, kind)(2, 3, nonlinearity="relu")


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_the_state_is_called_hx_and_not_h_0(kind: str) -> None:
    layer, state = getattr(torch.nn, kind)(2, 3), torch.ones(1, 4, 3)
    given: Any = (state, state) if kind == "LSTM" else state
    input = torch.ones(5, 4, 2)
    assert torch.equal(layer(input, hx=given)[0], layer(input, given)[0])
    with pytest.raises(TypeError, match="h_0"):
        layer(input, h_0=given)


WRONG = {
    "lstm.errors.h_0-layers": ((3, 4, 2), (2, 4, 3)),
    "lstm.errors.h_0-size": ((2, 4, 3), (2, 4, 3)),
    "lstm.errors.c_0-layers": ((2, 4, 2), (1, 4, 3)),
    "lstm.errors.c_0-batch": ((2, 4, 2), (2, 1, 3)),
    "lstm.errors.c_0-size": ((2, 4, 2), (2, 4, 2)),
    "lstm.errors.c_0-rank": ((2, 4, 2), (2, 3)),
}


@pytest.mark.parametrize("name", WRONG)
def test_an_lstm_rejects_wrong_states_of_a_padded_batch(name: str) -> None:
    assert find_clause(name).kinds == ("lstm",)
    h, c = (torch.zeros(shape) for shape in WRONG[name])
    with pytest.raises(RuntimeError):
        torch.nn.LSTM(2, 3, 2, proj_size=2)(torch.zeros(5, 4, 2), (h, c))


def test_an_lstm_does_not_check_the_cell_states_of_a_packed_batch() -> None:
    if not in_force("lstm.errors.packed-unchecked", "lstm"):
        pytest.skip("this release still checks them")
    packed = torch.nn.utils.rnn.pack_padded_sequence(torch.zeros(5, 2, 2), [5, 3])
    torch.nn.LSTM(2, 3)(packed, (torch.zeros(1, 2, 3), torch.zeros(2, 2, 3)))


@pytest.mark.parametrize("kind", ["RNN", "GRU"])
def test_other_layers_check_the_states_of_a_packed_batch(kind: str) -> None:
    packed = torch.nn.utils.rnn.pack_padded_sequence(torch.zeros(5, 2, 2), [5, 3])
    for shape in ((2, 2, 3), (1, 1, 3), (1, 3)):
        with pytest.raises(RuntimeError, match="Expected hidden size"):
            getattr(torch.nn, kind)(2, 3)(packed, torch.zeros(shape))

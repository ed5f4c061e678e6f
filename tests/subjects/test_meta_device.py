"""Test that calls on the meta device agree with torch, without importing torch's compiler."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from rnnspec.subjects import meta_device
from rnnspec.subjects.meta_device import use_meta_device

CALL = """
import sys
import torch
from rnnspec.subjects.meta_device import use_meta_device

for kind in (torch.nn.RNN, torch.nn.LSTM, torch.nn.GRU):
    layer = kind(3, 4, num_layers=2, bidirectional=True, device="meta")
    linear = torch.nn.Linear(8, 2, device="meta")
    with use_meta_device():
        output, _ = layer(torch.zeros(5, 2, 3, device="meta"))
        assert linear(output).shape == (5, 2, 2)
        assert linear(output).device.type == "meta"
        with torch.inference_mode():  # the whole call is one operation
            layer(torch.zeros(5, 2, 3, device="meta"))
            packed = torch.nn.utils.rnn.pack_padded_sequence(torch.zeros(5, 2, 3), [5, 2])
            assert layer(packed.to("meta"))[0].data.shape == (7, 8)
assert "torch._dynamo" not in sys.modules
"""


@pytest.fixture(autouse=True)
def without_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another test of this process may have loaded the compiler."""
    monkeypatch.setattr(meta_device, "COMPILER", "torch.never_loaded")


@pytest.mark.slow
def test_compiler_is_not_loaded() -> None:
    done = subprocess.run([sys.executable, "-c", CALL], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


Operation = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

OPERATIONS: dict[str, Callable[..., Any]] = {
    "linear": lambda x, ids: nn.functional.linear(x, x.new_empty(4, 3), x.new_empty(4)),
    "linear of two dtypes": lambda x, ids: nn.functional.linear(x.double(), x.new_empty(4, 3)),
    "linear of a wrong width": lambda x, ids: nn.functional.linear(x, x.new_empty(4, 2)),
    "matrix product of a wrong width": lambda x, ids: x @ x.new_empty(4, 2),
    "sum of wrong shapes": lambda x, ids: x + x.new_empty(4),
    "sum of two devices": lambda x, ids: x + torch.zeros(5, 2, 3),
    "sum with a number": lambda x, ids: x + torch.tensor(1.0),
    "product of two dtypes": lambda x, ids: x * ids[..., None],
    "comparison": lambda x, ids: ids > 0,
    "embedding": lambda x, ids: nn.functional.embedding(ids, x.new_empty(7, 3), padding_idx=0),
    "embedding of no rows": lambda x, ids: nn.functional.embedding(ids, x.new_empty(0, 3)),
    "softmax": lambda x, ids: x.softmax(-1),
    "maximum": lambda x, ids: x.max(1).values,
    "index of the maximum": lambda x, ids: x.argmax(-1),
    "maximum of nothing": lambda x, ids: x[:, :0].max(1).values,
    "integer division": lambda x, ids: ids // ids,
    "gather": lambda x, ids: x.gather(0, ids[:1, :, None].expand(1, 2, 3)),
    "rows by number": lambda x, ids: x[ids[0]],
    "concatenation": lambda x, ids: torch.cat([x, x.flip(0)], -1),
    "parts": lambda x, ids: torch.cat(x.split(1, -1)),
    "masked fill": lambda x, ids: x.masked_fill(ids[..., None] == 0, 0.0),
    "in place": lambda x, ids: x.clone().tanh_().mul_(2),
    "in place, of wrong shapes": lambda x, ids: x.clone().add_(x.new_empty(4)),
    "transposed in place": lambda x, ids: x.clone().transpose_(0, 1),
    "loss": lambda x, ids: nn.functional.cross_entropy(x.flatten(0, 1), ids.flatten()),
    "reading a value": lambda x, ids: x.sum().item(),
    "reading which are zero": lambda x, ids: x.nonzero(),
    "reading by mask": lambda x, ids: x[x > 0],
    "to the CPU": lambda x, ids: x.to("cpu"),
    "zeros on the CPU": lambda x, ids: torch.zeros_like(x, device="cpu"),
    "zeros": lambda x, ids: torch.zeros_like(x, dtype=torch.float64),
    "recurrent layer": lambda x, ids: nn.LSTM(3, 4, 2, dropout=0.5, device="meta")(x)[1][1],
    "recurrent cell": lambda x, ids: nn.GRUCell(3, 4, device="meta")(x[0]),
    "attention": lambda x, ids: nn.MultiheadAttention(3, 1, device="meta")(x, x, x)[0],
}


def describe(operation: Operation) -> object:
    """Return the facts of a result, or the type of what is raised."""
    given = torch.zeros(5, 2, 3, device="meta"), torch.zeros(5, 2, dtype=torch.long, device="meta")
    try:
        result = operation(*given)
    except Exception as error:
        return type(error).__name__
    return result.shape, result.dtype, result.device


@pytest.mark.parametrize("name", OPERATIONS)
def test_results_are_torch_s(name: str) -> None:
    expected = describe(OPERATIONS[name])
    with use_meta_device():
        assert describe(OPERATIONS[name]) == expected


def test_gradients_pass_through() -> None:
    layer = nn.Linear(3, 4, device="meta")
    with use_meta_device():
        layer(torch.zeros(2, 3, device="meta")).sum().backward()
    gradient = layer.weight.grad
    assert gradient is not None
    assert (gradient.shape, gradient.device.type) == ((4, 3), "meta")

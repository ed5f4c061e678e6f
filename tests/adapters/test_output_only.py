"""Test that layers without final states are checked by their output."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

import rnnspec
import rnnspec.adapt as adapt
from rnnspec.adapters.adapter import Adapter
from rnnspec.contract.kinds import LAYER_KINDS


class OutputOfRNN(nn.RNN):
    def forward(self, x: Tensor, hx: Any = None) -> Tensor:  # type: ignore[override]
        output: Tensor = super().forward(x, hx)[0]
        return output


class OutputOfGRU(nn.GRU):
    def forward(self, x: Tensor, hx: Any = None) -> Tensor:  # type: ignore[override]
        output: Tensor = super().forward(x, hx)[0]
        return output


class OutputOfLSTM(nn.LSTM):
    def forward(self, x: Tensor, hx: Any = None) -> Tensor:  # type: ignore[override]
        output: Tensor = super().forward(x, hx)[0]
        return output


class HalvedOutput(OutputOfLSTM):
    def forward(self, x: Tensor, hx: Any = None) -> Tensor:  # type: ignore[override]
        output: Tensor = halve(super().forward(x, hx))
        return output


def halve(output: Any) -> Any:
    is_packed = isinstance(output, PackedSequence)
    return output._replace(data=output.data / 2) if is_packed else output / 2


class TransposedHidden(nn.Module):
    """A loop in which `W_hh` is transposed."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.read = nn.Linear(input_size, hidden_size)
        self.carry = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        h, outputs = x.new_zeros(x.size(1), len(self.read.weight)), []
        for step in x:
            h = torch.tanh(self.read(step) + h @ self.carry.weight + self.carry.bias)
            outputs.append(h)
        return torch.stack(outputs)


TRANSPOSED = adapt.module(
    TransposedHidden,
    weights={
        "read.weight": "weight_ih",
        "read.bias": "bias_ih",
        "carry.weight": "weight_hh",
        "carry.bias": "bias_hh",
    },
    call="x",
    returns="output",
    lacks={"packed": "it takes tensors only", "unbatched": "it takes batches only"},
)


def declare(layer: type[nn.Module], kind: str) -> Adapter:
    roles = ["weight_ih", "weight_hh", "bias_ih", "bias_hh", *(["weight_hr"] * (kind == "lstm"))]
    chosen = [name for name in LAYER_KINDS[kind].arguments if not name.endswith("_size")]
    chosen += ["proj_size"] * (kind == "lstm")
    return adapt.module(
        layer,
        kind=kind,
        weights={f"{role}_l{{layer}}{{suffix}}": role for role in roles},
        arguments={name: name for name in chosen},
        call="x, (h, c)" if kind == "lstm" else "x, h",
        returns="output",
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        (OutputOfRNN, "rnn"),
        pytest.param(OutputOfGRU, "gru", marks=pytest.mark.slow),
        pytest.param(OutputOfLSTM, "lstm", marks=pytest.mark.slow),
    ],
)
def test_a_right_layer_without_final_states_conforms(layer: type[nn.Module], kind: str) -> None:
    report = rnnspec.check(declare(layer, kind), profile="quick", kind=kind)
    assert report.ok, [each.message for each in report.violations]
    assert report.result("recurrence.output").verdict.name == "PASS"
    names = "h_n and c_n" if kind == "lstm" else "h_n"
    left = report.result("recurrence.h-n")
    assert left.verdict.name == "NOT_APPLICABLE"
    assert f"returns no {names}" in str(left.message)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("adapter", "kind", "cause"),
    [
        pytest.param(
            declare(HalvedOutput, "lstm"),
            "lstm",
            "the output is multiplied by 0.5",
            marks=pytest.mark.slow,
        ),
        (TRANSPOSED, "rnn", "W_hh is used transposed"),
    ],
)
def test_the_cause_of_a_wrong_output_is_reported(adapter: Adapter, kind: str, cause: str) -> None:
    report = rnnspec.check(adapter, profile="quick", kind=kind, rules=["recurrence.*"])
    assert [each.likely_cause for each in report.faults] == [cause]
    program = report.result(report.faults[0].rule).repro
    assert program is not None
    assert "close(layer(*given)[0], reference(*given)[0])" in program
    assert "layer(*given)[1]" not in program

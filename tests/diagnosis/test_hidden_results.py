"""Test that failures in cases where rounding hides wrong results belong to the same fault."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rnnspec
import rnnspec.adapt as adapt
from rnnspec.diagnosis import by_rule
from rnnspec.plain.cells import PlainRNNCell
from rnnspec.reference.values import change_values
from rnnspec.selftest.banks import find_bank


class OutsideReset(nn.Module):
    """A GRU that adds both biases of the new gate outside of the reset gate."""

    def __init__(self, n_in: int, n_units: int) -> None:
        super().__init__()
        self.weight_ih = nn.Parameter(torch.empty(3 * n_units, n_in))
        self.weight_hh = nn.Parameter(torch.empty(3 * n_units, n_units))
        self.bias_ih = nn.Parameter(torch.empty(3 * n_units))
        self.bias_hh = nn.Parameter(torch.empty(3 * n_units))

    def forward(self, x: Tensor, h: Tensor) -> Any:
        h, outs = h[0], []
        for step in x:
            read = step @ self.weight_ih.T + self.bias_ih + self.bias_hh
            r, z, n = read.chunk(3, 1)
            kept_r, kept_z, kept_n = (h @ self.weight_hh.T).chunk(3, 1)
            z = torch.sigmoid(z + kept_z)
            h = z * h + (1 - z) * torch.tanh(n + torch.sigmoid(r + kept_r) * kept_n)
            outs.append(h)
        return torch.stack(outs), h[None]


@pytest.mark.slow
def test_a_gradient_that_the_cause_of_wrong_results_explains_is_no_fault_of_its_own() -> None:
    """Where the bias is tiny, only its gradient shows that it is added in the wrong place."""
    adapter = adapt.module(
        OutsideReset,
        kind="gru",
        weights={name: name for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")},
        lacks={"packed": "it takes tensors only", "unbatched": "it takes batches only"},
        needs_state=True,
    )
    rules = ("gates.alone", "recurrence.output", "recurrence.h-n", "gradients.biases")
    report = rnnspec.check(adapter, profile="quick", rules=rules, seed=1, without=("bfloat16",))
    (fault,) = report.faults
    assert fault.rule == "gates.alone"
    assert "is added outside of the reset gate" in fault.likely_cause


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rnn-cell", "gru-cell"])
def test_a_rule_that_calls_a_larger_layer_in_few_digits_shows_a_fault_of_large_layers(
    kind: str,
) -> None:
    layer = find_bank(kind).bugs["UnitsInOneBlock"]
    rules = ("cells.step", "recurrence.float32-sums", "gradients.float32-sums")
    (fault,) = rnnspec.check(layer, kind=kind, profile="quick", rules=rules).faults
    assert fault.rule == "cells.step"
    assert set(fault.consequences) == {"recurrence.float32-sums", "gradients.float32-sums"}


@pytest.mark.slow
def test_no_minimal_case_is_looked_for_where_a_fault_shows_in_every_case(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rounding hides the fault in some cases of 16 bits, where other rules fail because of it."""

    class Squashed(PlainRNNCell):
        changes = change_values({"updated.h": lambda h: h * torch.cos(h)})

    joined: list[str] = []
    whole = by_rule._join_everywhere

    def join(search: Any, rule: Any, *given: Any) -> bool:
        joined.extend([rule.id] if (is_joined := whole(search, rule, *given)) else [])
        return is_joined

    monkeypatch.setattr(by_rule, "_join_everywhere", join)
    monkeypatch.setattr(by_rule, "minimise", lambda *given, **options: pytest.fail("not needed"))
    rules = ("cells.step", "recurrence.half-precision")
    report = rnnspec.check(Squashed, kind="rnn-cell", profile="quick", rules=rules)
    assert [fault.rule for fault in report.faults] == ["cells.step"]
    assert joined == ["recurrence.half-precision"]

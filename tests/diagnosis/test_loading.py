"""Test that wrong loading is reported as such, and not by the results that follow from it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import rnnspec
from rnnspec.selftest.banks import find_bank

RULES = ("parameters.loaded", "gates.order", "recurrence.output")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "bug"), [("lstm", "GatesReorderedOnLoad"), ("gru", "BiasesClearedOnLoad")]
)
def test_wrong_loading_is_one_fault_without_a_mistake_of_the_call(kind: str, bug: str) -> None:
    report = rnnspec.check(
        find_bank(kind).bugs[bug], kind=kind, profile="quick", rules=RULES, cases=120
    )
    assert [(fault.rule, fault.likely_cause) for fault in report.faults] == [
        ("parameters.loaded", "")
    ]


class Cached(torch.nn.LSTM):
    """Where no gradient is wanted, it keeps its parameters from the first such call on."""

    kept: dict[str, Tensor] | None = None

    def _apply(self, *given: Any, **named: Any) -> Any:
        self.kept = None
        return super()._apply(*given, **named)

    def train(self, mode: bool = True) -> Any:
        self.kept = None
        return super().train(mode)

    def forward(self, input: Any, hx: Any = None) -> Any:
        if self.training or torch.is_grad_enabled():
            return super().forward(input, hx)
        present = {name: each.detach().clone() for name, each in self.named_parameters()}
        self.kept = self.kept or present
        try:
            self.write(self.kept)
            return super().forward(input, hx)
        finally:
            self.write(present)

    def write(self, values: dict[str, Tensor]) -> None:
        for name, each in self.named_parameters():
            each.data.copy_(values[name])


@pytest.mark.slow
def test_parameters_that_are_kept_are_one_fault_also_where_a_rule_replaces_them_itself() -> None:
    rules = ["modules.replaced-parameters", "modules.tied-parameters"]
    report = rnnspec.check(Cached, kind="lstm", profile="quick", rules=rules)
    assert {result.rule for result in report.results if result.is_broken} == set(rules)
    assert [(fault.rule, fault.likely_cause) for fault in report.faults] == [
        (
            "modules.replaced-parameters",
            "the parameters are used with the values from before they were replaced or loaded",
        )
    ]

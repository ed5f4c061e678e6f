"""A layer that loses NaN breaks all rules that look where NaN arrives, and is told once."""

from __future__ import annotations

import torch
from torch import Tensor

import rnnspec
from rnnspec.plain.layer import Plain

RULES = ("nonlinearity.*", "states.routing", "stacking.own-parameters", "samples.independent")


class ReluWithoutNan(Plain):
    """Relu is `x if x > 0 else 0`, which is 0 for NaN."""

    def activation(self, x: Tensor) -> Tensor:
        right = super().activation(x)
        return torch.where(x > 0, right, 0.0) if self.nonlinearity == "relu" else right


def test_a_relu_that_loses_nan_is_one_fault() -> None:
    report = rnnspec.check(ReluWithoutNan, profile="quick", rules=RULES)
    assert [fault.rule for fault in report.faults] == ["nonlinearity.nan"]
    assert "states.routing" in report.faults[0].consequences

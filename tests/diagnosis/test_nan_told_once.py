"""A layer that loses or spreads NaN breaks all rules that plant NaN, and is told once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import rnnspec
from rnnspec.plain.layer import Plain, Sizes

RULES = (
    "nonlinearity.*",
    "states.routing",
    "stacking.own-parameters",
    "samples.independent",
    "recurrence.causal",
    "directions.own-state",
)


class ReluWithoutNan(Plain):
    """Relu is `x if x > 0 else 0`, which is 0 for NaN."""

    def activation(self, x: Tensor) -> Tensor:
        right = super().activation(x)
        return torch.where(x > 0, right, 0.0) if self.nonlinearity == "relu" else right


@pytest.mark.slow
def test_a_relu_that_loses_nan_is_one_fault() -> None:
    report = rnnspec.check(ReluWithoutNan, profile="quick", rules=RULES)
    assert [fault.rule for fault in report.faults] == ["nonlinearity.nan"]
    assert "states.routing" in report.faults[0].consequences


class NanEverywhere(Plain):
    """One NaN in the input or the state makes all results NaN."""

    def run(self, data: Tensor, sizes: Sizes, h_0: Tensor) -> tuple[Tensor, Tensor]:
        output, h_n = super().run(data, sizes, h_0)
        factor = torch.nan if (data.isnan().any() or h_0.isnan().any()) else 1.0
        return output * factor, h_n * factor


class NanAcrossSteps(Plain):
    """The steps are chosen by products with a matrix of ones and zeros, which spread NaN."""

    def to_time_major(self, input: Tensor) -> Tensor:
        steps = super().to_time_major(input)
        return torch.einsum("ts,sni->tni", torch.eye(len(steps), dtype=steps.dtype), steps)


@pytest.mark.slow
@pytest.mark.parametrize(
    "layer", [NanEverywhere, pytest.param(NanAcrossSteps, marks=pytest.mark.slow)]
)
def test_nan_that_is_spread_is_one_fault(layer: type[Plain]) -> None:
    report = rnnspec.check(layer, profile="quick", rules=RULES)
    assert [fault.rule for fault in report.faults] == ["nonlinearity.nan"]

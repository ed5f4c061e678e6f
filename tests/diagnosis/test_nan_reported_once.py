"""Test that a layer that loses or spreads NaN, and so breaks many rules, is reported once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import rnnspec
from rnnspec.plain.call import Batches
from rnnspec.plain.layer import Plain
from rnnspec.reference.values import change_values
from rnnspec.selftest.bugs.planted import is_relu

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

    changes = change_values(
        {"gate.hidden": lambda gate, total: torch.where(total > 0, gate, 0.0)}, is_relu
    )


@pytest.mark.slow
def test_a_relu_that_loses_nan_is_one_fault() -> None:
    report = rnnspec.check(ReluWithoutNan, profile="quick", rules=RULES)
    assert [fault.rule for fault in report.faults] == ["nonlinearity.nan"]
    assert "states.routing" in report.faults[0].consequences


class NanEverywhere(Plain):
    """One NaN in the input or the state makes all results NaN."""

    def compute(self, data: Tensor, sizes: Batches, start: Tensor | None) -> tuple[Tensor, Tensor]:
        output, h_n = super().compute(data, sizes, start)
        has_nan = any(each is not None and each.isnan().any() for each in (data, start))
        factor = torch.nan if has_nan else 1.0
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

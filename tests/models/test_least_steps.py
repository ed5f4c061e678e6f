"""Models that need several steps: shorter sequences are no fault, and are left out of the check."""

from __future__ import annotations

import pytest
from torch import Tensor, nn

import rnnspec
from rnnspec.models.case import ModelCase, ModelCaseSpace, draw_model_cases
from rnnspec.models.infer import infer_interface
from rnnspec.models.trial import infer_call
from rnnspec.report.data import RunVerdict, Verdict

RULES = ("model.output-shape", "model.lengths", "model.length-of-one", "model.same-at-any-length")


class ReadsLastFour(nn.Module):
    """Reads the outputs of the last four steps, side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, 8, batch_first=True)
        self.head = nn.Linear(32, 2)

    def forward(self, x: Tensor) -> Tensor:
        predicted: Tensor = self.head(self.rnn(x)[0][:, -4:].flatten(1))
        return predicted


class RefusesShort(ReadsLastFour):
    """Refuses sequences of fewer than four steps in its own words."""

    least = 4

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] < self.least:
            raise ValueError("too short a history")
        return super().forward(x)


class RefusesOneStep(nn.Module):
    """Raises for one step only, which is a fault."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, 8, batch_first=True)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        output = self.rnn(x)[0]
        predicted: Tensor = self.head(output[:, -1] - output[:, -2])
        return predicted


class FitsFiveSteps(ReadsLastFour):
    """Reads the outputs of all steps side by side, which fits five steps only."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(40, 2)

    def forward(self, x: Tensor) -> Tensor:
        predicted: Tensor = self.head(self.rnn(x)[0].flatten(1))
        return predicted


@pytest.mark.parametrize("target", [ReadsLastFour, RefusesShort])
def test_a_model_that_needs_four_steps_is_given_at_least_four(target: type[nn.Module]) -> None:
    report = rnnspec.check_model(target, profile="quick", rules=RULES)
    assert report.verdict is RunVerdict.CONFORMS
    assert "at least 4 steps, because it raises with fewer" in report.inferred
    one = report.result("model.length-of-one")
    assert (one.verdict, one.message) == (
        Verdict.NOT_APPLICABLE,
        "the model needs at least 4 steps",
    )


@pytest.mark.parametrize(
    ("target", "rule"),
    [(RefusesOneStep, "model.length-of-one"), (FitsFiveSteps, "model.lengths")],
)
def test_other_refusals_are_faults(target: type[nn.Module], rule: str) -> None:
    report = rnnspec.check_model(target, profile="quick", rules=RULES)
    assert [fault.rule for fault in report.faults] == [rule]


def test_no_case_is_too_short_and_none_becomes_so() -> None:
    cases = draw_model_cases("thorough", 0, least_steps=4)
    assert all(min(case.steps - 2, *case.lengths) >= 4 for case in cases)
    assert all(case.batch != case.steps for case in cases)
    space = ModelCaseSpace(least_steps=4)
    assert min(space.list_simpler(ModelCase(steps=9), "steps")) == 4
    assert space.exchange_sizes(ModelCase(batch=3, steps=5)) == []


class Pools(nn.Module):
    """Halves the steps twice before one layer, and calls another one for a single step."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AvgPool1d(4)
        self.rnn = nn.GRU(3, 8, batch_first=True)
        self.decoder = nn.GRU(8, 8, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        _, state = self.rnn(self.pool(x.transpose(1, 2)).transpose(1, 2))
        predicted: Tensor = self.decoder(state.transpose(0, 1), state)[0][:, 0]
        return predicted


def test_a_layer_behind_a_pooling_runs_over_several_steps() -> None:
    interface, _ = infer_call(Pools(), infer_interface(Pools()))
    assert (interface.least_steps, interface.measured_steps) == (4, 12)
    assert all(case.steps >= 12 for case in draw_model_cases("default", 0, measured_steps=12))
    assert ModelCaseSpace(measured_steps=12).least["steps"] == 12


def test_a_layer_over_all_steps_needs_no_more_of_them() -> None:
    interface, _ = infer_call(RefusesOneStep(), infer_interface(RefusesOneStep()))
    assert interface.measured_steps == 1

"""The last line names every reading of the input on which the verdict depends."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor, nn

from rnnspec.api.model import check_model
from rnnspec.report.conclusion import format_conclusion
from rnnspec.report.data import Verdict
from rnnspec.report.model import ModelReport
from rnnspec.report.reading import parse_report


class WithoutBatchFirst(nn.Module):
    """A layer with the steps first, for features or for token ids."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 8)
        self.fc = nn.Linear(8, 3)


class AlongBatch(WithoutBatchFirst):
    """Features (n, 5): the steps of one sequence, or n samples that are taken for them."""

    def forward(self, x: Tensor) -> Any:
        output, _ = self.rnn(x.view(len(x), 1, -1))
        return self.fc(output.view(len(x), -1))


class AlongFlattened(WithoutBatchFirst):
    """All samples are one sequence."""

    def forward(self, x: Tensor) -> Any:
        output, _ = self.rnn(x.reshape(-1, 1, 5))
        return self.fc(output.view(-1, 8))


class Tagger(WithoutBatchFirst):
    """Token ids of one sentence."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(12, 5)

    def forward(self, sentence: Tensor) -> Any:
        output, _ = self.rnn(self.words(sentence).view(len(sentence), 1, -1))
        return self.fc(output.view(len(sentence), -1))


class LastOfSequence(WithoutBatchFirst):
    """One prediction for a sequence without a batch dimension; a batch is refused."""

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.rnn(x.view(len(x), 1, 5))[0][-1, 0])


class EveryStep(WithoutBatchFirst):
    """Predictions at every step, in any layout."""

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.rnn(x)[0])


class FinalState(WithoutBatchFirst):
    """Predictions (batch, outputs) for (steps, batch) only."""

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.rnn(x)[1][-1])


class AsManyAsSteps(nn.Module):
    """Outputs as many as the only number of steps that the model takes."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 8, batch_first=True)
        self.fc = nn.Linear(7 * 8, 7)

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.rnn(x)[0].flatten(1))


class Ordinary(nn.Module):
    """A model that can be read in one way."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 8, batch_first=True)
        self.fc = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.rnn(x)[1][-1])


def check(model: type[nn.Module], **options: Any) -> ModelReport:
    rules = ["model.samples-independent", "readout.samples"]
    return check_model(model, profile="quick", rules=rules, **options)


SEQUENCE = "x is one sequence without a batch dimension"
STEPS = 'If x is a batch of single steps, samples mix; to check that, give --call "model(x[:, 0])".'
READINGS = [
    (AlongBatch, {}, SEQUENCE, STEPS),
    (Tagger, {}, SEQUENCE, STEPS),
    (
        AlongFlattened,
        {},
        SEQUENCE,
        "If x is (batch, steps), samples mix; to check that, give "
        '--call "model(x).reshape(batch, steps, -1)".',
    ),
    (LastOfSequence, {}, SEQUENCE, ""),
    (
        EveryStep,
        {},
        "x is (steps, batch)",
        "If x is (batch, steps), samples mix; to check that, give --batch-first.",
    ),
    (FinalState, {}, "x is (steps, batch)", ""),
    (
        AsManyAsSteps,
        {"steps": 7},
        "there is one prediction per sequence",
        "If there is one prediction at every step, other rules apply; to check that, give "
        "--readout every.",
    ),
]


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    ("model", "options", "condition", "otherwise"),
    READINGS,
    ids=[model.__name__ for model, *_ in READINGS],
)
def test_the_last_line_states_the_assumption_of_the_verdict(
    model: type[nn.Module], options: dict[str, Any], condition: str, otherwise: str
) -> None:
    report = check(model, **options)
    line = format_conclusion(report)
    assert f" conforms to the contract of models if {condition}: all 2 rules hold" in line
    assert line.endswith(otherwise or "rules hold.")
    (found,) = report.as_dict()["assumptions"]
    assert (found["assumed"], found["otherwise"]) == (condition, otherwise)
    assert parse_report(report.as_dict()) == report


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    ("model", "options"),
    [
        (AlongBatch, {"call": "model(x[:, 0])"}),
        (AlongFlattened, {"call": "model(x).reshape(batch, steps, -1)"}),
        (EveryStep, {"batch_first": True}),
    ],
)
def test_the_alternative_reading_is_checked_if_it_is_given(
    model: type[nn.Module], options: dict[str, Any]
) -> None:
    report = check(model, **options)
    assert Verdict.FAIL in {result.verdict for result in report.results}
    assert " violates the contract of models: 1 fault" in format_conclusion(report)
    assert report.assumptions == ()


@pytest.mark.parametrize(
    ("model", "options"),
    [
        (Ordinary, {}),
        (FinalState, {"batch_first": False}),
        (Tagger, {"batch": 1, "call": "model(x[0])[None]"}),
        (AsManyAsSteps, {"steps": 7, "readout": "last"}),
    ],
)
def test_a_given_or_only_reading_is_no_assumption(
    model: type[nn.Module], options: dict[str, Any]
) -> None:
    line = format_conclusion(check(model, **options))
    assert " conforms to the contract of models: all 2 rules hold." in line

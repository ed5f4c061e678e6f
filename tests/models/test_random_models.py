"""Models that draw random numbers from torch, NumPy or Python in evaluation or in training mode."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rnnspec.api.model import check_model
from rnnspec.models.isolated import fork_random_numbers
from rnnspec.report.data import RunVerdict

SOURCES: dict[str, Callable[[], float]] = {
    "python": random.random,
    "numpy": lambda: float(np.random.rand()),
    "torch": lambda: float(torch.rand(())),
}


class Decoder(nn.Module):
    """At each step, chance decides whether it is given the right value or its own prediction."""

    source: ClassVar[str] = "python"
    in_evaluation: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(3, 6)
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return predictions (N, L, 3) for values (N, L, 3)."""
        state, value, predictions = x.new_zeros(x.size(0), 6), x[:, 0], []
        for step in range(x.size(1)):
            state = self.cell(value, state)
            predictions.append(self.fc(state))
            draws = self.training or self.in_evaluation
            is_own = draws and SOURCES[self.source]() < 0.5
            value = predictions[-1] if is_own else x[:, min(step + 1, x.size(1) - 1)]
        return torch.stack(predictions, 1)


@pytest.mark.parametrize("name", SOURCES)
def test_random_numbers_in_training_mode_are_no_other_sample(name: str) -> None:
    model = type("Forced", (Decoder,), {"source": name})
    report = check_model(model, profile="quick", rules=["model.samples*", "model.train-eval"])
    assert report.ok
    assert not report.faults
    assert "draws random numbers" in report.result("model.train-eval").message


@pytest.mark.parametrize("name", SOURCES)
def test_random_numbers_in_evaluation_mode_are_reported_once(name: str) -> None:
    model = type("Chance", (Decoder,), {"source": name, "in_evaluation": True})
    report = check_model(model, profile="quick")
    assert report.verdict is RunVerdict.VIOLATES
    assert [fault.rule for fault in report.faults] == ["model.repeatable"]


class RandomStart(nn.Module):
    """The initial states are random numbers, which a method of its own draws."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 6, batch_first=True)
        self.fc = nn.Linear(6, 1)

    def init_hidden(self, x: Tensor) -> Tensor:
        """Return a random state."""
        return torch.randn(1, x.size(0), 6, dtype=x.dtype, device=x.device)

    def forward(self, x: Tensor) -> Tensor:
        """Return predictions (N, 1)."""
        output, _ = self.lstm(x, (self.init_hidden(x), self.init_hidden(x)))
        return self.fc(output[:, -1])  # type: ignore[no-any-return]


class AlwaysDropped(RandomStart):
    """Functional dropout does not know about evaluation mode."""

    def forward(self, x: Tensor) -> Tensor:
        output, _ = self.lstm(x)
        return self.fc(nn.functional.dropout(output[:, -1], 0.3))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("model", "line", "remedy"),
    [
        (RandomStart, "return torch.randn(1, x.size(0), 6", "output, state = self.lstm(x) starts"),
        (AlwaysDropped, "return self.fc(nn.functional.dropout(", "training=self.training"),
    ],
)
def test_the_line_that_draws_random_numbers_is_reported(
    model: type[nn.Module], line: str, remedy: str
) -> None:
    report = check_model(model, profile="quick")
    assert [fault.rule for fault in report.faults] == ["model.repeatable"]
    _, drawn, where, written = report.result("model.repeatable").message.splitlines()
    assert drawn.strip() == "The model draws random numbers in evaluation mode."
    assert line in where
    assert remedy in written


def test_the_callers_random_numbers_are_left_alone() -> None:
    random.seed(3)
    np.random.seed(3)
    expected = random.random(), np.random.rand()
    random.seed(3)
    np.random.seed(3)
    with fork_random_numbers(0):
        first = random.random(), np.random.rand()
    with fork_random_numbers(0):
        assert (random.random(), np.random.rand()) == first
    assert (random.random(), np.random.rand()) == expected

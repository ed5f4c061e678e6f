"""Test sizes that are equal by coincidence: the pairs that are tried, and skipped rules."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rnnspec.api.model import check_model
from rnnspec.cases.plan import PROFILES
from rnnspec.models.closeness import find_difference
from rnnspec.models.infer import choose_other_size, infer_interface, list_own_sizes
from rnnspec.report.data import Result, Verdict
from rnnspec.selftest.model_bugs_sizes import SquareBatchTransposed, StepsTakenForUnits
from rnnspec.selftest.model_plain import LastStep

BATCH, LENGTH = "model.same-in-any-batch", "model.same-at-any-length"


def check(model: type[nn.Module], rule: str, **options: Any) -> Result:
    report = check_model(model, **{"profile": "quick", "rules": (rule,), **options})
    return report.result(rule)


def test_the_sizes_of_a_model_have_names() -> None:
    class Deep(LastStep):
        options = {"num_layers": 3, "bidirectional": True}  # noqa: RUF012
        width = 12

    model = Deep()
    assert dict(reversed(list(list_own_sizes(model, infer_interface(model))))) == {
        6: "hidden_size of rnn",
        5: "input_size of rnn",
        12: "the width of rnn's output",
        3: "num_layers of rnn",
    }


def test_other_sizes_are_none_of_the_own() -> None:
    assert choose_other_size(2, {2, 3, 5}) == 4
    assert choose_other_size(2, {2, 3, 5}, 3) == 6


@pytest.mark.slow
def test_every_profile_tries_as_many_samples_as_steps() -> None:
    for profile in PROFILES:
        found = check(SquareBatchTransposed, BATCH, profile=profile, cases=1)
        assert found.verdict is Verdict.FAIL
        assert found.message.startswith("in a batch of 3, which is also the number of steps, ")


def test_a_prediction_that_depends_on_as_many_steps_as_units_is_reported() -> None:
    assert check(StepsTakenForUnits, LENGTH).message == (
        "with 6 steps, which is also hidden_size of rnn, the prediction changes if the sequences "
        "go on to 7 steps; expected no change, as from 7 to 8 steps"
    )


def test_a_model_that_depends_on_later_steps_anyway_is_not_checked() -> None:
    class Centred(LastStep):
        def embed(self, tokens: Tensor) -> Tensor:
            embedded = super().embed(tokens)
            return embedded - embedded.mean(1, keepdim=True)

    found = check(Centred, LENGTH)
    assert found.verdict is Verdict.NOT_APPLICABLE
    assert found.message == "what each recurrent layer is given depends on later steps"


def test_a_model_that_raises_for_equal_sizes_is_reported() -> None:
    class RefusesSquares(LastStep):
        def embed(self, tokens: Tensor) -> Tensor:
            if tokens.size(0) == tokens.size(1):
                raise ValueError("which one is the batch?")
            return super().embed(tokens)

    assert check(RefusesSquares, BATCH).message == (
        "with a batch of 3 and 3 steps, the model raises ValueError: which one is the batch?"
    )


def test_a_model_with_very_many_outputs_is_called_with_small_batches_only() -> None:
    class Wide(nn.Module):
        largest = 0

        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(3, 300, batch_first=True)
            self.scale = nn.Parameter(torch.ones(100_000))

        def forward(self, x: Tensor) -> Tensor:
            Wide.largest = max(Wide.largest, x.size(0))
            last: Tensor = self.rnn(x)[1][-1, :, :1]
            return last * self.scale

    assert check(Wide, BATCH).verdict is Verdict.PASS
    assert Wide.largest < 300


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_predictions_that_differ_by_rounding_agree(dtype: torch.dtype) -> None:
    expected = torch.tensor([[1.0, 2.0], [3.0, float("nan")]], dtype=dtype)
    rounded = expected * (1 + 4 * torch.finfo(dtype).eps)
    assert not torch.equal(rounded[0], expected[0])
    assert find_difference(expected, rounded) is None
    assert find_difference(expected, expected + torch.tensor([0, 1.0], dtype=dtype)) == (0, 1)
    assert find_difference(expected, expected.nan_to_num()) == (1, 1)
    assert find_difference(torch.tensor([[1.0, float("inf")]]), torch.tensor([[1.0, 2.0]])) == (
        0,
        1,
    )

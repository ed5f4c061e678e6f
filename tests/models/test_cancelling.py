"""Test that values that cancel are no dependence, and that small remaining changes are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnspec.api.model import check_model
from rnnspec.models.closeness import find_changes, find_sources
from rnnspec.report.data import RunVerdict, Verdict
from rnnspec.report.model import ModelReport
from tests.models.slow import mark_slow

RULES = (
    "model.samples-independent",
    "model.samples-in-training",
    "model.same-in-any-batch",
    "model.gradients-reach",
    "readout.samples",
    "readout.padding",
    "model.causal",
)


def check(model: type[nn.Module]) -> ModelReport:
    return check_model(model, profile="quick", rules=RULES)


class Pooled(nn.Module):
    """Attention over the steps, whose weights are computed by hand in `weigh`."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 8, batch_first=True)
        self.score = nn.Linear(8, 1)
        self.fc = nn.Linear(8, 3)

    def weigh(self, scores: Tensor) -> Tensor:
        weights = torch.exp(scores - scores.max())
        return weights / weights.sum(1, keepdim=True)

    def forward(self, x: Tensor) -> Any:
        output, _ = self.rnn(x)
        weights = self.weigh(self.score(output).squeeze(-1))
        return self.fc((weights.unsqueeze(-1) * output).sum(1))


class KeptFromZero(Pooled):
    """A small constant keeps the denominator from zero."""

    def weigh(self, scores: Tensor) -> Tensor:
        weights = torch.exp(scores - scores.max())
        return weights / (weights.sum(1, keepdim=True) + 1e-8)


class MeanOverBatchCancels(Pooled):
    """The mean over the batch is subtracted before a softmax."""

    def weigh(self, scores: Tensor) -> Tensor:
        return torch.softmax(scores - scores.mean(), 1)


class OnlyInFloat32(Pooled):
    """The model computes in float32, where rounding is a billion times as large."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(x.float())


class ScaledByBatch(Pooled):
    """The norm of the whole batch is lost in a normalisation."""

    def forward(self, x: Tensor) -> Any:
        state = self.rnn(x)[1][-1]
        return self.fc(nn.functional.normalize(state / state.norm(), dim=-1))


class LogSumExp(Pooled):
    """Logarithms of probabilities at every step, with one maximum for all."""

    def forward(self, x: Tensor) -> Any:
        scores = self.fc(self.rnn(x)[0])
        largest = scores.max()
        sums = torch.exp(scores - largest).sum(-1, keepdim=True)
        return scores - largest - torch.log(sums)


class CausalMean(Pooled):
    """A weighted mean of the steps so far, with the maximum over all steps."""

    def forward(self, x: Tensor) -> Any:
        output, _ = self.rnn(x)
        scores = self.score(output)
        weights = torch.exp(scores - scores.max())
        return self.fc((weights * output).cumsum(1) / weights.cumsum(1))


class MaximumOfPadding(Pooled):
    """The maximum of the scores is also over the padding, which gets no weight."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(12, 5, padding_idx=0)

    def forward(self, tokens: Tensor) -> Any:
        output, _ = self.rnn(self.words(tokens))
        scores = self.score(output).squeeze(-1)
        weights = torch.exp(scores - scores.max()) * (tokens != 0)
        weights = weights / weights.sum(1, keepdim=True)
        return self.fc((weights.unsqueeze(-1) * output).sum(1))


class MaximumOfPacked(Pooled):
    """The same for packed sequences."""

    def forward(self, x: Tensor, lengths: Tensor) -> Any:  # type: ignore[override]
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        output, _ = pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
        scores = self.score(output).squeeze(-1)
        kept = torch.arange(output.size(1)) < lengths.unsqueeze(1)
        weights = torch.exp(scores - scores.max()) * kept
        weights = weights / weights.sum(1, keepdim=True)
        return self.fc((weights.unsqueeze(-1) * output).sum(1))


class ShiftCancels(Pooled):
    """A parameter is added and subtracted again, without gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Any:
        return super().forward(x) + self.shift.detach() - self.shift.detach()


@pytest.mark.parametrize(
    "model",
    [
        KeptFromZero,
        OnlyInFloat32,
        CausalMean,
        MaximumOfPadding,
        ShiftCancels,
        *mark_slow(Pooled, MeanOverBatchCancels, ScaledByBatch, LogSumExp, MaximumOfPacked),
    ],
)
def test_a_dependence_that_cancels_is_no_violation(model: type[nn.Module]) -> None:
    report = check(model)
    assert report.verdict is RunVerdict.CONFORMS, [each.message for each in report.violations]
    assert report.readout is not None
    assert not report.readout.samples_mix


class MixesLittle(Pooled):
    """A ten-thousandth of the mean over the batch is added."""

    def forward(self, x: Tensor) -> Any:
        scores = super().forward(x)
        return scores + 1e-4 * scores.mean(0)


class MixesBesideMask(Pooled):
    """Samples mix in a class beside others that are masked by a large number."""

    def forward(self, x: Tensor) -> Any:
        scores = super().forward(x)
        mask = torch.tensor([False, True, True], device=scores.device)
        return (scores + 0.01 * scores.mean()).masked_fill(mask, -1e9)


class MixesProbabilities(Pooled):
    """Samples mix in probabilities that are all below 1e-3."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 4000)

    def forward(self, x: Tensor) -> Any:
        state = self.rnn(x)[1][-1]
        return torch.softmax(self.fc(state + 0.01 * state.mean(0)), -1)


@pytest.mark.parametrize("model", [MixesLittle, *mark_slow(MixesBesideMask, MixesProbabilities)])
def test_a_small_dependence_that_stays_is_a_violation(model: type[nn.Module]) -> None:
    report = check(model)
    result = report.result("model.samples-independent")
    assert result.verdict is Verdict.FAIL
    assert result.repro is not None
    with pytest.raises(AssertionError, match="not close"):
        exec(compile(result.repro, "program", "exec"), {})


def test_changes_and_sources_are_found_by_their_criteria() -> None:
    before = torch.tensor([1.0, -1e9, float("-inf"), float("nan")], dtype=torch.float64)
    assert not find_changes(before, before + 1e-9).any()
    after = torch.tensor([1.0 + 1e-5, -1e9, 0.0, 0.0], dtype=torch.float64)
    assert find_changes(before, after).tolist() == [True, False, True, True]
    assert not find_changes(torch.zeros(0, 2), torch.zeros(0, 2)).any()
    zero = torch.zeros(2, dtype=torch.float64)
    assert find_changes(zero, zero + 1e-17).all()
    gradients = [torch.tensor([1.0, 1e-17], dtype=torch.float64), zero]
    assert [each.tolist() for each in find_sources(gradients)] == [[True, False], [False, False]]

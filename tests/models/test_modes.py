"""Test dtypes that a model chooses itself, and intended effects of training mode."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from rnnspec.api.model import check_model
from rnnspec.models.training import set_dropout_to_zero
from rnnspec.report.data import RunVerdict, Verdict
from rnnspec.report.model import ModelReport
from tests.models.slow import mark_slow


class Classifier(nn.Module):
    """Features to scores; `change` is what happens to the final state."""

    mean: Tensor
    variance: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 8, 2, batch_first=True, dropout=0.3)
        self.fc = nn.Linear(8, 3)
        self.register_buffer("mean", torch.zeros(8))
        self.register_buffer("variance", torch.ones(8))

    def change(self, state: Tensor) -> Any:
        return state

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.change(self.rnn(x)[1][-1]))


class InputToFloat(Classifier):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x.float())


class InputOfType(Classifier):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x.type(torch.FloatTensor))  # type: ignore[call-overload]


class MaskInFloat32(Classifier):
    def change(self, state: Tensor) -> Any:
        return torch.cat([state[:, :4], torch.zeros(len(state), 4)], 1).to(torch.float32)


class PredictionToFloat(Classifier):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x).float()


@pytest.mark.parametrize(
    "model", [InputToFloat, *mark_slow(InputOfType, MaskInFloat32, PredictionToFloat)]
)
def test_a_model_that_computes_in_float32_only_conforms_with_advice(model: type[nn.Module]) -> None:
    report = check_model(model, profile="quick", rules=["model.float64", "model.repeatable"])
    assert report.verdict is RunVerdict.CONFORMS
    result = report.result("model.float64")
    assert result.verdict is Verdict.FAIL
    assert "\n  In this line, the numbers are torch.float32:\n  line " in result.message
    assert "of test_modes.py: return" in result.message
    assert "\n  try            x.to(next(self.parameters()).dtype) in place of" in result.message


class InFloat64(Classifier):
    def __init__(self) -> None:
        super().__init__()
        self.double()


class InBFloat16(Classifier):
    def __init__(self) -> None:
        super().__init__()
        self.bfloat16()


@pytest.mark.parametrize("model", [InFloat64, *mark_slow(InBFloat16)])
def test_a_model_with_parameters_of_another_dtype_is_given_features_of_it(
    model: type[nn.Module],
) -> None:
    rules = ["model.output-shape", "model.state-*", "model.float64", "model.vocabulary"]
    report = check_model(model, profile="quick", rules=rules)
    assert report.verdict is RunVerdict.CONFORMS, [each.message for each in report.violations]
    assert any(note.startswith("features of dtype torch.") for note in report.inferred)


class ChoosesShape(InFloat64):
    """A fault whose program has to draw features in float64."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(x).squeeze()


def test_a_program_draws_features_of_the_dtype_of_the_model() -> None:
    result = check_model(ChoosesShape, profile="quick", rules="model.batch-of-one").result(
        "model.batch-of-one"
    )
    assert result.repro is not None
    assert "5, dtype=torch.float64)" in result.repro
    with pytest.raises(AssertionError, match=r"Size\(\[3\]\)"):
        exec(compile(result.repro, "program", "exec"), {})


class KeepsState(Classifier):
    """The state is kept for the next call."""

    kept: Tensor | None = None

    def forward(self, x: Tensor) -> Any:
        """Return scores."""
        fits = self.kept is not None and self.kept.size(1) == x.size(0)
        _, state = self.rnn(x, self.kept if fits else None)
        self.kept = state.detach()
        return self.fc(state[-1])


def test_a_kept_state_is_not_reported_as_random() -> None:
    report = check_model(KeepsState, profile="quick", rules=["model.train-eval"])
    message = report.result("model.train-eval").message
    assert message == "not checked because model.repeatable fails"


class FunctionOfDropout(Classifier):
    def change(self, state: Tensor) -> Any:
        return functional.dropout(state, 0.5, self.training)


class PlainFunctionOfTorch(Classifier):
    def change(self, state: Tensor) -> Any:
        return torch.dropout(state, 0.5, self.training)


class AlphaInPlace(Classifier):
    def change(self, state: Tensor) -> Any:
        return functional.alpha_dropout(state.clone(), 0.5, training=self.training, inplace=True)


class WeightsDropped(Classifier):
    def forward(self, x: Tensor) -> Any:
        weight = functional.dropout(self.fc.weight, training=self.training)
        return functional.linear(self.rnn(x)[1][-1], weight)


class AttentionDropped(Classifier):
    def change(self, state: Tensor) -> Any:
        given = state.unsqueeze(1).expand(-1, 4, -1)
        rate = 0.3 if self.training else 0.0
        return functional.scaled_dot_product_attention(given, given, given, dropout_p=rate)[:, 0]


class MaskByHand(Classifier):
    """One mask for all steps, of a module that keeps its probability."""

    def __init__(self) -> None:
        super().__init__()
        self.drop_prob = 0.4

    def change(self, state: Tensor) -> Any:
        if not self.training:
            return state
        kept = 1 - self.drop_prob
        return state * torch.empty_like(state).bernoulli_(kept) / kept


DROPPING = [
    FunctionOfDropout,
    AttentionDropped,
    MaskByHand,
    *mark_slow(PlainFunctionOfTorch, AlphaInPlace, WeightsDropped),
]


def check_modes(model: type[nn.Module]) -> ModelReport:
    rules = ["model.train-eval", "model.samples-in-training"]
    return check_model(model, profile="quick", rules=rules)


@pytest.mark.parametrize("model", DROPPING)
def test_every_form_of_dropout_is_left_out(model: type[nn.Module]) -> None:
    report = check_modes(model)
    assert report.result("model.train-eval").verdict is Verdict.PASS


class NotScaledBack(Classifier):
    """Dropout is right, and a scale in evaluation mode is not."""

    def change(self, state: Tensor) -> Any:
        dropped = functional.dropout(state, 0.5, self.training)
        return dropped if self.training else dropped * 0.5


def test_a_fault_beside_functional_dropout_is_seen_and_its_program_fails() -> None:
    before = functional.dropout
    result = check_modes(NotScaledBack).result("model.train-eval")
    assert result.verdict is Verdict.FAIL
    assert result.repro is not None
    with pytest.raises(AssertionError, match="not close"):
        exec(compile(result.repro, "program", "exec"), {})
    assert functional.dropout is before


class NoiseInTraining(Classifier):
    def change(self, state: Tensor) -> Any:
        return state + torch.randn_like(state) if self.training else state


def test_other_random_numbers_are_named_with_their_line() -> None:
    message = check_modes(NoiseInTraining).result("model.train-eval").message
    assert message.startswith("in training mode, the model draws random numbers with randn_like")
    assert "of test_modes.py: return state + torch.randn_like(state)" in message


class FunctionOfNorm(Classifier):
    def change(self, state: Tensor) -> Any:
        return functional.batch_norm(state, self.mean, self.variance, training=self.training)


class NormByHand(Classifier):
    """Running statistics are kept in buffers."""

    def change(self, state: Tensor) -> Any:
        mean, variance = self.mean, self.variance
        if self.training:
            mean, variance = state.mean(0), state.var(0)
            with torch.no_grad():
                self.mean.lerp_(mean, 0.1)
                self.variance.lerp_(variance, 0.1)
        return (state - mean) / torch.sqrt(variance + 1e-5)


@pytest.mark.parametrize("model", [FunctionOfNorm, NormByHand])
def test_statistics_over_the_batch_are_no_fault_however_they_are_written(
    model: type[nn.Module],
) -> None:
    report = check_modes(model)
    verdicts = {result.verdict for result in report.results}
    assert verdicts == {Verdict.NOT_APPLICABLE}
    message = report.result("model.samples-in-training").message
    assert message.split(" takes statistics")[0] in ("batch_norm", "self.mean")


def test_only_probabilities_of_dropout_are_set_to_zero() -> None:
    model: Any = nn.Sequential(nn.Dropout(0.5), nn.GRU(2, 3, 2, dropout=0.25))
    model.p, model.dropout = True, 3
    set_dropout_to_zero(model)
    assert (model[0].p, model[1].dropout, model.p, model.dropout) == (0.0, 0.0, True, 3)


class GradientsInTraining(Classifier):
    """Gradients are only computed in training mode."""

    def forward(self, x: Tensor) -> Any:
        with torch.set_grad_enabled(self.training):
            return super().forward(x)


class HalfWithoutGradients(Classifier):
    """A part is computed without gradients in evaluation mode."""

    def change(self, state: Tensor) -> Any:
        return state if self.training else state.detach()


class DetachesInTraining(Classifier):
    """The state is detached in training mode, and only there."""

    def change(self, state: Tensor) -> Any:
        return state.detach() if self.training else state


@pytest.mark.parametrize("model", [GradientsInTraining, HalfWithoutGradients])
def test_no_gradients_in_evaluation_mode_are_no_fault(model: type[nn.Module]) -> None:
    report = check_model(model, profile="quick", rules=["model.gradients-reach", "readout.*"])
    assert report.verdict is RunVerdict.CONFORMS
    assert report.result("readout.complete").verdict is Verdict.PASS


def test_gradients_that_are_cut_off_in_training_mode_are_a_fault_and_its_program_fails() -> None:
    rule = "model.gradients-reach"
    result = check_model(DetachesInTraining, profile="quick", rules=[rule]).result(rule)
    assert result.verdict is Verdict.FAIL
    assert result.repro is not None
    with pytest.raises(AssertionError):
        exec(compile(result.repro, "program", "exec"), {})
    right = result.repro.replace("DetachesInTraining()", "GradientsInTraining()")
    exec(compile(right, "program", "exec"), {"GradientsInTraining": GradientsInTraining})

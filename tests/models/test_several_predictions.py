"""Test models with several predictions in one call: each is found, measured, drawn and checked."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from rnnspec.api.model import check_model, prepare_model_suite
from rnnspec.cli import commands
from rnnspec.models import DeepBiRNN, measure_readout
from rnnspec.models.case import draw_model_cases
from rnnspec.options import ModelOptions
from rnnspec.readout.picture import draw_readout_maps
from rnnspec.report.console import format_report
from rnnspec.report.data import RunVerdict
from rnnspec.selftest.model_bugs_tasks import IntentFromLastStep
from rnnspec.selftest.model_correct_other import LanguageModelWithStates
from rnnspec.selftest.model_correct_tasks import IntentAndSlots, MeanAndVariance

DRAWN = Path(__file__).parents[2] / "docs" / "readout-map.svg"
SVG = "{http://www.w3.org/2000/svg}"
PLACE = "rnnspec.selftest"


class WithWeights(nn.Module):
    """Attention that also returns its weights and the final state: one prediction."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 6, batch_first=True)
        self.score = nn.Linear(6, 1)
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        output, h_n = self.rnn(x)
        weights = self.score(output).softmax(1)
        return self.fc((weights * output).sum(1)), weights, h_n


class WithLoss(nn.Module):
    """A prediction, and a loss of a kind of its own that parameters of its own take part in."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 6, batch_first=True)
        self.fc = nn.Linear(6, 3)
        self.next = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        output, h_n = self.rnn(x)
        return self.fc(h_n[-1]), nn.functional.mse_loss(self.next(output[:, :-1]), x[:, 1:])


def list_calls(model: type[nn.Module], **options: object) -> list[str]:
    suite, _ = prepare_model_suite(model, ModelOptions.from_keywords("list_calls", options))
    return [interface.call.expression for interface, _ in suite.predictions]


def test_every_entry_with_parameters_of_its_own_is_a_prediction() -> None:
    assert set(list_calls(IntentAndSlots)) == {"model(x)['intent']", "model(x)['slots']"}
    assert list_calls(MeanAndVariance) == ["model(x)[0]", "model(x)[1]"]


def test_states_and_attention_weights_are_no_predictions() -> None:
    assert list_calls(LanguageModelWithStates) == ["model(x)[0]"]
    assert list_calls(WithWeights) == ["model(x)[0]"]


def test_parameters_that_only_a_loss_takes_are_not_unused() -> None:
    assert list_calls(WithLoss) == ["model(x)[0]"]
    report = check_model(WithLoss, profile="quick", rules=["readout.*"])
    assert report.verdict is RunVerdict.CONFORMS
    assert report.readout is not None
    assert report.readout.parameters.elsewhere == ("next.weight", "next.bias")
    assert not report.readout.parameters.idle


def test_the_user_may_choose_one() -> None:
    assert list_calls(IntentAndSlots, call="model(x)['slots']") == ["model(x)['slots']"]
    assert list_calls(IntentAndSlots, readout="last") == ["model(x)['intent']"]


@pytest.mark.slow
def test_the_report_names_the_wrong_prediction() -> None:
    report = check_model(IntentFromLastStep, profile="quick")
    (fault,) = report.faults
    assert fault.rule == "readout.complete"
    text = format_report(report)
    assert "only with      model(x)['intent']\n" in text
    assert "    return model(x)['intent']\n" in text
    assert "never trained" not in text  # the slots train what the intent leaves
    slots = report.readouts["model(x)['slots']"]
    intent = report.readouts["model(x)['intent']"]
    assert slots is not None
    assert intent is not None
    assert slots.parameters.elsewhere == ("intent.weight", "intent.bias")
    assert "rnn.weight_hh_l0_reverse" in intent.parameters.elsewhere
    assert report.as_dict()["readouts"].keys() == report.readouts.keys()


def test_each_case_comes_once_for_each_prediction() -> None:
    cases = draw_model_cases("default", 0, predictions=2)
    assert [case.prediction for case in cases] == [0, 1] * 4
    assert len(draw_model_cases("default", 0, 1, predictions=2)) == 1


@pytest.mark.slow
def test_a_picture_of_the_maps_is_written(tmp_path: Path) -> None:
    path = tmp_path / "map.svg"
    target = f"{PLACE}.model_bugs_tasks:IntentFromLastStep"
    given = [target, "--profile", "quick", "--rule", "readout.complete", "--svg", str(path)]
    result = CliRunner().invoke(commands, ["check-model", *given], standalone_mode=False)
    assert "Read-out of model(x)['intent']: the input of intent, 12 features" in result.output
    picture = ElementTree.fromstring(path.read_text("utf-8"))
    texts = [each.text for each in picture.iter(f"{SVG}text")]
    assert "model(x)['intent']: the input of intent, 12 features" in texts
    assert "features 6-11" in texts
    titles = [each.text for each in picture.iter(f"{SVG}title")]
    assert "position 4, features 6-11: can change it" in titles
    assert "position 3, features 6-11: cannot change it" in titles


def test_the_picture_on_the_page_is_that_of_its_example() -> None:
    readout = measure_readout(DeepBiRNN(100, 50, 20, 1, num_layers=1))
    assert DRAWN.read_text("utf-8") == draw_readout_maps({"model(x)": readout})


def test_a_map_that_cannot_be_measured_is_not_drawn(tmp_path: Path) -> None:
    path = tmp_path / "map.svg"
    target = f"{PLACE}.model_bugs_shapes:BatchAxisDropped"
    given = [target, "--call", "model(x)", "--readout", "last", "--profile", "quick"]
    result = CliRunner().invoke(
        commands, ["check-model", *given, "--svg", str(path)], standalone_mode=False
    )
    assert "map.svg: not written; no read-out could be measured" in result.stderr
    assert not path.exists()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_correct_models_are_left_alone_in_default(seed: int) -> None:
    for model in (IntentAndSlots, MeanAndVariance):
        with torch.random.fork_rng():
            report = check_model(model, seed=seed)
        assert report.verdict is RunVerdict.CONFORMS, report.violations

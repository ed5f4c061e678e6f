"""Test checks of a user's model: the Python call, the command, the decorator, and inference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from rnnspec.api.model import check_model, prepare_model_suite
from rnnspec.cli.check_model import check_model as command
from rnnspec.errors import DeviceError, SelectionError, TargetError
from rnnspec.isolation.checker import begin_progress
from rnnspec.models import RNN1, RNN2, DeepBiRNN, Interface
from rnnspec.models.case import ModelCase, ModelCaseSpace
from rnnspec.models.faults import find_faults
from rnnspec.options import ModelOptions
from rnnspec.pipeline import report_progress
from rnnspec.report.console import format_report
from rnnspec.report.data import RunVerdict, Verdict
from rnnspec.report.model import ModelReport
from rnnspec.selftest.model_bugs_shapes import BothFaults, IdsClamped
from rnnspec.selftest.model_correct import FromFeatures, SequenceFirst
from rnnspec.selftest.model_plain import LastStep, Padded
from rnnspec.subjects.steps import StepRefuser, set_watcher
from rnnspec.suites.model import UNMEASURED
from rnnspec.testing.layer import RuleTest
from rnnspec.testing.model import model_conformance

DEEP = {
    "vocab_size": 100,
    "embedding_dim": 50,
    "hidden_size": 20,
    "output_size": 1,
    "num_layers": 2,
}
SMALL = {"vocab_size": 10, "embedding_dim": 4, "hidden_size": 10, "output_size": 1}


def quick(target: Any, **options: Any) -> ModelReport:
    return check_model(target, **{"profile": "quick", **options})


def test_a_correct_model_conforms_and_the_notes_list_the_inferences() -> None:
    report = quick(RNN1, arguments=SMALL)
    assert (report.verdict, report.exit_status) == (RunVerdict.CONFORMS, 0)
    assert report.call == "model(x)"
    assert report.inferred == (
        "vocabulary=10, from embedding (Embedding(10, 4))",
        "readout=last: one prediction per sequence",
    )
    assert format_report(report).splitlines()[1:3] == [
        "called as  model(x)",
        "inferred   vocabulary=10, from embedding (Embedding(10, 4))",
    ]


def test_every_step_is_inferred_from_the_shape() -> None:
    report = quick(RNN2, arguments=SMALL)
    assert report.ok
    assert report.result("model.causal").verdict is Verdict.PASS
    assert report.result("model.sees-both-directions").verdict is Verdict.NOT_APPLICABLE


@pytest.mark.slow
def test_the_deep_model_of_the_tutorial_gets_the_advice_with_its_remedy() -> None:
    report = quick(DeepBiRNN, arguments=DEEP)
    assert report.ok
    assert [result.rule for result in report.results if result.verdict is Verdict.FAIL] == [
        "readout.complete"
    ]
    remedy = "_, h_n = self.rnn(x); features = torch.cat([h_n[-2], h_n[-1]], dim=-1)"
    assert f"\n  try            {remedy}\n" in format_report(report)
    assert quick(DeepBiRNN, arguments=DEEP, strict=True).exit_status == 1
    assert not [
        r
        for r in quick(
            DeepBiRNN, arguments={**DEEP, "readout": "final-states"}, strict=True
        ).results
        if r.verdict is Verdict.FAIL
    ]


def test_the_map_is_in_the_report() -> None:
    report = quick(DeepBiRNN, arguments=DEEP, rules=["readout.*"])
    data = json.loads(json.dumps(report.as_dict()))
    assert data["readout"]["parameters"]["idle"] == ["rnn.weight_hh_l1_reverse"]
    assert {result["rule"] for result in data["results"]} == {
        "readout.complete",
        "readout.parameters",
        "readout.samples",
        "readout.padding",
    }


def test_a_model_that_fails_is_named_with_all_its_faults() -> None:
    report = quick(BothFaults)
    assert (report.verdict, report.exit_status) == (RunVerdict.VIOLATES, 1)
    assert report.readout is None
    assert "readout=every" in report.inferred[-1]
    message = report.result("model.output-shape").message
    assert message.startswith("forward reads self.hidden_size, which is never set")
    assert "; fc expects 12 features but its input has 6" in message


class ReadsSizeOfTensor(nn.Module):
    """The attribute `hidden_size` is read from a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(4, 6, batch_first=True)

    def forward(self, x: Any) -> Any:
        """Return the last step."""
        return self.rnn(x)[0][:, -1, : x.hidden_size]


class ReadsSizeOfLinear(ReadsSizeOfTensor):
    """The attribute `hidden_size` is read from a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 2)

    def forward(self, x: Any) -> Any:
        """Return the last step."""
        return self.fc(self.rnn(x)[0][:, -1, : self.fc.hidden_size])


def test_only_an_attribute_of_the_model_is_reported_as_never_set() -> None:
    x = torch.zeros(2, 3, 4)
    (fault,) = find_faults(ReadsSizeOfTensor(), Interface(features=4), x)
    assert fault.startswith("AttributeError: ")
    (fault,) = find_faults(ReadsSizeOfLinear(), Interface(features=4), x)
    assert fault == (
        "forward reads self.fc.hidden_size, which is never set: add self.fc.hidden_size = "
        "hidden_size to __init__"
    )


def test_a_broken_rule_comes_with_a_small_case_and_a_program() -> None:
    result = quick(IdsClamped).result("model.vocabulary")
    assert result.counterexample is not None
    assert result.counterexample.text == "a batch of 2, 3 steps, seed 0"
    assert result.counterexample.call["input"] == "token ids below 12"
    assert result.repro is not None
    with pytest.raises(AssertionError, match="id 12 gave"):
        exec(compile(result.repro, "program", "exec"), {})


def test_features_and_other_layouts() -> None:
    assert quick(FromFeatures).inferred[0].startswith("features=4, from lower")
    assert quick(SequenceFirst, batch_first=False).ok
    assert quick(Padded).result("readout.padding").verdict is Verdict.PASS


def test_given_options_are_not_inferred() -> None:
    report = quick(LastStep, vocabulary=12, readout="last")
    assert report.ok
    assert report.inferred == ()


def test_a_smaller_vocabulary_than_that_of_the_embedding_is_no_fault_of_the_model() -> None:
    assert quick(LastStep, vocabulary=8).result("model.vocabulary").verdict is Verdict.PASS
    result = quick(IdsClamped, vocabulary=8).result("model.vocabulary")
    assert "token id 12, outside the vocabulary of 12" in result.message


def test_any_callable_can_be_checked() -> None:
    def build() -> Any:
        table = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(6, 4)
        return lambda tokens: torch.stack([table[row].cumsum(0)[-1] for row in _checked(tokens)])

    report = quick(build, vocabulary=6)
    assert report.ok, format_report(report)
    assert report.result("model.float64").message == "the model has no parameters"


def _checked(tokens: Tensor) -> Tensor:
    if bool((tokens < 0).any() or (tokens > 5).any()):
        raise IndexError("an id is out of range")
    return tokens


def test_the_callers_generator_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    quick(LastStep)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("target", "options", "error", "message"),
    [
        (
            LastStep,
            {"readout": "lst"},
            SelectionError,
            "readout 'lst': choose last or every. Did you mean 'last'?",
        ),
        (LastStep, {"profile": "fast"}, SelectionError, "profile 'fast'"),
        (LastStep, {"cases": 0}, SelectionError, "cases must be at least 1, got 0"),
        (
            LastStep,
            {"rules": ["readut.*"]},
            SelectionError,
            "'readut.*' matches no rule about models. Did you mean 'readout.*'",
        ),
        (LastStep, {"device": "warp"}, DeviceError, "device warp"),
        (
            LastStep,
            {"arguments": {"size": 3}},
            TargetError,
            "building it with (size=3) raised TypeError",
        ),
        (
            nn.Identity,
            {},
            TargetError,
            "Identity has neither an nn.Embedding nor a recurrent layer; "
            "give --vocabulary N for token ids or --features N for features",
        ),
        (
            LastStep,
            {"vocabulary": 1},
            SelectionError,
            "measuring needs at least two token ids besides padding, and there is 1.",
        ),
        (
            LastStep,
            {"vocabulary": 3, "features": 2},
            SelectionError,
            "give either --vocabulary N or --features N.",
        ),
        (LastStep, {"vocabulary": 0}, SelectionError, "vocabulary must be at least 1, got 0"),
        (FromFeatures, {"features": -3}, SelectionError, "features must be at least 1, got -3"),
        (LastStep, {"padding": "0"}, SelectionError, "padding must be an integer, got '0'"),
        (lambda: 3, {}, TargetError, "the factory must return a module or another callable, got 3"),
        (LastStep(), {}, TargetError, "is a model already"),
    ],
)
def test_a_target_that_cannot_be_checked_is_explained(
    target: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as raised:
        quick(target, **options)
    assert message in str(raised.value)


@pytest.mark.parametrize("padding", [99, -5])
def test_a_padding_id_that_the_embedding_does_not_have_is_no_fault_of_the_model(
    padding: int,
) -> None:
    with pytest.raises(SelectionError, match=f"padding {padding}: token ids are 0 to 9"):
        quick(RNN1, arguments=SMALL, padding=padding)


class MasksNegative(RNN1):
    """A model that knows padding by a negative id."""

    def forward(self, x: Tensor) -> Tensor:
        output, _ = self.rnn(self.embedding(x.clamp(min=0)))
        kept = (x >= 0).unsqueeze(-1)
        prediction: Tensor = self.fc((output * kept).sum(1) / kept.sum(1).clamp(min=1))
        return prediction


def test_a_padding_id_outside_of_the_vocabulary_is_fine_if_the_model_takes_it() -> None:
    assert quick(MasksNegative, arguments=SMALL, padding=-1, rules="readout.padding").ok


def test_the_command_shows_the_map_and_ends_with_the_verdict(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    arguments = [f"--arg={key}={value}" for key, value in DEEP.items()]
    run = CliRunner().invoke(
        command,
        ["rnnspec.models:DeepBiRNN", *arguments, "--profile", "quick", "--json", str(path)],
        standalone_mode=False,
    )
    assert run.return_value == 0
    assert run.output.startswith("Read-out: the input of fc, 40 features\n")
    assert "  idle        rnn.weight_hh_l1_reverse\n" in run.output
    assert run.output.splitlines()[-1].startswith(
        "rnnspec.models:DeepBiRNN conforms to the contract"
    )
    assert json.loads(path.read_text())["readout"]["samples_mix"] is False


def test_the_command_writes_only_json_to_standard_output() -> None:
    target = "rnnspec.selftest.model_bugs_shapes:IdsClamped"
    run = CliRunner().invoke(
        command,
        [target, "--profile=quick", "--rule=model.vocabulary", "--json=-"],
        standalone_mode=False,
    )
    assert run.return_value == 1
    assert json.loads(run.output)["verdict"] == "violates"


def test_fail_fast_ends_the_run_at_the_first_violation() -> None:
    report = check_model(IdsClamped, fail_fast=True)
    assert report.stopped
    assert report.cases == 1


def test_a_report_for_which_the_model_may_not_be_used_any_more_has_no_map() -> None:
    suite, _ = prepare_model_suite(RNN1, ModelOptions(arguments=SMALL, profile="quick"))
    set_watcher(StepRefuser())
    try:
        report = report_progress(suite, begin_progress(suite))
    finally:
        set_watcher(None)
    assert report.readouts == {"model(x)": None}
    assert report.notes == (UNMEASURED,)


@model_conformance(LastStep)
def test_a_correct_model_in_a_test_suite(rule: RuleTest) -> None:
    rule.check()


@pytest.mark.parametrize("name", ["batch", "steps", "batches", "lengths"])
def test_simpler_cases_stay_cases(name: str) -> None:
    space, case = ModelCaseSpace(), ModelCase()
    simpler = [
        found
        for value in space.list_simpler(case, name)
        if (found := space.change_field(case, name, value)) is not None
    ]
    assert simpler
    assert all(
        found.batch != found.steps and found.batch >= 2 and found.steps >= 3 for found in simpler
    )
    assert all(space.measure_size(found) < space.measure_size(case) for found in simpler)
    assert space.list_raised(case) == frozenset()
    assert name in space.describe_field(case, name)
    assert space.reseed(case, 4).seed == 4


@pytest.mark.parametrize("sizes", [{"steps": 1}, {"steps": 2}, {"batch": 1, "steps": 1}])
@pytest.mark.parametrize("model", [LastStep, RNN2])
def test_a_model_of_one_size_is_checked_without_an_error(model: Any, sizes: dict[str, int]) -> None:
    report = quick(model, arguments=SMALL if model is RNN2 else {}, **sizes)
    assert report.ok
    assert {each.verdict for each in report.results} == {Verdict.PASS, Verdict.NOT_APPLICABLE}
    assert report.result("model.samples-independent").verdict is Verdict.PASS
    if sizes["steps"] == 1:
        assert "one step at a time" in report.result("readout.parameters").message


def test_ambiguous_sizes_are_refused() -> None:
    with pytest.raises(SelectionError, match="steps 3: choose a number other than the batch size"):
        quick(LastStep, batch=3, steps=3)


class OnCuda(nn.Module):
    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, hidden_size, batch_first=True).cuda()

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.rnn(x)[0][:, -1]
        return output


class StateOnCuda(nn.Module):
    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, hidden_size, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.rnn(x, torch.zeros(1, len(x), 8).cuda())[0][:, -1]
        return output


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA can be used")
@pytest.mark.parametrize("model", [OnCuda, StateOnCuda])
def test_a_model_that_needs_cuda_is_distinguished_from_wrong_arguments(model: Any) -> None:
    with pytest.raises(TargetError, match="The model puts itself on CUDA") as caught:
        quick(model)
    assert "--arg" not in str(caught.value)
    assert "--call" not in str(caught.value)


def test_the_default_device_of_a_model_is_replaced_where_there_is_no_cuda() -> None:
    if torch.cuda.is_available():
        pytest.skip("CUDA can be used")
    suite, _ = prepare_model_suite(OnDevice, ModelOptions())
    assert suite.arguments["device"].make() == torch.device("cpu")


class OnDevice(nn.Module):
    def __init__(self, units: int = 6, device: str = "cuda") -> None:
        super().__init__()
        self.rnn = nn.GRU(4, units, batch_first=True).to(device)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.rnn(x)[0][:, -1]
        return output

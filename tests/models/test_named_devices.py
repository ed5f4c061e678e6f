"""Test that a model that chooses its device gets advice, and one on the default device fails."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rnnspec.api.model import check_model
from rnnspec.models.infer import infer_interface
from rnnspec.models.named_devices import list_named_devices, replace_devices
from rnnspec.models.observation import ModelObservation, NotApplicable
from rnnspec.models.rules.devices import any_device, state_device
from rnnspec.report.data import Verdict
from rnnspec.rulekit.rule import Rule
from rnnspec.rulekit.violation import Violation
from rnnspec.subjects.steps import StepKind, set_watcher

device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
NAME = "cuda:0" if torch.cuda.is_available() else "cpu"
train_on_gpu = torch.cuda.is_available()
args = argparse.Namespace(cuda=torch.cuda.is_available(), no_cuda=False)


LOADS_COMPILER = pytest.mark.slow
"""A function that fails on the meta device loads torch's compiler."""


class Config:
    """A configuration with a nested one."""

    def __init__(self) -> None:
        self.train = {"device": NAME}


config = Config()


def make_zeros(*sizes: int) -> Tensor:
    """Return zeros on the device of this file."""
    return torch.zeros(*sizes).to(device)


class Forecaster(nn.Module):
    """A forecaster whose initial state is on the default device."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 8, batch_first=True)
        self.fc = nn.Linear(8, 2)
        self.device = torch.device(NAME)

    def start(self, x: Tensor) -> Tensor:
        """Return the initial state."""
        return torch.zeros(1, x.size(0), 8)

    def forward(self, x: Tensor) -> Tensor:
        """Return one prediction for each sample."""
        h = self.start(x)
        output, _ = self.lstm(x, (h, h))
        return self.fc(output[:, -1])  # type: ignore[no-any-return]


class FromGlobal(Forecaster):
    """The state is moved to a global device."""

    def start(self, x: Tensor) -> Tensor:
        """Return the initial state."""
        return super().start(x).to(device)


class FromFunction(Forecaster):
    """The state is made by a function that uses a global device."""

    def start(self, x: Tensor) -> Tensor:
        """Return the initial state."""
        return make_zeros(1, x.size(0), 8)


class FromName(Forecaster):
    """The state is made on a device with a global name."""

    def start(self, x: Tensor) -> Tensor:
        """Return the initial state."""
        return torch.zeros(1, x.size(0), 8, device=NAME)


class FromAttribute(Forecaster):
    """The state is made on the device of the constructor."""

    def start(self, x: Tensor) -> Tensor:
        """Return the initial state."""
        return torch.zeros(1, x.size(0), 8, device=self.device)


class FromConfig(Forecaster):
    """The state is made on the device of a configuration."""

    def start(self, x: Tensor) -> Tensor:
        """Return the initial state."""
        return torch.zeros(1, x.size(0), 8, device=config.train["device"])


class FromFlag(Forecaster):
    """The state is moved to CUDA if a global flag says so."""

    def start(self, x: Tensor) -> Tensor:
        """Return the initial state."""
        h = super().start(x)
        return h.cuda() if train_on_gpu else h


class FromArguments(Forecaster):
    """The state is moved to CUDA if the arguments of the command say so."""

    def start(self, x: Tensor) -> Tensor:
        """Return the initial state."""
        h = super().start(x)
        return h.cuda() if args.cuda and not args.no_cuda else h


class FromMachine(Forecaster):
    """The state is moved to CUDA if there is one."""

    def start(self, x: Tensor) -> Tensor:
        """Return the initial state."""
        best = "cuda" if torch.cuda.is_available() else "cpu"
        return super().start(x).to(torch.device(best))


class MovesInput(Forecaster):
    """The input is moved to a global device, and so is the state."""

    def forward(self, x: Tensor) -> Tensor:
        """Return one prediction for each sample."""
        return super().forward(x.to(device))

    def start(self, x: Tensor) -> Tensor:
        """Return the initial state."""
        return torch.zeros(1, x.size(0), 8, device=x.device)


class Loop(nn.Module):
    """A loop whose state on the default device meets the input before it reaches a cell."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(6, 8)
        self.gate = nn.Linear(6 + 8, 6)
        self.fc = nn.Linear(8, 2)

    def start(self, x: Tensor) -> Tensor:
        """Return the initial state."""
        return torch.zeros(x.size(0), 8)

    def forward(self, x: Tensor) -> Tensor:
        """Return one prediction for each sample."""
        h = self.start(x)
        for step in x.unbind(1):
            h = self.cell(step * torch.sigmoid(self.gate(torch.cat([step, h], dim=1))), h)
        return self.fc(h)  # type: ignore[no-any-return]


class LoopFromGlobal(Loop):
    """The state of the loop is on a global device."""

    def start(self, x: Tensor) -> Tensor:
        """Return the initial state."""
        return super().start(x).to(device)


class LoopLikeInput(Loop):
    """The state of the loop is on the device of the input; a number may be anywhere."""

    def start(self, x: Tensor) -> Tensor:
        """Return the initial state."""
        return x.new_zeros(x.size(0), 8) * torch.tensor(0.5)


class PacksOnCPU(Forecaster):
    """The lengths are made on the CPU, where torch wants them."""

    def forward(self, x: Tensor) -> Tensor:
        """Return one prediction for each sample."""
        lengths = torch.full((x.size(0),), x.size(1))
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
        return self.fc(self.lstm(packed)[1][0][-1])  # type: ignore[no-any-return]


class ReadsValues(Forecaster):
    """Values are read from the input, and from a tensor on the default device."""

    def forward(self, x: Tensor) -> Tensor:
        """Return one prediction for each sample."""
        steps = torch.arange(x.size(1)).tolist() if x.any().item() else []
        return self.fc(self.lstm(x[:, steps])[0][:, -1])  # type: ignore[no-any-return]


class ReadsLengths(Forecaster):
    """Values are read from the input, and the state is on the default device."""

    def start(self, x: Tensor) -> Tensor:
        """Return the initial state."""
        assert x.isfinite().all().item()
        return super().start(x)


class ReadsLengthsFromFlag(ReadsLengths):
    """The state is moved to CUDA if a global flag says so."""

    def start(self, x: Tensor) -> Tensor:
        """Return the initial state."""
        h = super().start(x)
        return h.cuda() if train_on_gpu else h


class GathersOnDefault(Forecaster):
    """Values are read, and predictions are gathered on the default device."""

    def forward(self, x: Tensor) -> Tensor:
        """Return one prediction for each sample."""
        assert x.isfinite().all().item()
        gathered = torch.zeros(x.size(0), 2)
        gathered[:] = self.fc(self.lstm(x)[0][:, -1])
        return gathered


class OnCPU(Forecaster):
    """The state is made on the CPU by name, wherever the model is."""

    def start(self, x: Tensor) -> Tensor:
        """Return the initial state."""
        return torch.zeros(1, x.size(0), 8, device="cpu")


class LikeInput(Forecaster):
    """The state is made on the device of the input; the device of the constructor is not used."""

    def start(self, x: Tensor) -> Tensor:
        """Return the initial state."""
        return x.new_zeros(1, x.size(0), 8)


def check(model: type[nn.Module], rule: Rule[Any, Any]) -> None:
    """Check a rule on a model."""
    rule.check(ModelObservation(model, infer_interface(model())))


@pytest.mark.parametrize(
    ("model", "chosen"),
    [
        (FromGlobal, "device"),
        (FromFunction, "device"),
        (FromName, "NAME"),
        (FromAttribute, "self.device"),
        (FromConfig, "config.train['device']"),
        (FromFlag, "train_on_gpu"),
        (FromArguments, "args.cuda"),
        (FromMachine, "torch.cuda.is_available()"),
        (MovesInput, "device"),
        pytest.param(LoopFromGlobal, "device", marks=LOADS_COMPILER),
    ],
)
def test_a_device_that_the_model_chooses_is_advice(model: type[nn.Module], chosen: str) -> None:
    with pytest.raises(Violation) as raised:
        check(model, any_device)
    assert f"The model chooses the device by {chosen}, not by its input." in raised.value.message
    with pytest.raises(NotApplicable, match="any-device fails"):
        check(model, state_device)


@pytest.mark.parametrize("model", [Forecaster, OnCPU])
def test_the_default_device_and_a_literal_one_are_violations(model: type[nn.Module]) -> None:
    with pytest.raises(Violation, match="an initial state with device cpu; expected meta"):
        check(model, state_device)
    with pytest.raises(NotApplicable, match="state-device fails"):
        check(model, any_device)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (ReadsLengths, "an initial state with device meta; expected cpu"),
        (GathersOnDefault, "the prediction is on the default device meta; expected cpu"),
    ],
)
def test_a_model_that_reads_values_is_run_with_another_default_device(
    model: type[nn.Module], message: str
) -> None:
    with pytest.raises(Violation, match=message):
        check(model, state_device)


@pytest.mark.parametrize("model", [ReadsValues, ReadsLengthsFromFlag])
def test_a_model_that_reads_values_is_not_accused_without_a_reason(model: type[nn.Module]) -> None:
    for rule in (state_device.check, any_device.check):
        with pytest.raises(NotApplicable, match="the model reads values"):
            rule(ModelObservation(model, infer_interface(model())))


@LOADS_COMPILER
def test_a_state_that_meets_the_input_outside_of_layers_is_a_violation() -> None:
    with pytest.raises(Violation) as raised:
        check(Loop, state_device)
    assert raised.value.message.startswith(
        "a tensor that the model makes is on cpu; expected meta, as for its input\n"
    )
    assert "h = self.cell(step * torch.sigmoid(" in raised.value.message


@pytest.mark.parametrize("model", [LikeInput, pytest.param(LoopLikeInput, marks=LOADS_COMPILER)])
def test_an_unused_device_is_no_fault(model: type[nn.Module]) -> None:
    check(model, state_device)
    check(model, any_device)


@LOADS_COMPILER
def test_lengths_on_the_cpu_are_no_fault() -> None:
    with suppress(NotApplicable):
        check(PacksOnCPU, state_device)
    with suppress(NotApplicable):
        check(PacksOnCPU, any_device)


class Remembers:
    """A watcher with which a step that failed fails again in the same case, as one that is slow."""

    def __init__(self) -> None:
        self.case: object = None
        self.open: list[str] = []
        self.errors: dict[str, BaseException] = {}

    def begin_case(self, case: object) -> None:
        """Forget failures of other cases."""
        if case != self.case:
            self.case = case
            self.errors.clear()

    def enter(self, step: str, kind: StepKind) -> None:
        """Raise the earlier exception of the step."""
        if step in self.errors:
            raise self.errors[step]
        self.open.append(step)

    def leave(self, error: BaseException | None) -> None:
        """Remember the exception of a step."""
        step = self.open.pop()
        if error is not None:
            self.errors[step] = error


@contextmanager
def watch_steps() -> Iterator[None]:
    """Return a context in which steps that failed fail again."""
    set_watcher(Remembers())
    try:
        yield
    finally:
        set_watcher(None)


@pytest.mark.parametrize("model", [FromGlobal, pytest.param(LoopFromGlobal, marks=LOADS_COMPILER)])
def test_a_call_that_fails_slowly_does_not_stand_for_another(model: type[nn.Module]) -> None:
    with watch_steps():
        for _ in range(2):
            with pytest.raises(Violation):
                check(model, any_device)


def test_a_call_with_another_default_device_does_not_stand_for_the_usual_one() -> None:
    observation = ModelObservation(ReadsValues, infer_interface(ReadsValues()))
    with watch_steps():
        with pytest.raises(NotApplicable, match="the model reads values"):
            state_device.check(observation)
        observation.call_model(observation.build_model(), observation.draw_input())


def test_advice_does_not_violate_the_contract() -> None:
    report = check_model(FromGlobal, profile="quick", rules=["model.*-device"])
    verdicts = {each.rule: each.verdict for each in report.results}
    assert verdicts == {
        "model.state-device": Verdict.NOT_APPLICABLE,
        "model.any-device": Verdict.FAIL,
    }
    assert report.ok


def test_devices_are_replaced_and_put_back() -> None:
    model = FromConfig()
    before: list[Any] = [device, NAME, train_on_gpu, args.cuda, dict(config.train), model.device]
    found = list_named_devices(model, "meta")
    with replace_devices(found, "meta"):
        assert {str(device), NAME, config.train["device"], str(model.device)} == {"meta"}
        assert (train_on_gpu, args.cuda, args.no_cuda) == (True, True, False)
        assert torch.zeros(1).cuda().is_meta
    assert [device, NAME, train_on_gpu, args.cuda, config.train, model.device] == before

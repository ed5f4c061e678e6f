"""Test the abilities of devices, and runs on a device that fails in the middle."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import rnnspec
from rnnspec.cases.axes.modes import GradMode
from rnnspec.cases.axes.prior_use.calls import EarlierCalls
from rnnspec.cli import commands
from rnnspec.contract.features import OF_DEVICES, Feature
from rnnspec.contract.kinds import KINDS, RNN
from rnnspec.engine.capabilities import PLAIN
from rnnspec.observe.observation import Observation
from rnnspec.report.data import Report, RunVerdict, Verdict
from rnnspec.rules.module_methods import device_methods
from rnnspec.subjects.devices import (
    check_device,
    find_limits,
    find_own_seeder,
    find_streams,
    keep_random_numbers,
    read_numpy_generator,
    seed_torch,
)
from rnnspec.subjects.subject import TorchSubject
from rnnspec.subjects.target import resolve_target
from tests.subjects import host_device

OF_THIS_DEVICE = {*OF_DEVICES} - {Feature.SEEDS}
RULES = ["recurrence.output", "gradients.input"]
needs_python_devices = pytest.mark.skipif(
    not host_device.AVAILABLE, reason="this torch takes no device that is written in Python"
)


@pytest.fixture
def device() -> Iterator[str]:
    host_device.register()
    with host_device.break_device():
        yield host_device.NAME


def check(device: str, **options: Any) -> Report:
    given = {"profile": "quick", "cases": 4, "rules": RULES, "sizes": "pool", **options}
    return rnnspec.check(torch.nn.RNN, device=device, **given)


def test_nothing_is_tried_on_the_cpu_which_only_lacks_tf32() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    assert find_limits("cpu") == {Feature.TF32: "cpu has no TF32"}
    assert torch.equal(torch.get_rng_state(), before)


@needs_python_devices
def test_missing_features_of_a_device_are_found_by_trying_them(device: str) -> None:
    assert find_limits(device).keys() == OF_THIS_DEVICE
    with host_device.break_device(dtypes=(torch.float64, torch.bfloat16)):
        limits = find_limits(device)
    assert limits.keys() == {*OF_THIS_DEVICE, Feature.FLOAT64, Feature.BFLOAT16}
    assert limits[Feature.FLOAT64] == (
        "host lacks float64: TypeError: the host device does not support this dtype"
    )


@needs_python_devices
def test_missing_features_of_a_device_are_reasons_in_the_report(device: str) -> None:
    rules = ["recurrence.output", "parameters.assigned", "modes.autocast"]
    report = check(device, rules=rules)
    assert report.unsupported.keys() == OF_THIS_DEVICE
    autocast = report.result("modes.autocast")
    assert autocast.verdict is Verdict.NOT_APPLICABLE
    assert autocast.message.startswith("host lacks torch.autocast to bfloat16: ")
    found = report.result("parameters.assigned")
    assert found.verdict is Verdict.NOT_APPLICABLE
    assert found.message == "host lacks addresses of tensors in memory"
    assert not report.faults


@needs_python_devices
@pytest.mark.parametrize("left", [60, 400])
def test_a_device_that_is_lost_ends_in_a_report(device: str, left: int) -> None:
    with host_device.break_device(left=left):
        report = check(device)
    assert report.verdict is RunVerdict.VIOLATES
    found = report.result("recurrence.output").message
    assert found.endswith(f"raised RuntimeError: {host_device.LOST}")


@needs_python_devices
def test_a_device_that_is_lost_at_once_is_refused(device: str) -> None:
    with (
        host_device.break_device(left=0),
        pytest.raises(rnnspec.CannotCheck, match=host_device.LOST),
    ):
        check(device)


PLUGIN = """
import torch
from tests.subjects import host_device

host_device.register()
broken = host_device.break_device(deadly=(torch.bfloat16,))
broken.__enter__()
"""


@needs_python_devices
def test_a_device_that_ends_the_process_when_a_feature_is_tried_ends_in_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deadly_plugin.py").write_text(PLUGIN, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "report.json"
    given = ["check", "torch.nn:RNN", "--device", host_device.NAME, "--import", "deadly_plugin"]
    few = ["--profile", "quick", "--cases", "2", "--rule", "shapes.output", "--sizes", "pool"]
    assert commands.main([*given, *few, "--json", str(path)], standalone_mode=False) == 0
    report = json.loads(path.read_text(encoding="utf-8"))
    step = "trying bfloat16 on host"
    assert report["unsupported"]["bfloat16"] == f"host lacks bfloat16: {step} ended a process"
    notes = f"before any case was checked, {step} ended the process with signal SIGSEGV"
    assert notes in report["notes"]


MISSING = """
from tests.subjects import host_device
from tests.subjects.test_devices import check
host_device.register()
with host_device.break_device(missing=("tanh_backward",)):
    report = check(host_device.NAME)
print(report.result("recurrence.output").verdict.value)
print(report.result("gradients.input").message)
"""


@pytest.mark.slow
@needs_python_devices
def test_an_operator_that_is_missing_ends_in_a_report() -> None:
    # Once a backward pass has run, torch's engine takes no device that is registered later.
    done = subprocess.run(
        [sys.executable, "-c", MISSING],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    verdict, message = done.stdout.splitlines() or [done.stderr, ""]
    assert verdict == Verdict.PASS.value
    assert "tanh_backward" in message


@needs_python_devices
def test_a_layer_is_moved_to_the_cpu_and_back_by_the_method_of_the_device(device: str) -> None:
    subject = TorchSubject(resolve_target("torch.nn:RNN"), device)
    observation = Observation(subject, PLAIN)
    device_methods.check(observation)
    places = {each.device.type for each in observation.share_fresh_layer().parameters()}
    assert places == {device}


@pytest.mark.parametrize("has_inference", [True, False])
def test_an_earlier_call_avoids_the_inference_mode_that_a_device_lacks(
    has_inference: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered: set[GradMode] = set()
    enter = GradMode.enter

    def record(mode: GradMode) -> Any:
        entered.add(mode)
        return enter(mode)

    monkeypatch.setattr(GradMode, "enter", record)
    subject = TorchSubject(resolve_target("torch.nn:RNN"))
    if not has_inference:
        lacking = subject.capabilities.without(Feature.INFERENCE, "the device has none")
        subject = replace(subject, capabilities=lacking)
    for seed in (0, 1):
        case = PLAIN.replace(prior_use=EarlierCalls.OTHER_GRAD, seed=seed)
        assert Observation(subject, case).call.results.keys() == {"output", "h_n"}
    assert (GradMode.INFERENCE in entered) is has_inference


def test_streams_are_found_by_the_module_of_the_device() -> None:
    assert find_streams("cuda:1") is torch.cuda
    assert find_streams("xpu") is torch.xpu
    assert not any(find_streams(each) for each in ("cpu", "meta"))


@pytest.mark.parametrize("kind", [np.random.MT19937, np.random.PCG64, np.random.Philox])
def test_the_random_numbers_of_the_caller_are_kept(kind: Any) -> None:
    own: Any = np.random  # numpy types only a part of the module
    before = own.get_bit_generator()
    own.set_bit_generator(kind(5))
    try:
        with keep_random_numbers():
            state = read_numpy_generator()
            assert read_numpy_generator() == state
            expected = torch.rand(3).tolist(), random.random(), np.random.random()
            assert read_numpy_generator() != state
            seed_torch(7, "cpu")
            random.seed(7)
        assert read_numpy_generator() == state
        assert (torch.rand(3).tolist(), random.random(), np.random.random()) == expected
    finally:
        own.set_bit_generator(before)


def test_a_device_that_torch_cannot_seed_is_seeded_by_its_own_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seeds: list[int] = []
    assert find_own_seeder("xpu") is None
    monkeypatch.setitem(sys.modules, "torch_xpu", SimpleNamespace(manual_seed=seeds.append))
    seed_torch(5, "xpu")
    assert seeds == [5]


def test_a_device_that_does_not_exist_is_refused() -> None:
    with pytest.raises(rnnspec.CannotCheck, match="nothing was checked"):
        check_device("mtia")


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cdua:1", "knows no device 'cdua'. Did you mean 'cuda'"),
        ("CPU", "knows no device 'CPU'. Did you mean 'cpu'"),
        (
            "GPU",
            "knows no device 'GPU'. Did you mean 'cuda'? If a backend registers it, import the",
        ),
        ("npu_of_mine", "knows no device 'npu_of_mine'. If a backend registers it, import the mod"),
        ("", "knows no device ''. If a backend"),
        ("privateuseone", "; import the module of its backend first, with --import; nothing"),
        ("cuda:x", "cannot use it (Invalid device string: 'cuda:x'); nothing was checked."),
        ("meta", "cannot use it (Tensor.item() cannot be called on meta tensors); nothing was"),
    ],
)
def test_a_device_that_torch_cannot_use_is_refused_with_the_next_step(
    device: str, message: str
) -> None:
    if host_device.AVAILABLE and device == "privateuseone":
        pytest.skip("the device host may have its name")
    with pytest.raises(rnnspec.CannotCheck) as caught:
        check_device(device)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 400


def check_backend(path: Path, *options: str) -> dict[str, Any]:
    """Check a backend that lacks an operator of the gated layers, and return its scorecard."""
    few = ("--profile", "quick", "--cases", "1", "--sizes", "pool", "--rule", "shapes.output")
    plugin = ("--device", host_device.NAME, "--import", "tests.subjects.host_plugin")
    with host_device.break_device(missing=("sigmoid",)):
        given = ["check-backend", *plugin, "--no-isolate", *few, *options, "--json", str(path)]
        status = commands.main(given, standalone_mode=False)
    scorecard: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    verdicts = {each["verdict"] for each in scorecard["kinds"].values()}
    assert (status == RunVerdict.VIOLATES.exit_status) == ("violates" in verdicts)
    return scorecard


@needs_python_devices
def test_the_scorecard_of_a_backend_names_the_features_that_it_lacks(
    device: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.modules["rnnspec.cli.check_backend"], "KINDS", {RNN.name: RNN})
    scorecard = check_backend(tmp_path / "scorecard.json")
    assert scorecard["kinds"]["rnn"]["verdict"] == "conforms"
    assert scorecard["refused"]["addresses"]["kinds"] == ["rnn"]
    *_, table = capsys.readouterr().out.split("scorecard of host")
    assert "nn.RNN  conforms" in table
    assert "refused  addresses: host lacks addresses of tensors in memory" in table


@needs_python_devices
@pytest.mark.slow
def test_all_kinds_of_a_backend_are_checked_in_one_run(device: str, tmp_path: Path) -> None:
    scorecard = check_backend(tmp_path / "scorecard.json", "--rule", "cells.step")
    assert {kind: each["verdict"] for kind, each in scorecard["kinds"].items()} == {
        kind: "conforms" if KINDS[kind].page.startswith("nn.RNN") else "violates" for kind in KINDS
    }


def test_the_operator_of_the_page_is_checked_in_the_layers_that_call_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "backends.md").read_text(encoding="utf-8")
    example = page.partition("<!-- operators -->\n```python\n")[2].partition("```")[0]
    plugin = f"def my_tanh(x):\n    return x.sin()\n\n\n{example}"
    (tmp_path / "operators_of_the_page.py").write_text(plugin, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(
        sys.modules["rnnspec.cli.check_backend"],
        "KINDS",
        {kind: KINDS[kind] for kind in ("rnn-cell", "gru-cell")},
    )
    given = ["check-backend", "--import", "operators_of_the_page", "--rule", "cells.step"]
    few = ["--profile", "quick", "--cases", "4", "--sizes", "pool"]
    path = tmp_path / "scorecard.json"
    assert commands.main([*given, *few, "--json", str(path)], standalone_mode=False) == 1
    found = json.loads(path.read_text(encoding="utf-8"))["kinds"]
    verdicts = {kind: each["verdict"] for kind, each in found.items()}
    assert verdicts == {"rnn-cell": "violates", "gru-cell": "conforms"}


MANIFEST = """
[backend]
device = "host"
import = "tests.subjects.host_plugin"
kinds = ["rnn"]
profile = "quick"
cases = 1
sizes = "pool"
rules = ["shapes.output", "parameters.assigned", "packed.output"]

[[refused]]
feature = ["strides", "addresses", "forked-generators", "inference-mode"]
reason = "tensors have no memory"

[[refused]]
feature = "packed"
reason = "not yet"
"""


@needs_python_devices
@pytest.mark.parametrize("is_declared", [True, False])
def test_a_feature_that_a_manifest_claims_and_the_backend_lacks_is_a_fault(
    device: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], is_declared: bool
) -> None:
    path, found = tmp_path / "host.toml", tmp_path / "scorecard.json"
    autocast = '\n[[refused]]\nfeature = "autocast"\nreason = "no list of dtypes"\n'
    path.write_text(MANIFEST + autocast * is_declared, encoding="utf-8")
    given = ["check-backend", "--manifest", str(path), "--no-isolate", "--json", str(found)]
    verdict = RunVerdict.CONFORMS if is_declared else RunVerdict.VIOLATES
    assert commands.main(given, standalone_mode=False) == verdict.exit_status
    scorecard = json.loads(found.read_text(encoding="utf-8"))
    assert scorecard["kinds"]["rnn"]["verdict"] == verdict.value
    assert scorecard["kinds"]["rnn"]["parts"]["module"] == "not claimed"
    assert [*scorecard["missing"]] == ([] if is_declared else ["autocast"])
    *_, table = capsys.readouterr().out.split("claims of host.toml")
    assert "nn.LSTM      not claimed\n" in table
    assert "refused  strides: not claimed: tensors have no memory (host.toml:11)\n" in table
    assert "note  host.toml:15: packed is declared as refused, but a plain use of it" in table
    assert ("FAIL  claimed, but missing: autocast: host lacks " in table) != is_declared


def test_a_wrong_option_of_a_manifest_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "host.toml"
    path.write_text(MANIFEST.replace('"quick"', '"quik"'), encoding="utf-8")
    given = ["check-backend", "--manifest", str(path), "--no-isolate"]
    with pytest.raises(rnnspec.CannotCheck, match=r"host.toml:6: profile 'quik': choose quick"):
        commands.main(given, standalone_mode=False)
    with pytest.raises(rnnspec.CannotCheck, match="the manifest declares the known deviations"):
        commands.main([*given, "--known", "none"], standalone_mode=False)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("rnnspce", "", "import rnnspce: ModuleNotFoundError: No module named 'rnnspce'. Did you"),
        ("broken_backend", "raise OSError('no libdevice.so')", "OSError: no libdevice.so"),
        ("needy_backend", "import rnnspce", "import needy_backend: ModuleNotFoundError: No module"),
        ("leaving_backend", "raise SystemExit('no device')", "SystemExit: no device"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, message: str
) -> None:
    if text:
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(rnnspec.CannotCheck) as caught:
        commands.main(["check-backend", "--import", name, "--no-isolate"], standalone_mode=False)
    assert message in str(caught.value)
    assert ("Did you mean" in str(caught.value)) == (not text)


def test_a_backend_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(rnnspec.CannotCheck, match="name a device with --device, a plugin"):
        commands.main(["check-backend"], standalone_mode=False)
